"""The margin around a lesion, in which a drawn lesion fades into the scan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from lesionforge.cohort.scan import BoolArray, FloatArray, LabelArray
from lesionforge.config import Distance


def greatest(distance: Distance) -> float:
    """Return a distance, or the greatest of a range."""
    return distance[1] if isinstance(distance, tuple) else distance


def one_of_range(distance: Distance, rng: np.random.Generator) -> float:
    """Return a distance, or a random one of a range."""
    return float(rng.uniform(*distance)) if isinstance(distance, tuple) else distance


def hole_around(
    mask: LabelArray, margin_mm: float, spacing: Sequence[float], *, fade_mm: float | None = None
) -> tuple[BoolArray, FloatArray]:
    """Return the voxels within ``margin_mm`` of the mask, and a weight: 1 on the mask, falling to 0 at their edge.

    A margin thinner than a voxel leaves only the mask.

    Args:
        mask: ``(x, y[, z])``, not 0 where the lesion is.
        margin_mm: distance in millimetres.
        spacing: millimetres per axis.
        fade_mm: distance over which the weight falls, in millimetres; by default, and at most, the whole margin.

    Example:
        >>> mask = np.array([0, 0, 0, 1, 0, 0, 0])
        >>> hole, weight = hole_around(mask, margin_mm=2, spacing=(1.0,))
        >>> hole.astype(int).tolist()
        [0, 0, 1, 1, 1, 0, 0]
        >>> weight.tolist()
        [0.0, 0.0, 0.5, 1.0, 0.5, 0.0, 0.0]
    """
    weight = np.zeros(mask.shape, np.float32)
    found = ndimage.find_objects((mask > 0).astype(np.int8))
    if not found:
        return weight > 0, weight
    reach = [int(np.ceil(margin_mm / step)) + 1 for step in spacing]
    box = tuple(slice(max(0, s.start - r), s.stop + r) for s, r in zip(found[0], reach, strict=True))
    distance = ndimage.distance_transform_edt(mask[box] == 0, sampling=spacing)
    steeper = 1.0 if fade_mm is None else max(1.0, margin_mm / max(fade_mm, 1e-6))
    weight[box] = np.clip((1 - distance / max(margin_mm, 1e-6)) * steeper, 0, 1) if margin_mm > 0 else distance == 0
    return weight > 0, weight
