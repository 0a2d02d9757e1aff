"""Lesion masks of different brains, resampled to the grid of the MNI152 template."""

from __future__ import annotations

import numpy as np

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.layouts.labels import OnProblem, fail
from lesionforge.cohort.scan import LabelArray, load_scan, read_label
from lesionforge.errors import CohortError, told
from lesionforge.preprocessing.alignment.template_grid import TemplateGrid
from lesionforge.preprocessing.brain.brain_shape import Matrix

FEWEST_MASKS = 20


def take_masks(cohort: Cohort, grid: TemplateGrid, *, on_problem: OnProblem = fail) -> tuple[Cohort, LabelArray]:
    """Return the lesion cases of ``cohort`` that can be used, and their masks in template space.

    The affine between its brain and the template's maps a case with a scan; a case without a scan is assumed to be in
    template space.

    Args:
        cohort: volumes with lesions.
        grid: the target grid of the masks.
        on_problem: called with the error of each case that is left out; raises by default.

    Returns:
        the cases, and ``(n, x, y, z)`` classes.

    Raises:
        CohortError: if fewer than 20 masks are left, or all masks are equal.
    """
    cases, masks, problems = [], [], list[CohortError]()
    for case in cohort.with_lesions().in_order():
        try:
            assert case.label is not None
            label, affine = read_label(case.label)
            if label.ndim != 3:
                raise CohortError(case.label, "is a slice, but the mask generator draws volumes", "leave it out")
            to_label: Matrix = np.asarray(np.linalg.inv(affine), np.float64)
            if case.images:
                to_label = to_label @ np.linalg.inv(grid.from_scan(load_scan(case, [next(iter(case.images))])))
            mask = grid.take(label, to_label)
            if not mask.any():
                raise CohortError(case.label, "lies outside the MNI152 brain", "register it to MNI space, or add scans")
        except CohortError as problem:
            problems.append(problem)
            on_problem(problem)
            continue
        cases.append(case)
        masks.append(mask)
    if len(masks) < FEWEST_MASKS:
        what = f"has {len(masks)} usable lesion masks, fewer than {FEWEST_MASKS}"
        raise CohortError(cohort.name, told(what, problems), "add masks, or use `masks=edited` instead")
    if all(np.array_equal(mask, masks[0]) for mask in masks[1:]):
        raise CohortError(cohort.name, "all its lesion masks are alike", "name a folder of different masks")
    return cohort.with_cases(cases), np.stack(masks)
