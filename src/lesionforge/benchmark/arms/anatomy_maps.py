"""The anatomy maps of a plan: whether they are there, and whom their maker was trained on."""

from __future__ import annotations

import warnings

from lesionforge.benchmark.arm_plan import SynthesizerPlan
from lesionforge.benchmark.arms.repeats import Arms
from lesionforge.benchmark.arms.target_scans import target_cohorts
from lesionforge.cohort.case import Case
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


def subjects_behind_maps(study: Arms) -> dict[str, tuple[str, ...]]:
    """Return what made the anatomy maps → the subjects that it was trained on, if the plan draws lesions by them."""
    behind = dict[str, set[str]]()
    for case in _mapped(study):
        if case.map_maker is not None:
            behind.setdefault(" and ".join(case.map_maker.methods), set()).update(case.map_maker.subjects)
    return {f"{methods} (anatomy maps)": tuple(sorted(subjects)) for methods, subjects in behind.items()}


def map_warnings(study: Arms) -> list[str]:
    """Return a warning if nothing says what made some of the anatomy maps that lesions are drawn by.

    The maps of simulated subjects come from the simulation.
    """
    mapped = [case for case in _mapped(study) if case.origin != "simulated"]
    silent = [case.case_id for case in mapped if case.map_maker is None or not case.map_maker.known]
    if not silent:
        return []
    what = f"{len(silent)} of {len(mapped)} anatomy maps have no record of what made them (first: {silent[0]})"
    return [f"{what}: if it was trained on held-out subjects, the results lean towards the arms that draw lesions"]


def _mapped(study: Arms) -> list[Case]:
    """Return the cases with a map that lesions may be drawn by: none if the plan draws no lesions."""
    if not study.plan.synthesizers:
        return []
    parts = (study.pool, study.development, study.test, *(one.healthy() for one in target_cohorts(study).values()))
    return [case for part in parts for case in part if case.anatomy is not None]


def _draws_edited_maps(plan: SynthesizerPlan) -> bool:
    """Return whether a synthesizer draws from label maps whose own lesions were edited."""
    options = parse_options(SYNTHESIZERS[plan.method].Config, plan.options)
    return takes_own_lesion(plan.mask_options.get("edit")) and getattr(options, "condition", None) == "label"
