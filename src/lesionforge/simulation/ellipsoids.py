"""Soft ellipsoids in the template: nuclei of the brain, sinuses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lesionforge.cohort.scan import FloatArray


def raise_in_ellipsoid(
    values: FloatArray,
    in_template: FloatArray,
    centre: NDArray[np.float64],
    radii: Sequence[float] | NDArray[np.float64],
    *,
    height: float,
    edge: float,
) -> None:
    """Raise ``values`` to ``height`` inside an ellipsoid, in place.

    Args:
        values: ``(x, y, z)``.
        in_template: ``(3, x, y, z)`` position of each voxel in the template in mm.
        centre: in the template, in mm.
        radii: in mm.
        height: the value inside.
        edge: width of the edge, in which the value falls to 0, as a share of the radii; half of it lies outside.
    """
    places, outer = in_template.reshape(3, -1), 1 + edge / 2
    near = np.flatnonzero(np.abs(places[2] - np.float32(centre[2])) < outer * radii[2])
    for axis in (1, 0):
        near = near[np.abs(places[axis, near] - centre[axis]) < outer * radii[axis]]
    distance = np.sqrt(sum(((places[axis, near] - centre[axis]) / radii[axis]) ** 2 for axis in range(3)))
    inside = height * np.clip((outer - distance) / edge, 0, 1)
    flat = values.reshape(-1)
    flat[near] = np.maximum(flat[near], inside)
