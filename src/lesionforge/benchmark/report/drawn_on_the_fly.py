"""Cases of a synthesizer that draws on the fly, drawn into development scans so that they can be measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lesionforge.benchmark.arms.chosen_generator import load_fitted
from lesionforge.benchmark.arms.finished import FinishedRun
from lesionforge.benchmark.arms.mask_sources import mask_source
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.scan import Scan
from lesionforge.errors import LesionforgeError
from lesionforge.production.drawing import draw_into
from lesionforge.production.drawn_into import Targets
from lesionforge.seeding import generator

DRAWN = 20
"""Most cases of a synthesizer; those that cannot be drawn, such as where a mask finds no place, are left out."""


def on_the_fly(run: FinishedRun) -> list[str]:
    """Return the fitted synthesizers that draw on the fly in some arm, and have no offline cases."""
    used = {arm.synthesizer for arm in run.repeat.arms.values() if arm.use == "on_the_fly"}
    return [name for name in run.synthesizers if name in used and name not in run.cohorts]


def scans_to_draw_into(run: FinishedRun, name: str) -> Cohort:
    """Return the development cases that a synthesizer can draw into, with all channels and known lesions."""
    cases = run.study.development.having(run.study.channels).annotated().in_order()
    plan = run.study.plan.synthesizers[name]
    if plan.lesion_free:
        return cases.healthy()
    return cases.with_lesions() if plan.needs_lesion else cases


def drawn_scans(run: FinishedRun, name: str) -> list[tuple[Scan, frozenset[str]]]:
    """Return drawn scans, each with all subjects behind it; the same for the same run.

    They show what the generator draws alone: the plan's ``displacement`` of the tissue around it and its ``negatives``
    are left out.

    Args:
        run: the run whose generator draws.
        name: a synthesizer that draws on the fly.
    """
    model, plan = load_fitted(run.repeat, name), run.study.plan.synthesizers[name]
    masks = mask_source(run.repeat, plan) if model.needs_mask else None
    behind = frozenset(model.info.training_subjects) | (frozenset() if masks is None else masks.subjects)
    targets, cases, found = Targets(model), scans_to_draw_into(run, name).cases, []
    for number in range(DRAWN if cases else 0):
        case = cases[number * len(cases) // DRAWN]
        rng = generator(run.repeat.seed, name, case.case_id, number)
        try:
            target = targets.read(case)
            mask = np.zeros(target.scan.spatial_shape, np.int16)
            if masks is not None:
                mask = masks.sample(target.scan, rng, min_volume=plan.min_volume).mask
            drawing = draw_into(model, target.scan, target.sample, mask, rng, blend="lesion")
        except LesionforgeError:
            continue
        found.append((replace(target.scan, image=drawing.image, label=drawing.label), case.ancestry | behind))
    return found
