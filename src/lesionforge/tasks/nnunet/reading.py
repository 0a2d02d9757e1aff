"""How nnU-Net reads files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionforge.cohort.scan import Scan

AXES_READ = {"SimpleITKIO": (2, 1, 0), "NibabelIO": (2, 1, 0), "NaturalImage2DIO": (1, 2, 0)}
"""nnU-Net's class that reads files → for each axis of a file, the axis of the array; a slice has a third axis of 1."""
SLICE_SPACING = 999.0
"""Millimetres that nnU-Net gives a slice without spacing as its thickness."""


def as_read(scan: Scan, order: Sequence[int], image: NDArray[np.float32]) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Return an image on a scan's grid as nnU-Net reads it, ``(channel, a, b, c)``, and its spacing.

    Args:
        scan: the scan.
        order: see :data:`AXES_READ`.
        image: ``(channel, x, y[, z])``.
    """
    whole = image if scan.spatial_dims == 3 else image[..., None]
    spacing = scan.spacing if scan.spatial_dims == 3 else (*scan.spacing, max(scan.spacing) * SLICE_SPACING)
    back = np.argsort(order)
    array = np.ascontiguousarray(np.transpose(whole, (0, *(int(axis) + 1 for axis in back))), np.float32)
    return array, {"spacing": [spacing[axis] for axis in back]}


def as_file(array: NDArray[Any], order: Sequence[int], *, spatial_dims: int) -> NDArray[Any]:
    """Return ``(a, b, c)`` of nnU-Net as ``(x, y[, z])`` of the file."""
    whole = np.ascontiguousarray(np.transpose(array, tuple(order)))
    return whole if spatial_dims == 3 else whole[..., 0]
