"""Veins of a simulated head: tubes along smooth random paths in white matter, in sulci and along the ventricles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesionforge.cohort.scan import FloatArray
from lesionforge.simulation.difficulty import VEINS
from lesionforge.simulation.head import Anatomy, Grid
from lesionforge.simulation.inclusions import Inclusion

STEP_MM = 0.4


@dataclass(frozen=True, kw_only=True)
class Course:
    """How the veins of one kind run.

    Attributes:
        start: weight with which a vein starts in a voxel.
        height: what a vein climbs, in mm or in arbitrary units.
        pull: how strongly it climbs at each step; the rest of its direction is kept.
        wander: how strongly its direction changes at random at each step.
        stays: whether a vein goes on at a voxel.
        diameter_mm: range of diameters, log-uniform.
        length_mm: range of lengths.
    """

    start: Callable[[Anatomy], NDArray[Any]]
    height: Callable[[Anatomy], NDArray[Any]]
    stays: Callable[[Anatomy], NDArray[Any]]
    pull: float
    wander: float
    diameter_mm: tuple[float, float]
    length_mm: tuple[float, float]


def _sulci(anatomy: Anatomy) -> FloatArray:
    return np.asarray(anatomy.csf * (anatomy.ventricle_mm > 6))


COURSES = {
    "medullary": Course(
        start=lambda anatomy: (
            anatomy.wm * (anatomy.wm > 0.7) * (anatomy.ventricle_mm > 6) * (anatomy.ventricle_mm < 30)
        ),
        height=lambda anatomy: -anatomy.ventricle_mm,
        stays=lambda anatomy: (anatomy.parenchyma > 0.5) & (anatomy.ventricle_mm > 1),
        pull=0.15,
        wander=0.12,
        diameter_mm=(0.4, 1.1),
        length_mm=(10, 40),
    ),
    "sulcal": Course(
        start=lambda anatomy: _sulci(anatomy) > 0.4,
        height=lambda anatomy: 4 * ndimage.gaussian_filter(_sulci(anatomy), 1),
        stays=lambda anatomy: anatomy.csf + anatomy.gm > 0.4,
        pull=0.3,
        wander=0.1,
        diameter_mm=(0.7, 2.4),
        length_mm=(10, 50),
    ),
    "subependymal": Course(
        start=lambda anatomy: (np.abs(anatomy.ventricle_mm - 2) < 1) * (anatomy.wm > 0.3).astype(np.float32),
        height=lambda anatomy: -((anatomy.ventricle_mm - 2) ** 2) / 4,
        stays=lambda anatomy: (anatomy.parenchyma > 0.3) & (anatomy.ventricle_mm < 6),
        pull=0.3,
        wander=0.1,
        diameter_mm=(1.0, 2.2),
        length_mm=(15, 50),
    ),
}


def draw_veins(anatomy: Anatomy, grid: Grid, chi_ppm: float, rng: np.random.Generator) -> list[Inclusion]:
    """Draw the veins of a head, each with the susceptibility ``chi_ppm`` above tissue."""
    veins = []
    for kind, course in COURSES.items():
        for points in _walk(course, int(rng.integers(*VEINS[kind])), anatomy, grid, rng):
            low, high = np.log(course.diameter_mm)
            first, last = np.exp(rng.uniform(low, high)) / 2 * rng.uniform(0.6, 1.0, 2)
            radii = np.linspace(first, last, len(points)).astype(np.float32)
            veins.append(Inclusion(kind="vein", points=points, radii=radii, chi_ppm=chi_ppm))
    return veins


def _walk(course: Course, count: int, anatomy: Anatomy, grid: Grid, rng: np.random.Generator) -> list[FloatArray]:
    """Return the paths of veins, ``(n, 3)`` in mm each, all of which take a step at a time."""
    height, stays = course.height(anatomy), course.stays(anatomy)
    start = course.start(anatomy).ravel()
    places = np.flatnonzero(start)
    weight = start[places].astype(np.float64)
    chosen = places[rng.choice(len(places), count, p=weight / weight.sum())]
    position = grid.positions.reshape(3, -1)[:, chosen].T + rng.uniform(-0.5, 0.5, (count, 3)) * grid.spacing
    direction = _unit(rng.standard_normal((count, 3)))
    steps = (rng.uniform(*course.length_mm, count) / STEP_MM).astype(int)
    alive, paths = np.ones(count, bool), [position]
    ends = np.ones(count, int)
    for step in range(1, int(steps.max())):
        climb = _slope(height, _nearest(position, grid), grid)
        direction = _unit(direction + course.pull * climb + course.wander * rng.standard_normal((count, 3)))
        position = position + STEP_MM * direction
        alive &= (step < steps) & stays[tuple(_nearest(position, grid))]
        ends[alive] = step + 1
        paths.append(position)
    tracks = np.stack(paths, axis=1).astype(np.float32)
    return [track[:end] for track, end in zip(tracks, ends, strict=True) if end * STEP_MM > course.length_mm[0] / 2]


def _nearest(position: NDArray[np.float64], grid: Grid) -> NDArray[np.intp]:
    """Return the ``(3, n)`` voxels at positions, of those that have neighbours on all sides."""
    index = np.rint((position - grid.affine[:3, 3]) / grid.spacing).astype(np.intp)
    return np.clip(index, 1, np.array(grid.shape) - 2).T


def _slope(height: FloatArray, index: NDArray[np.intp], grid: Grid) -> NDArray[np.float64]:
    """Return the slope of ``height`` in voxels, ``(n, 3)``, cut to a length of 1."""
    sides = np.eye(3, dtype=np.intp)[:, :, None]
    rise = [height[tuple(index + side)] - height[tuple(index - side)] for side in sides]
    slope = np.stack(rise, axis=1) / (2 * np.array(grid.spacing))
    return np.asarray(slope / np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1))


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
