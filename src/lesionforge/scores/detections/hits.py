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
    lesions, count = ndimage.label(truth, np.ones((3,) * truth.ndim))
    at = np.asarray(places, np.float64).reshape(-1, truth.ndim)
    values = np.asarray(confidences, np.float64)
    hit = _lesions_at(at, lesions, np.asarray(spacing, np.float64), tolerance_mm)
    of_lesions = np.full(count + 1, -np.inf)
    np.maximum.at(of_lesions, hit, values)
    return Hits(of_lesions[1:], values[hit == 0], hit)


def _lesions_at(
    places: Places,
    lesions: NDArray[np.int32],
    spacing: NDArray[np.float64],
    tolerance_mm: float,
) -> NDArray[np.int32]:
    """Return, for each place, the number of the lesion that it hits, or 0."""
    voxels = np.argwhere(lesions)
    if not len(voxels) or not len(places):
        return np.zeros(len(places), np.int32)
    distances, nearest = KDTree(voxels * spacing).query(places * spacing)
    inside = np.all(np.rint(places) == voxels[nearest], axis=1)
    return np.where(inside | (distances <= tolerance_mm), lesions[tuple(voxels[nearest].T)], 0)
