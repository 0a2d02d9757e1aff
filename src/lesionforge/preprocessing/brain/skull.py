"""The inner contour of the skull in whole-head MR: the best closed path around the head's centre in each slice.

For every direction from the centre, each radius has a cost. The cost is low where tissue as bright as brain ends at
something dark (fluid, bone) and little such tissue is left outside. Dynamic programming over the directions finds the
cheapest closed contour, for all slices at once.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesionforge.cohort.scan import BoolArray, FloatArray

_DIRECTIONS = 96
_STEP_MM = 1.5
_RADII = np.arange(0, 115, _STEP_MM, dtype=np.float64)
_LEAST_RADIUS_MM = 15.0
_SCALP_MM = 6.0
_EDGE = round(6 / _STEP_MM)
"""Number of radii considered on either side of an edge."""
_REACH = 3
"""Greatest change of the radius, in steps, from one direction to the next."""
_BEND_COST = 0.25
_LOSS_COST = 0.08
"""Per mm of brain-like tissue left outside."""
_FORBIDDEN = 5.0


def inner_contour(relative: FloatArray, depth: FloatArray, centre: Sequence[float], mm: float) -> BoolArray:
    """Return the inside of the contour.

    Args:
        relative: ``(x, y, slice)`` intensity, 1 = brain.
        depth: ``(x, y, slice)`` distance in mm to the outside of the head, 0 outside.
        centre: the centre of the head in plane, in voxels.
        mm: in-plane spacing.

    Returns:
        ``(x, y, slice)`` bool.
    """
    angles = np.linspace(0, 2 * np.pi, _DIRECTIONS, endpoint=False)
    rays = [c + np.outer(f(angles), _RADII) / mm for c, f in zip(centre, (np.cos, np.sin), strict=True)]
    slices = np.arange(relative.shape[-1])[:, None, None]
    points = np.stack(np.broadcast_arrays(*rays, slices)).astype(np.float32)
    polar = ndimage.map_coordinates(np.minimum(relative, 2), points, order=1, mode="nearest")
    polar_depth = ndimage.map_coordinates(depth, points, order=1, mode="nearest")
    return _paint(_RADII[_closed_path(_cost(polar, polar_depth))], centre, mm, relative.shape)


def _cost(polar: FloatArray, depth: FloatArray) -> NDArray[np.float64]:
    """Return the cost of each ``(slice, direction, radius)``."""
    inner = ndimage.uniform_filter1d(polar, _EDGE, axis=2, origin=_EDGE // 2 - 1)
    outer = ndimage.minimum_filter1d(polar, _EDGE, axis=2, origin=-(_EDGE // 2))
    edge = np.minimum(inner, 1.3) - outer
    worth = np.select(
        [depth < _SCALP_MM, polar < 0.4, polar < 0.55, polar < 1.6, polar < 2], [-1, -1, -0.2, 1, 0.2], -0.5
    )
    kept = np.cumsum(worth, axis=2) * _STEP_MM
    lost = np.minimum(kept.max(axis=2, keepdims=True) - kept, 40)
    cost = _LOSS_COST * lost - edge
    cost[(depth < _SCALP_MM) | (_RADII < _LEAST_RADIUS_MM)] = _FORBIDDEN
    return np.asarray(cost, np.float64)


def _closed_path(cost: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the index of the radius for each ``(slice, direction)`` along the cheapest path.

    The path goes round twice; the middle of the two rounds closes.
    """
    n_slices, _, n_radii = cost.shape
    total = np.zeros((n_slices, n_radii))
    moves = np.arange(-_REACH, _REACH + 1)
    bend = _BEND_COST * np.abs(moves)[:, None, None]
    came_from = []
    for direction in [*range(_DIRECTIONS)] * 2:
        padded = np.pad(total, ((0, 0), (_REACH, _REACH)), constant_values=np.inf)
        options = np.stack([padded[:, _REACH + m : _REACH + m + n_radii] for m in moves]) + bend
        best = options.argmin(axis=0)
        came_from.append(moves[best])
        total = np.take_along_axis(options, best[None], axis=0)[0] + cost[:, direction]
    radius = total.argmin(axis=1)
    path = []
    for move in reversed(came_from):
        path.append(radius)
        radius = radius + np.take_along_axis(move, radius[:, None], axis=1)[:, 0]
    forward = np.stack(path[::-1], axis=1)
    half = _DIRECTIONS // 2
    return np.concatenate([forward[:, _DIRECTIONS : _DIRECTIONS + half], forward[:, half:_DIRECTIONS]], axis=1)


def _paint(radii: NDArray[np.float64], centre: Sequence[float], mm: float, shape: tuple[int, ...]) -> BoolArray:
    """Return the voxels that lie nearer to the centre than the contour in their direction."""
    x, y = np.meshgrid(np.arange(shape[0]) - centre[0], np.arange(shape[1]) - centre[1], indexing="ij")
    position = (np.arctan2(y, x) % (2 * np.pi)) / (2 * np.pi) * _DIRECTIONS
    before = np.floor(position).astype(int) % _DIRECTIONS
    part = position - np.floor(position)
    limit = radii[:, before] * (1 - part) + radii[:, (before + 1) % _DIRECTIONS] * part
    return np.moveaxis(np.hypot(x, y) * mm < limit, 0, -1)
