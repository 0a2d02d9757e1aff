"""Soft ellipsoids in the template: nuclei of the brain, sinuses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lesionforge.cohort.scan import FloatArray


def raise_in_ellipsoid(
    values: FloatArray,
    places: FloatArray,
    centre: NDArray[np.float64],
    radii: Sequence[float] | NDArray[np.float64],
    *,
    height: float,
    edge: float,
) -> None:
    """Raise ``values`` to ``height`` inside an ellipsoid, in place.

    Args:
        values: ``(n,)`` values.
        places: ``(3, n)`` their positions in mm.
        centre: in mm.
        radii: in mm.
        height: the value inside.
        edge: width of the edge, in which the value falls to 0, as a share of the radii; half of it lies outside.
    """
    outer = 1 + edge / 2
    near = np.flatnonzero(np.abs(places[2] - np.float32(centre[2])) < outer * radii[2])
    distance = np.sqrt(sum(((places[axis, near] - centre[axis]) / radii[axis]) ** 2 for axis in range(3)))
    values[near] = np.maximum(values[near], height * np.clip((outer - distance) / edge, 0, 1))
