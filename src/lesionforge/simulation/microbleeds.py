"""Microbleeds of a simulated patient: how many, where, how large and of which shape."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lesionforge.cohort.scan import BoolArray, FloatArray
from lesionforge.simulation.difficulty import (
    BLEED_LEAST_VOXELS,
    BLEED_MEAN_NUMBER,
    BLEED_MEDIAN_MM,
    BLEED_MOST,
    BLEED_PPM,
    BLEED_SPREAD,
    BLEED_VISIBLE_MM,
    ELONGATED_SHARE,
    ZONES,
)
from lesionforge.simulation.head import Anatomy, Grid
from lesionforge.simulation.inclusions import Inclusion

APART_MM = 3.0
TRIES = 50
BLOOMING = 4.3
"""Largest extent of the outline over the diameter of a bleed of 1 ppm at an echo time of 20 ms, in voxels of 1 mm; it
grows with the cube root of the ppm, as the distance does at which a dipole has a given field."""


def draw_microbleeds(anatomy: Anatomy, grid: Grid, visible: BoolArray, rng: np.random.Generator) -> list[Inclusion]:
    """Draw 1 to 10 microbleeds, 2 to 10 mm across as seen, so far apart that their images do not touch.

    Args:
        anatomy: the head.
        grid: its grid.
        visible: ``(x, y, z)``, whether a bleed would be seen there.
        rng: source of all randomness.
    """
    count = int(min(rng.geometric(1 / BLEED_MEAN_NUMBER), BLEED_MOST))
    weights = _zones(anatomy)
    for weight in weights.values():
        weight *= visible
    bleeds: list[Inclusion] = []
    for _ in range(count):
        bleed = draw_bleed(rng, voxel_mm=max(grid.spacing))
        zone = weights[rng.choice(list(ZONES), p=list(ZONES.values()))]
        for _ in range(TRIES):
            centre = _draw_place(zone, grid, rng)
            placed = Inclusion(kind=bleed.kind, points=bleed.points + centre, radii=bleed.radii, chi_ppm=bleed.chi_ppm)
            if all(_gap(placed, other) > APART_MM + 2 * max(grid.spacing) for other in bleeds):
                bleeds.append(placed)
                break
    return bleeds


def visible_radius(bleed: Inclusion) -> float:
    """Return about how far a bleed is seen from its middle line, in mm."""
    return float(bleed.radii.max() * _blooming(bleed.chi_ppm))


def _blooming(chi_ppm: float) -> float:
    return max(1.0, BLOOMING * chi_ppm ** (1 / 3))


def _gap(one: Inclusion, other: Inclusion) -> float:
    """Return the distance in mm between what is seen of two bleeds."""
    distance = np.linalg.norm(one.points[:, None] - other.points[None], axis=-1).min()
    return float(distance - visible_radius(one) - visible_radius(other))


def draw_bleed(rng: np.random.Generator, *, voxel_mm: float = 1.0) -> Inclusion:
    """Return a bleed around the origin: a bumpy ball, or a track.

    Args:
        rng: source of all randomness.
        voxel_mm: largest side of a voxel in mm.
    """
    chi = float(np.exp(rng.uniform(*np.log(BLEED_PPM))))
    least, most = BLEED_VISIBLE_MM
    least = min(max(least, BLEED_LEAST_VOXELS * voxel_mm), most)
    seen = float(np.clip(rng.lognormal(np.log(BLEED_MEDIAN_MM), BLEED_SPREAD), least, most))
    radius = seen / 2 / _blooming(chi)
    if rng.random() < ELONGATED_SHARE:
        length = float(np.clip(seen * rng.uniform(0.8, 2.0), 0, most - seen))
        points = _track(length, rng)
        radii = radius * rng.uniform(0.75, 1.0, len(points))
    else:
        points = np.concatenate([np.zeros((1, 3)), rng.normal(0, 0.25 * radius, (3, 3))])
        radii = radius * np.concatenate([[0.9], rng.uniform(0.5, 0.9, 3)])
    return Inclusion(kind="microbleed", points=points.astype(np.float32), radii=radii.astype(np.float32), chi_ppm=chi)


def _track(length_mm: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return points 0.25 mm apart on a slightly bent line through the origin."""
    along, across, _ = np.linalg.qr(rng.standard_normal((3, 3)))[0].T
    place = np.arange(-length_mm / 2, length_mm / 2 + 0.25, 0.25)[:, None]
    bend = rng.uniform(-0.08, 0.08)
    return np.asarray(place * along + bend * (place**2 - length_mm**2 / 12) * across)


def _zones(anatomy: Anatomy) -> dict[str, FloatArray]:
    deep = (anatomy.ventricle_mm < 22) * (anatomy.gm + 0.1)
    return {
        "border": anatomy.gm * anatomy.wm * (anatomy.parenchyma > 0.9),
        "white matter": anatomy.wm * (anatomy.wm > 0.8),
        "deep": np.asarray(deep * (anatomy.parenchyma > 0.9), np.float32),
    }


def _draw_place(weight: FloatArray, grid: Grid, rng: np.random.Generator) -> FloatArray:
    """Return a position in mm, drawn by weight and then anywhere in the voxel."""
    places = np.flatnonzero(weight > 0)
    chance = weight.ravel()[places].astype(np.float64)
    chosen = places[rng.choice(len(places), p=chance / chance.sum())]
    inside = rng.uniform(-0.5, 0.5, 3) * grid.spacing
    return np.asarray(grid.positions.reshape(3, -1)[:, chosen] + inside, np.float32)
