"""One lesion made larger or smaller, shifted, or mirrored, about its own centre and in mm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lesionforge.cohort.scan import BoolArray, LabelArray, Scan
from lesionforge.masks.deformation import deform
from lesionforge.masks.placement import TRIES, centroid, left_right_axis, region_box, within_grid


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A lesion after a move.

    Attributes:
        lesion: ``(x, y[, z])`` tight crop.
        corner: voxel of the scan for its first voxel; it may lie off the grid.
        factor: how much longer it is.
    """

    lesion: LabelArray
    corner: tuple[int, ...]
    factor: float = 1.0


def scaled(
    lesion: LabelArray, corner: Sequence[int], scan: Scan, rng: np.random.Generator, factors: tuple[float, float]
) -> Moved:
    """Return a lesion scaled about its centroid, by the same random factor along each axis.

    Args:
        lesion: ``(x, y[, z])`` tight crop.
        corner: its first voxel.
        scan: the scan that it lies in; a volume of one slice keeps one slice.
        rng: source of the factor.
        factors: range of the factor.
    """
    factor = float(rng.uniform(*factors))
    larger = deform(lesion, scan.spacing, rng, factor=factor, rotation=np.eye(lesion.ndim))
    for axis, size in enumerate(scan.spatial_shape):
        if size == 1:
            larger = larger.take([larger.shape[axis] // 2], axis)
    first = np.rint(corner + centroid(lesion) - centroid(larger))
    return Moved(lesion=larger, corner=_whole(first), factor=factor)


def shifted(
    lesion: LabelArray, corner: Sequence[int], scan: Scan, rng: np.random.Generator, distance_mm: tuple[float, float]
) -> Moved:
    """Return a lesion moved into a random direction, by whole voxels and no further than the distance.

    Args:
        lesion: ``(x, y[, z])`` tight crop.
        corner: its first voxel.
        scan: the scan that it lies in.
        rng: source of distance and direction; a shift of less than a voxel is drawn again.
        distance_mm: range of the distance in mm.
    """
    voxels = np.zeros(lesion.ndim)
    for _ in range(TRIES):
        direction = within_grid(rng.normal(size=lesion.ndim), scan)
        length = max(float(np.linalg.norm(direction)), 1e-9)
        voxels = np.trunc(direction / length * rng.uniform(*distance_mm) / np.array(scan.spacing))
        if voxels.any():
            break
    return Moved(lesion=lesion, corner=_whole(corner + voxels))


def mirrored(lesion: LabelArray, corner: Sequence[int], scan: Scan, region: BoolArray) -> Moved:
    """Return a lesion mirrored to the other hemisphere, at the middle of the box of the brain.

    Args:
        lesion: ``(x, y[, z])`` tight crop.
        corner: its first voxel.
        scan: the scan that it lies in.
        region: ``(x, y[, z])`` the brain.
    """
    axis, first = left_right_axis(scan), np.array(corner, float)
    low, high = region_box(region)
    first[axis] = low[axis] + high[axis] - (corner[axis] + lesion.shape[axis] - 1)
    return Moved(lesion=np.flip(lesion, axis), corner=_whole(np.rint(first)))


def _whole(corner: np.ndarray) -> tuple[int, ...]:
    return tuple(int(n) for n in corner)
