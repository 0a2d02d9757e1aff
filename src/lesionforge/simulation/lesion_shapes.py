"""Shapes of simulated lesions: position, growth and nested classes."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesionforge.cohort.scan import BoolArray, FloatArray
from lesionforge.simulation.head import Anatomy, Grid, smooth_noise

LesionKind = Literal["tumour", "stroke", "white_matter", "microbleed"]

LESION_KINDS: tuple[LesionKind, ...] = get_args(LesionKind)

LESION_CLASSES: dict[LesionKind, tuple[str, ...]] = {
    "tumour": ("oedema", "core", "enhancing"),
    "stroke": ("stroke",),
    "white_matter": ("white_matter_lesion",),
    "microbleed": ("microbleed",),
}
"""Class names in the order of their labels 1, 2, …; the region of a class contains those of later classes."""

MEDIAN_VOLUME_MM3: dict[LesionKind, float] = {"tumour": 30_000, "stroke": 14_000, "white_matter": 14_000}
VOLUME_SPREAD: dict[LesionKind, float] = {"tumour": 0.6, "stroke": 0.9, "white_matter": 0.7}
VOLUME_LIMITS_MM3: dict[LesionKind, tuple[float, float]] = {
    "tumour": (6_000, 120_000),
    "stroke": (1_500, 120_000),
    "white_matter": (3_000, 50_000),
}

STROKE_SITES_MM = (
    ((48, 5, 25), 3.0),  # middle cerebral artery, upper division
    ((52, -30, 10), 3.0),  # middle cerebral artery, lower division
    ((26, 2, 8), 2.0),  # deep perforators
    ((10, 35, 35), 1.0),  # anterior cerebral artery
    ((18, -80, 5), 1.5),  # posterior cerebral artery
    ((25, -65, -35), 1.0),  # cerebellar arteries
)
"""Centres (mm) and relative frequencies of arterial territories in the right hemisphere; mirrored at random."""


def draw_volume(kind: LesionKind, rng: np.random.Generator) -> float:
    """Draw a lesion volume in mm³."""
    volume = rng.lognormal(np.log(MEDIAN_VOLUME_MM3[kind]), VOLUME_SPREAD[kind])
    return float(np.clip(volume, *VOLUME_LIMITS_MM3[kind]))


def draw_centre(kind: LesionKind, grid: Grid, anatomy: Anatomy, rng: np.random.Generator) -> FloatArray:
    """Draw the ``(3,)`` position in mm, within brain tissue, from which a lesion grows."""
    if kind == "stroke":
        sites = np.array([site for site, _ in STROKE_SITES_MM], np.float32)
        frequency = np.array([weight for _, weight in STROKE_SITES_MM])
        site = sites[rng.choice(len(sites), p=frequency / frequency.sum())] * (rng.choice([-1, 1]), 1, 1)
        distance = np.linalg.norm(grid.positions - site.reshape(3, 1, 1, 1), axis=0)
        weight = anatomy.parenchyma * np.exp(-((distance / 12) ** 2))
    else:
        x, _, z = grid.positions
        weight = (anatomy.wm + 0.3 * anatomy.gm) * (z > -15) * (np.abs(x) > 10)
    weight = np.where(anatomy.parenchyma > 0.6, weight, 0).ravel().astype(np.float64)
    chosen = rng.choice(weight.size, p=weight / weight.sum())
    return grid.positions.reshape(3, -1)[:, chosen]


def draw_regions(
    kind: LesionKind, grid: Grid, anatomy: Anatomy, centre: FloatArray, volume_mm3: float, rng: np.random.Generator
) -> list[BoolArray]:
    """Return the ``(x, y, z)`` region of each class of a random lesion; each region contains the next."""
    tissue = anatomy.parenchyma > 0.5
    if kind == "white_matter":
        closeness = np.exp(-anatomy.ventricle_mm / rng.uniform(5, 10))
        height = smooth_noise(rng, grid, rng.uniform(7, 11)) + 4 * closeness
        x, _, z = grid.positions
        hemispheres = (np.abs(x) > 7) & (z > -20)
        return [grow(height, tissue & (anatomy.wm > 0.6) & hemispheres, volume_mm3, grid)]
    distance = _rough_distance(grid, centre, volume_mm3, rng)
    if kind == "stroke":
        same_side = grid.positions[0] * np.sign(centre[0]) > 0
        return [_largest(grow(-distance, tissue & same_side, volume_mm3, grid))]
    whole = _largest(grow(-distance + 10 * anatomy.wm, tissue, volume_mm3, grid))
    core = _largest(_core(whole, distance, grid, rng))
    return [whole, core, _rim(core, grid, rng)]


def grow(height: NDArray[np.floating[Any]], allowed: BoolArray, volume_mm3: float, grid: Grid) -> BoolArray:
    """Return the allowed voxels with the highest ``height``, as many as give the volume."""
    count = min(max(round(volume_mm3 / grid.voxel_mm3), 1), int(allowed.sum()))
    threshold = np.partition(height[allowed], -count)[-count]
    return np.asarray(allowed & (height >= threshold))


def _rough_distance(grid: Grid, centre: FloatArray, volume_mm3: float, rng: np.random.Generator) -> FloatArray:
    """Return the distance to ``centre`` in mm, with random stretch and roughness in proportion to the radius."""
    radius = (volume_mm3 / 4.19) ** (1 / 3)
    axes, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    stretch = np.exp(rng.normal(0, 0.22, 3))
    offset = grid.positions - centre.reshape(3, 1, 1, 1)
    stretched = np.einsum("ij,jxyz->ixyz", axes * stretch[:, None], offset)
    rough = 0.28 * smooth_noise(rng, grid, max(radius * 0.8, 6)) + 0.12 * smooth_noise(rng, grid, 6)
    return np.asarray(np.linalg.norm(stretched, axis=0) + radius * rough, np.float32)


def _core(whole: BoolArray, distance: FloatArray, grid: Grid, rng: np.random.Generator) -> BoolArray:
    share = rng.uniform(0.1, 0.4)
    depth = _depth(whole, grid)
    height = depth - distance + 2 * smooth_noise(rng, grid, 8)
    inner = whole & (depth > min(grid.spacing))
    return grow(height, inner if inner.any() else whole, share * whole.sum() * grid.voxel_mm3, grid)


def _rim(core: BoolArray, grid: Grid, rng: np.random.Generator) -> BoolArray:
    """Return the enhancing rim at the border of the core: closed, broken, or absent (in one tumour of five)."""
    if rng.random() < 0.2:
        return np.zeros_like(core)
    depth = _depth(core, grid)
    height = -depth + rng.uniform(0.5, 2.5) * smooth_noise(rng, grid, 10)
    return grow(height, core, rng.uniform(0.35, 0.65) * core.sum() * grid.voxel_mm3, grid)


def _depth(region: BoolArray, grid: Grid) -> NDArray[np.float64]:
    """Return the distance in mm from each voxel of a region to the nearest voxel outside it, and 0 outside it."""
    depth = np.zeros(region.shape)
    for box in ndimage.find_objects(region.astype(np.int8)):
        around = tuple(slice(max(axis.start - 1, 0), axis.stop + 1) for axis in box)
        depth[around] = ndimage.distance_transform_edt(region[around], sampling=grid.spacing)
    return depth


def _largest(region: BoolArray) -> BoolArray:
    """Return the largest connected component of a region."""
    parts, count = ndimage.label(region)
    if count > 1:
        region = parts == 1 + np.bincount(parts.ravel())[1:].argmax()
    return region
