"""Lesions scaled, turned and bent, each about its own centre."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from lesionforge.cohort.scan import LabelArray
from lesionforge.masks.noise import smooth_noise
from lesionforge.masks.placement import centroid, crop_to_lesion
from lesionforge.preprocessing.brain.brain_mask import thickest_last
from lesionforge.preprocessing.lesions.single_lesions import split_lesions

_BEND_MM = 12.0
"""Distance between the control points of the elastic deformation."""


def deform(
    lesion: LabelArray,
    spacing: Sequence[float],
    rng: np.random.Generator,
    *,
    factor: float,
    rotation: NDArray[np.float64],
    elastic_mm: float = 0.0,
) -> LabelArray:
    """Return a lesion scaled, turned and bent, by nearest neighbour, so that nested classes stay nested.

    Args:
        lesion: ``(x, y[, z])`` crop of a label map with at least one lesion voxel.
        spacing: millimetres along each axis.
        rng: source of the bending.
        factor: the scale, above 0.
        rotation: matrix ``(axis, axis)`` in mm.
        elastic_mm: standard deviation of a smooth random displacement, in mm; 0 = none.

    Returns:
        A tight crop. A lesion that falls between the voxels is one voxel of its commonest class.
    """
    steps = np.array(spacing, float)
    reach = np.abs(rotation) @ (np.array(lesion.shape) * steps) * factor + 4 * elastic_mm
    shape = tuple(int(n) for n in np.maximum(1, np.ceil(reach / steps)))
    middle, origin = (np.array(shape) - 1) / 2, (np.array(lesion.shape) - 1) / 2
    grid = np.indices(shape).reshape(lesion.ndim, -1)
    points = (grid - middle[:, None]) * steps[:, None]
    if elastic_mm > 0:
        points = points + _displacement(shape, steps, elastic_mm, rng)
    index = np.rint((rotation.T @ points) / factor / steps[:, None] + origin[:, None]).astype(int)
    inside = np.all((index >= 0) & (index < np.array(lesion.shape)[:, None]), axis=0)
    deformed = np.zeros(grid.shape[1], np.int16)
    deformed[inside] = lesion[tuple(index[:, inside])]
    if not deformed.any():
        return one_voxel(lesion)
    return crop_to_lesion(deformed.reshape(shape))[0]


def each_redrawn(
    mask: LabelArray, spacing: Sequence[float], redraw: Callable[[LabelArray], LabelArray]
) -> tuple[LabelArray, NDArray[np.float64]]:
    """Return a mask with each lesion redrawn about its own centre, and how far the centroid of all moved, in mm.

    Args:
        mask: ``(x, y[, z])`` label map.
        spacing: millimetres along each axis.
        redraw: maps the tight crop of a lesion to that of another.
    """
    lesions = split_lesions(mask, spacing)
    redrawn = [redraw(lesion) for lesion, _ in lesions]
    if len(lesions) == 1:
        return redrawn[0], np.zeros(mask.ndim)
    pairs = zip(lesions, redrawn, strict=True)
    corners = np.array([np.rint(at + centroid(old) - centroid(new)) for (old, at), new in pairs], int)
    first, last = corners.min(0), np.max([at + new.shape for at, new in zip(corners, redrawn, strict=True)], 0)
    together = np.zeros(last - first, np.int16)
    for corner, lesion in zip(corners - first, redrawn, strict=True):
        there = together[tuple(slice(a, a + n) for a, n in zip(corner, lesion.shape, strict=True))]
        np.maximum(there, lesion, out=there)
    return together, (first + centroid(together) - centroid(mask)) * np.array(spacing)


def one_voxel(lesion: LabelArray) -> LabelArray:
    """Return a single voxel of the commonest class of a lesion."""
    return np.full((1,) * lesion.ndim, commonest_class(lesion), np.int16)


def commonest_class(lesion: LabelArray) -> int:
    """Return the class of most voxels of a lesion."""
    return int(np.bincount(lesion[lesion > 0]).argmax())


def random_rotation(spacing: Sequence[float], limit: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a random rotation matrix: in the slice plane for 2D and thick slices, else about any axis.

    Args:
        spacing: millimetres along each axis.
        limit: the greatest angle, in radians.
        rng: source of the axis and the angle.
    """
    angle = rng.uniform(-limit, limit)
    if len(spacing) == 2:
        return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    direction = rng.normal(size=3)
    if max(spacing) > 1.5 * min(spacing):
        direction = np.eye(3)[thickest_last(spacing)]
    return np.asarray(Rotation.from_rotvec(angle * direction / np.linalg.norm(direction)).as_matrix())


def _displacement(
    shape: tuple[int, ...], spacing: NDArray[np.float64], sigma: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return a smooth random displacement ``(axis, voxel)`` in mm."""
    knots = [max(2, int(np.ceil(n * s / _BEND_MM)) + 1) for n, s in zip(shape, spacing, strict=True)]
    return np.stack([sigma * smooth_noise(shape, knots, rng).ravel() for _ in shape])
