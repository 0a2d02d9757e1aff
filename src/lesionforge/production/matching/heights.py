"""The height of a lone slice in the head, learnt from stacks of slices with known order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import GroupKFold, cross_val_predict

from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.inspection.measure import foreground
from lesionforge.cohort.scan import BoolArray, FloatArray, Scan, load_scan
from lesionforge.errors import CohortError
from lesionforge.preprocessing.intensity import tissue_level

SIDE, POINTS = 12, 48
"""Sides of the thumbnail of a slice, and of the finer grid from which it is averaged."""
REACH = 2.1
"""Reach of a thumbnail from the middle of the head, in standard deviations of the head's voxels."""
BRIGHTEST = 2.0
FEWEST_SUBJECTS, FEWEST_SLICES = 3, 5
TREES = 300


@dataclass(frozen=True, kw_only=True)
class Heights:
    """The heights of slices, counted downwards from the top slice of a stack.

    Attributes:
        of_stacks: case id → height of every slice of the stacks, each estimated from the other subjects.
        of_slices: case id → height of the lone slices.
        error: mean distance between the estimated and the true place in the stacks, in slices.
    """

    of_stacks: dict[str, float]
    of_slices: dict[str, float]
    error: float


def estimate_heights(stacks: Cohort, slices: Cohort, order: Mapping[str, int], *, seed: int = 0) -> Heights:
    """Estimate the height of slices from what the heads of other people look like at each height.

    A thumbnail of the head, turned upright and with intensities relative to its tissue, goes to extremely randomised
    trees (Geurts et al. 2006). Slices with a known place also get an estimate from other subjects, so that the heights
    of both sets have the same kind of errors.

    Args:
        stacks: slices of stacks, all of them or some.
        slices: lone slices, in any selection.
        order: case id → place in its stack, see :func:`stack_order`; slices without a place are left out.
        seed: seed of the trees.

    Raises:
        CohortError: if an image cannot be read.
    """
    known = [case for case in stacks if case.case_id in order]
    subjects = [case.subject_id for case in known]
    shown = np.stack([look(load_scan(case, stacks.channels[:1])) for case in known])
    truth = np.array([order[case.case_id] for case in known], np.float64)
    trees = ExtraTreesRegressor(TREES, min_samples_leaf=2, max_features=0.3, random_state=seed)
    folds = GroupKFold(min(6, len(set(subjects))))
    estimated = cross_val_predict(trees, shown, truth, groups=subjects, cv=folds)
    trees.fit(shown, truth)
    others = trees.predict(np.stack([look(load_scan(case, slices.channels[:1])) for case in slices]))
    return Heights(
        of_stacks={case.case_id: float(height) for case, height in zip(known, estimated, strict=True)},
        of_slices={case.case_id: float(height) for case, height in zip(slices, others, strict=True)},
        error=float(np.abs(estimated - truth).mean()),
    )


def stack_order(stacks: Cohort) -> dict[str, int]:
    """Return the place of every slice of the subjects with enough slices; 0 is the top slice.

    The ids of a subject's cases, in alphabetical order, must run from the neck to the vertex, including slices with
    lesions.

    Raises:
        CohortError: if fewer than three subjects have five slices.
    """
    by_subject: dict[str, list[Case]] = {}
    for case in sorted(stacks, key=lambda case: case.case_id, reverse=True):
        by_subject.setdefault(case.subject_id, []).append(case)
    whole = [cases for cases in by_subject.values() if len(cases) >= FEWEST_SLICES]
    if len(whole) < FEWEST_SUBJECTS:
        what = f"has {len(whole)} subjects with {FEWEST_SLICES} slices or more, too few to learn heights from"
        raise CohortError(stacks.name, what, f"add slices until {FEWEST_SUBJECTS} have as many")
    return {case.case_id: place for cases in whole for place, case in enumerate(cases)}


def look(scan: Scan) -> FloatArray:
    """Return the features of a slice: thumbnails of its intensities and of the head, and the head's size and shape.

    Lesions appear as tissue.
    """
    image, head = scan.image[0], _head(scan.image[0])
    grid, half = _upright(head)
    relative = np.clip(image / max(tissue_level(image), 1e-6), 0, BRIGHTEST) * head
    if scan.label is not None:
        relative[scan.label > 0] = 1
    extent = half * np.asarray(scan.spacing)
    shape = [extent[0] / extent[1], np.log(np.count_nonzero(head) * np.prod(scan.spacing))]
    return np.concatenate([_thumbnail(relative, grid), _thumbnail(head.astype(np.float32), grid), shape])


def _head(image: FloatArray) -> BoolArray:
    """Return the head without parts connected by a narrow bridge, such as the headrest."""
    head = foreground(image)
    parts, count = ndimage.label(ndimage.binary_opening(head, iterations=4))
    if not count:
        return head
    largest: BoolArray = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    return largest


def _upright(head: BoolArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return places ``(POINTS, POINTS, 2)`` around the head, along its principal axes, and their reach."""
    places = np.argwhere(head).astype(np.float64)
    middle = places.mean(0)
    variances, axes = np.linalg.eigh(np.cov((places - middle).T))
    long = axes[:, 1] * (1 if axes[0, 1] >= 0 else -1)
    half = np.sqrt(np.maximum(variances[::-1], 1.0)) * REACH
    steps = (np.arange(POINTS) + 0.5) / POINTS * 2 - 1
    along, across = np.meshgrid(steps * half[0], steps * half[1], indexing="ij")
    return np.stack([along, across], -1) @ np.stack([long, [-long[1], long[0]]]) + middle, half


def _thumbnail(image: FloatArray, grid: NDArray[np.float64]) -> FloatArray:
    taken = ndimage.map_coordinates(image.astype(np.float32), np.moveaxis(grid, -1, 0), order=1)
    blocks: FloatArray = taken.reshape(SIDE, POINTS // SIDE, SIDE, POINTS // SIDE).mean((1, 3)).ravel()
    return blocks
