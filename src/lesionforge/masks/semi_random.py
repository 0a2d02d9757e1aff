"""Semi-random masks: real lesions, turned and scaled, at random places apart from each other.

This is our reading of the semi-random masks of Faryna et al. 2021 (arXiv 2101.06468), who do not define them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from lesionforge.cohort.scan import BoolArray, LabelArray, slicing_spacing
from lesionforge.masks.deformation import deform, random_rotation

TRIES = 50
"""Places that are tried for each lesion."""


def scatter(
    components: Sequence[LabelArray],
    allowed: BoolArray,
    rng: np.random.Generator,
    *,
    count: int,
    spacing: Sequence[float],
    scale: tuple[float, float] = (0.8, 1.25),
    max_diameter_mm: float = 10.0,
) -> LabelArray:
    """Return a label map of random lesions, turned, mirrored and scaled, at random places apart from each other.

    A lesion that fits nowhere after some tries is left out.

    Args:
        components: ``(x, y[, z])`` label crops of real lesions on ``spacing``, at least one; each as likely as another,
            again and again.
        allowed: ``(x, y[, z])`` where lesions may lie, whole.
        rng: source of all randomness.
        count: number of lesions.
        spacing: millimetres along each axis.
        scale: range of the scale factor.
        max_diameter_mm: no two voxel centres of a lesion lie further apart; a larger lesion is scaled down.

    Returns:
        ``(x, y[, z])``, 0 elsewhere; at least one voxel lies between two lesions.

    Example:
        >>> lesion, allowed = np.ones((3, 3), np.int16), np.ones((20, 20), bool)
        >>> drawn = scatter([lesion], allowed, np.random.default_rng(0), count=4, spacing=(1.0, 1.0))
        >>> ndimage.label(drawn)[1]
        4
    """
    chosen = [components[number] for number in rng.integers(len(components), size=count)]
    slicing = slicing_spacing(spacing, allowed.shape)
    turned = []
    for lesion in chosen:
        factor = min(rng.uniform(*scale), max_diameter_mm / diameter(lesion, spacing))
        mirrored = lesion[tuple(slice(None, None, step) for step in rng.choice((-1, 1), lesion.ndim))]
        turned.append(deform(mirrored, spacing, rng, factor=factor, rotation=random_rotation(slicing, np.pi, rng)))
    return _put_apart(turned, allowed, rng)


def diameter(lesion: LabelArray, spacing: Sequence[float]) -> float:
    """Return the greatest distance in mm between two corners of the voxels of a lesion.

    Args:
        lesion: ``(x, y[, z])`` with at least one lesion voxel.
        spacing: millimetres along each axis.
    """
    inside = lesion > 0
    surface = np.argwhere(inside & ~ndimage.binary_erosion(inside))
    offsets = np.indices((2,) * lesion.ndim).reshape(lesion.ndim, -1).T
    corners = (surface[:, None] + offsets).reshape(-1, lesion.ndim) * np.array(spacing)
    return float(pdist(corners[ConvexHull(corners).vertices]).max())


def _put_apart(lesions: Sequence[LabelArray], allowed: BoolArray, rng: np.random.Generator) -> LabelArray:
    """Return the lesions at random places within ``allowed`` where none touches another."""
    together, free, centres = np.zeros(allowed.shape, np.int16), np.pad(allowed, 1), np.flatnonzero(allowed)
    for lesion in lesions:
        inside = np.pad(lesion > 0, 1)
        corner = _free_corner(inside, free, centres, rng)
        if corner is None:
            continue
        together[_box(corner, lesion.shape)][lesion > 0] = lesion[lesion > 0]
        free[_box(corner, inside.shape)][ndimage.binary_dilation(inside, np.ones((3,) * inside.ndim))] = False
    return together


def _free_corner(
    inside: BoolArray, free: BoolArray, centres: NDArray[np.intp], rng: np.random.Generator
) -> tuple[int, ...] | None:
    """Return the first voxel of a random box in which all voxels of a lesion are free, if one is found.

    Args:
        inside: ``(x, y[, z])`` the lesion, with a border of one voxel.
        free: ``(x, y[, z])`` free voxels, with a border of one voxel.
        centres: flat indices of the places to try, on the grid without its border.
        rng: source of the places.
    """
    inner = tuple(n - 2 for n in free.shape)
    for _ in range(TRIES if len(centres) else 0):
        centre = np.unravel_index(rng.choice(centres), inner)
        corner = tuple(int(c) - (n - 2) // 2 for c, n in zip(centre, inside.shape, strict=True))
        if min(corner) < 0:
            continue
        there = free[_box(corner, inside.shape)]
        if there.shape == inside.shape and there[inside].all():
            return corner
    return None


def _box(corner: Sequence[int], shape: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(c, c + n) for c, n in zip(corner, shape, strict=True))
