"""What a network that draws the whole image changes before any blending: outside the lesion mask, and inside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from lesionforge.cohort.inspection.measure import foreground
from lesionforge.cohort.scan import FloatArray, LabelArray
from lesionforge.preprocessing.pipeline import Preprocessing

CHANGED_OUTSIDE = "changed_outside"
"""The entry of a provenance record, a share of the model's intensity range."""
CHANGED_INSIDE = "changed_inside"
"""The same for the change of the lesion itself by a method that removes it."""
HEALER_CHANGED_OUTSIDE, HEALER_CHANGED_INSIDE = "healer_changed_outside", "healer_changed_inside"
"""The same two for what healed a scan before a lesion was drawn into it."""
LEAST_CHANGE = 0.01
"""A lesion that is changed by less than this share of the range on average is still there."""


def changed_outside(drawn: FloatArray, before: FloatArray, mask: LabelArray) -> float:
    """Return the mean absolute change of a head outside the mask; 0 if the mask covers the head.

    Args:
        drawn: ``(channel, x, y[, z])`` drawn image.
        before: the image that was drawn into, same shape.
        mask: ``(x, y[, z])`` lesion mask.
    """
    beside = foreground(before[0]) & (mask == 0)
    return float(np.abs(drawn - before)[:, beside].mean()) if beside.any() else 0.0


def share_changed_outside(
    preprocessing: Preprocessing, drawn: FloatArray, before: FloatArray, mask: LabelArray
) -> float | None:
    """Return :func:`changed_outside` as a share of the model's intensity range; ``None`` if the mask is empty.

    Only what the network drew counts: of a volume, the slices with a part of the mask if the network is 2D, and the
    voxels that differ if it is 3D.

    Args:
        preprocessing: the model's preprocessing.
        drawn: ``(channel, x, y[, z])`` drawn image in model space, before blending.
        before: the image that was drawn into, same shape.
        mask: ``(x, y[, z])`` lesion mask in model space.
    """
    if not mask.any():
        return None
    sliced = mask.ndim > preprocessing.spatial_dims
    seen = (..., np.flatnonzero(mask.any((0, 1)))) if sliced else ...
    beside = mask if sliced else np.where((drawn != before).any(0), mask, 1)
    low, high = preprocessing.output
    return changed_outside(drawn[seen], before[seen], beside[seen]) / (high - low)


def share_changed_inside(
    preprocessing: Preprocessing, drawn: FloatArray, before: FloatArray, mask: LabelArray
) -> float | None:
    """Return the mean absolute change within the mask, as a share of the model's intensity range.

    Args:
        preprocessing: the model's preprocessing.
        drawn: ``(channel, x, y[, z])`` drawn image in model space, before blending.
        before: the image that was drawn into, same shape.
        mask: ``(x, y[, z])`` lesion mask in model space; if it is empty, the result is ``None``.
    """
    low, high = preprocessing.output
    return float(np.abs(drawn - before)[:, mask > 0].mean()) / (high - low) if mask.any() else None


def change_entries(shares: Mapping[str, float | None]) -> dict[str, float]:
    """Return the entries of a provenance record for name → share, without those that were not measured."""
    return {name: round(share, 6) for name, share in shares.items() if share is not None}


def mean_change(records: Iterable[Mapping[str, Any]], name: str = CHANGED_OUTSIDE) -> float | None:
    """Return the mean of an entry over the provenance records that have it; ``None`` if none has."""
    said = [float(record[name]) for record in records if name in record]
    return sum(said) / len(said) if said else None
