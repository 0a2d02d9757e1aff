"""Which lesion a detected point hits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesionforge.cohort.scan import BoolArray

TOLERANCE_MM = 2.0


@dataclass(frozen=True)
class Hits:
    """What the detections of one case hit.

    Attributes:
        of_lesions: for each lesion, the largest confidence of the detections that hit it; −∞ if none does.
        false: confidences of the detections that hit no lesion.
    """

    of_lesions: NDArray[np.float64]
    false: NDArray[np.float64]


def find_hits(
    places: NDArray[np.floating],
    confidences: Sequence[float] | NDArray[np.floating],
    truth: BoolArray,
    spacing: Sequence[float],
    *,
    tolerance_mm: float = TOLERANCE_MM,
) -> Hits:
    """Return what detections hit.

    A lesion is a connected component of the truth (26 neighbours in 3D, 8 in 2D). A detection hits the lesion whose
    nearest voxel centre is closest, if that is at most ``tolerance_mm`` away. A lesion is hit once: further detections
    of it are neither hits nor false.

    Args:
        places: ``(n, dimensions)`` positions in voxels; they may lie between voxel centres.
        confidences: ``(n,)``; higher means more certain.
        truth: ``(x, y[, z])`` mask of the lesions.
        spacing: mm along each axis.
        tolerance_mm: greatest distance of a hit from the lesion; 0 asks for a voxel of the lesion itself.
    """
    lesions, count = ndimage.label(truth, np.ones((3,) * truth.ndim))
    of_lesions, false = np.full(count, -np.inf), []
    voxels, members = np.argwhere(lesions), lesions[lesions > 0]
    for place, confidence in zip(np.reshape(places, (-1, truth.ndim)), confidences, strict=True):
        lesion = _lesion_at(place, voxels, members, np.asarray(spacing, float), tolerance_mm)
        if lesion is None:
            false.append(float(confidence))
        else:
            of_lesions[lesion] = max(of_lesions[lesion], float(confidence))
    return Hits(of_lesions, np.array(false, np.float64))


def _lesion_at(
    place: NDArray[np.floating],
    voxels: NDArray[np.intp],
    members: NDArray[np.int32],
    spacing: NDArray[np.float64],
    tolerance_mm: float,
) -> int | None:
    """Return the number of the lesion that a place hits, from 0, or ``None``; a voxel reaches to half of its edges."""
    if not len(voxels):
        return None
    away = np.maximum(np.abs(voxels - place) - 0.5, 0) if tolerance_mm == 0 else np.abs(voxels - place)
    distances = np.sqrt(np.square(away * spacing).sum(1))
    nearest = int(distances.argmin())
    return int(members[nearest]) - 1 if distances[nearest] <= tolerance_mm else None
