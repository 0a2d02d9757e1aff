"""Which lesion a detected point hits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from lesionforge.cohort.scan import BoolArray

TOLERANCE_MM = 2.0
TOLERANCES_MM = (0.0, 1.0, 2.0, 3.0, 5.0)
"""The tolerances that show how much the rule for hits matters."""

Places = NDArray[np.floating] | NDArray[np.integer]


@dataclass(frozen=True)
class Hits:
    """What the detections of one case hit.

    Attributes:
        of_lesions: for each lesion, the largest confidence of the detections that hit it; −∞ if none does.
        false: confidences of the detections that hit no lesion.
        lesion: for each detection, the number of the lesion that it hits, counted from 1; 0 if it hits none.
    """

    of_lesions: NDArray[np.float64]
    false: NDArray[np.float64]
    lesion: NDArray[np.int32]


def find_hits(
    places: Places,
    confidences: Sequence[float] | NDArray[np.floating],
    truth: BoolArray,
    spacing: Sequence[float],
    *,
    tolerance_mm: float = TOLERANCE_MM,
) -> Hits:
    """Return what detections hit.

    A lesion is a connected component of the truth (26 neighbours in 3D, 8 in 2D). A detection hits the lesion with
    the nearest voxel centre, if it lies in that voxel or at most ``tolerance_mm`` from its centre. A lesion is hit
    once: further detections of it are neither hits nor false.

    Args:
        places: ``(n, dimensions)`` positions in voxels; they may lie between voxel centres.
        confidences: ``(n,)``; higher means more certain.
        truth: ``(x, y[, z])`` mask of the lesions.
        spacing: mm along each axis.
        tolerance_mm: greatest distance of a hit from the centre of a voxel of the lesion; 0 asks for a voxel itself.
    """
    return hits_by_tolerance(places, confidences, truth, spacing, [tolerance_mm])[tolerance_mm]


def hits_by_tolerance(
    places: Places,
    confidences: Sequence[float] | NDArray[np.floating],
    truth: BoolArray,
    spacing: Sequence[float],
    tolerances_mm: Sequence[float],
) -> dict[float, Hits]:
    """Return tolerance → what detections hit with it; see :func:`find_hits`."""
    lesions, count = ndimage.label(truth, np.ones((3,) * truth.ndim))
    at = np.asarray(places, np.float64).reshape(-1, truth.ndim)
    values = np.asarray(confidences, np.float64)
    nearest, distances = _nearest_lesions(at, lesions, np.asarray(spacing, np.float64))
    return {mm: _hits(np.where(distances <= mm, nearest, 0), values, count) for mm in tolerances_mm}


def _hits(hit: NDArray[np.int32], values: NDArray[np.float64], count: int) -> Hits:
    """Return what detections hit, from the number of the lesion that each hits, or 0, and the number of lesions."""
    of_lesions = np.full(count + 1, -np.inf)
    np.maximum.at(of_lesions, hit, values)
    return Hits(of_lesions[1:], values[hit == 0], hit)


def _nearest_lesions(
    places: Places, lesions: NDArray[np.int32], spacing: NDArray[np.float64]
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Return, for each place, the number of the nearest lesion and its distance in mm.

    The distance is that of the nearest voxel centre, 0 within that voxel, and ∞ if there is no lesion.
    """
    voxels = np.argwhere(lesions)
    if not len(voxels) or not len(places):
        return np.zeros(len(places), np.int32), np.full(len(places), np.inf)
    distances, nearest = KDTree(voxels * spacing).query(places * spacing)
    inside = np.all(np.rint(places) == voxels[nearest], axis=1)
    return lesions[tuple(voxels[nearest].T)], np.where(inside, 0.0, distances)
