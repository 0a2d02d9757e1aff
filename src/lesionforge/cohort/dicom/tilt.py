"""Slices of a tilted gantry, moved until they lie above each other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesionforge.cohort.grid import Affine

DIGITS = 3
"""Of a shift in pixels; without rounding, a slice that moves by whole pixels could lose its edge."""


def tilt_of(place: Affine) -> float:
    """Return the angle in degrees between the direction of the slices and their normal."""
    normal, step = np.cross(place[:3, 0], place[:3, 1]), place[:3, 2]
    cosine = float(normal @ step / np.linalg.norm(normal) / np.linalg.norm(step))
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def straightened(array: NDArray[Any], place: Affine, *, order: int, fill: float) -> tuple[NDArray[Any], Affine]:
    """Return a tilted volume on the smallest grid at right angles that holds all of its slices.

    Each slice is moved in its plane only, so slices are not mixed.

    Args:
        array: ``(column, row, slice)``.
        place: voxel indices to mm; only the direction of the slices is not at right angles to the others.
        order: 0 for the nearest pixel, as labels need it, 1 for linear interpolation, which rounds whole numbers.
        fill: value of what lies beside a slice.
    """
    axes, step = place[:3, :2], place[:3, 2]
    shift = np.linalg.pinv(axes) @ step
    total = shift * (array.shape[2] - 1)
    before, after = np.ceil(np.maximum(-total, 0)).astype(int), np.ceil(np.maximum(total, 0)).astype(int)
    margins = [*zip(before, after, strict=True), (0, 0)]
    wide = np.pad(array.astype(np.float64), margins, constant_values=fill)
    for number in range(array.shape[2]):
        moved = ndimage.shift(wide[:, :, number], np.round(shift * number, DIGITS), order=order, cval=fill)
        wide[:, :, number] = moved if array.dtype.kind == "f" else np.rint(moved)
    straight = place.copy()
    straight[:3, 2] = step - axes @ shift
    straight[:3, 3] = place[:3, 3] - axes @ before
    return wide.astype(array.dtype), straight
