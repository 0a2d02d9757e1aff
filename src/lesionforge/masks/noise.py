"""Smooth random fields."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def smooth_noise(shape: Sequence[int], knots: Sequence[int], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return normal random numbers on a coarse grid of knots, interpolated linearly along each axis in turn.

    Args:
        shape: the size of the field.
        knots: the number of knots along each axis; they span the field.
        rng: source of the numbers, which have unit variance at the knots.
    """
    field = rng.normal(size=tuple(knots))
    for size, count in zip(shape, knots, strict=True):
        position = np.linspace(0, count - 1, size)
        weights = np.maximum(0, 1 - np.abs(position[:, None] - np.arange(count)))
        field = np.tensordot(field, weights, axes=(0, 1))
    return field
