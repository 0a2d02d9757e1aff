"""Anatomy maps that a plan of edited label maps needs."""

from __future__ import annotations

import warnings

from lesionforge.benchmark.arm_plan import SynthesizerPlan
from lesionforge.benchmark.arms.repeats import Arms
from lesionforge.config import parse_options
from lesionforge.errors import DoubtWarning
from lesionforge.masks.editing.edit_config import takes_own_lesion
from lesionforge.synthesizers.registry import SYNTHESIZERS


def doubt_missing_maps(study: Arms) -> None:
    """Warn, before any training, if whole patients are drawn from label maps in which some or all show no anatomy.

    :class:`DoubtWarning` names the synthesizers and says how many cases of the pool lack a map.
    """
    names = [name for name, plan in study.plan.synthesizers.items() if _draws_edited_maps(plan)]
    without = [case.case_id for case in study.pool if case.anatomy is None]
    if names and without:
        what = f"{len(without)} of {len(study.pool)} cases to train on have no anatomy map (first: {without[0]})"
        doubt = f"so {', '.join(names)} may learn to draw from lesions alone; make maps with `lesionforge anatomy`"
        warnings.warn(f"{study.pool.name}: {what}, {doubt}", DoubtWarning, stacklevel=2)


def _draws_edited_maps(plan: SynthesizerPlan) -> bool:
    """Return whether a synthesizer draws from label maps whose own lesions were edited."""
    options = parse_options(SYNTHESIZERS[plan.method].Config, plan.options)
    return takes_own_lesion(plan.mask_options.get("edit")) and getattr(options, "condition", None) == "label"
