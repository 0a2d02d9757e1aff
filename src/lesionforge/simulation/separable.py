"""Sums along one axis after the other: smoothing, resampling and averaging of volumes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lesionforge.cohort.scan import FloatArray


def along_axes(values: FloatArray, matrices: Sequence[NDArray[np.float32]]) -> FloatArray:
    """Multiply each axis of ``(x, y, z)`` values with a matrix that is mostly 0, ``(new length, length)``.

    The first axis comes last, so that the longest sums run over whole rows of memory. BLAS is not used.
    """
    for axis in (2, 1, 0):
        rows = np.moveaxis(values, axis, 0)
        summed = sparse.csr_array(matrices[axis]) @ np.ascontiguousarray(rows).reshape(rows.shape[0], -1)
        values = np.moveaxis(summed.reshape(-1, *rows.shape[1:]), 0, axis)
    return values


def interpolation(positions: NDArray[np.float64], length: int) -> NDArray[np.float32]:
    """Return the ``(n, length)`` matrix of linear interpolation at fractional indices; ends are continued."""
    positions = np.clip(positions, 0, length - 1)
    return np.maximum(0, 1 - np.abs(positions[:, None] - np.arange(length))).astype(np.float32)
