"""Scores of two masks: overlap, boundary distance and size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from monai.metrics import compute_dice, compute_hausdorff_distance

from lesionforge.cohort.scan import BoolArray


def dice(prediction: BoolArray, truth: BoolArray, *, empty: float = 1.0) -> float:
    """Return the Dice coefficient 2·|P∩T| / (|P|+|T|), between 0 and 1.

    Args:
        prediction: ``(x, y[, z])`` mask.
        truth: ``(x, y[, z])`` mask.
        empty: value if both masks are empty; if only one is, Dice is 0.

    Example:
        >>> truth, prediction = np.zeros((8, 8), bool), np.zeros((8, 8), bool)
        >>> truth[2:4, 2:4] = prediction[2:4, 2:6] = True
        >>> round(dice(prediction, truth), 3)
        0.667
    """
    if not prediction.any() and not truth.any():
        return empty
    return float(compute_dice(_one_hot(prediction), _one_hot(truth), ignore_empty=False))


def hd95(prediction: BoolArray, truth: BoolArray, spacing: Sequence[float], *, in_plane: bool = False) -> float:
    """Return the 95 % Hausdorff distance in mm: the larger of the two directed 95th percentiles.

    With ``in_plane``, a volume is cut into slices along its thickest axis (the last one if several are equal), and the
    result is the mean over the slices with a lesion in both masks. Use it if the slice spacing is uncertain. Slices
    with a lesion in one mask only have no in-plane distance; Dice counts them.

    The distance to an empty mask is undefined. A substitute such as the image diagonal would make every mean depend
    mainly on the number of empty predictions; those are counted separately.

    Args:
        prediction: ``(x, y[, z])`` mask.
        truth: ``(x, y[, z])`` mask.
        spacing: mm along each axis.
        in_plane: measure within slices; has no effect on a 2D image, which is one slice.

    Returns:
        NaN if either mask is empty; in plane, also if no slice has a lesion in both.

    Example:
        >>> truth, prediction = np.zeros((8, 8), bool), np.zeros((8, 8), bool)
        >>> truth[2, 2] = prediction[2, 5] = True
        >>> hd95(prediction, truth, spacing=(1.0, 2.0))
        6.0
    """
    if in_plane and truth.ndim == 3:
        return _in_plane_hd95(prediction, truth, spacing)
    if not prediction.any() or not truth.any():
        return math.nan
    distance = compute_hausdorff_distance(
        _one_hot(prediction),
        _one_hot(truth),
        include_background=True,
        percentile=95,
        spacing=[float(s) for s in spacing],
    )
    return float(distance)


def physical_size(mask: BoolArray, spacing: Sequence[float]) -> float:
    """Return the size of a mask in ml (3D) or mm² (2D)."""
    voxel = math.prod(spacing)
    return int(np.count_nonzero(mask)) * (voxel / 1000 if mask.ndim == 3 else voxel)


def volume_difference(prediction: BoolArray, truth: BoolArray, spacing: Sequence[float]) -> float:
    """Return the predicted minus the true size in ml (3D) or mm² (2D).

    Example:
        >>> truth, prediction = np.zeros((8, 8, 8), bool), np.zeros((8, 8, 8), bool)
        >>> prediction[:5, :5, :5] = True
        >>> volume_difference(prediction, truth, spacing=(2.0, 2.0, 2.0))
        1.0
    """
    return physical_size(prediction, spacing) - physical_size(truth, spacing)


def _in_plane_hd95(prediction: BoolArray, truth: BoolArray, spacing: Sequence[float]) -> float:
    thickest = max(range(truth.ndim), key=lambda axis: (spacing[axis], axis))
    plane_spacing = [mm for axis, mm in enumerate(spacing) if axis != thickest]
    slices = list(zip(np.moveaxis(prediction, thickest, 0), np.moveaxis(truth, thickest, 0), strict=True))
    distances = [hd95(p, t, plane_spacing) for p, t in slices if p.any() and t.any()]
    return float(np.mean(distances)) if distances else math.nan


def _one_hot(mask: BoolArray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(mask, dtype=np.float32))[None, None]
