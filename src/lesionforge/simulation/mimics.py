"""What looks like a bleed and is none, beside veins: calcifications, and air near the base of the skull."""

from __future__ import annotations

import numpy as np

from lesionforge.cohort.scan import FloatArray
from lesionforge.simulation.difficulty import CALCIFICATION_MM, CALCIFICATION_PPM, CALCIFICATION_SITES
from lesionforge.simulation.ellipsoids import raise_in_ellipsoid
from lesionforge.simulation.head import Anatomy, Grid
from lesionforge.simulation.inclusions import Inclusion

AIR_POCKETS = (
    ((0.0, 20.0, -44.0), (10.0, 12.0, 10.0)),  # sphenoid sinus
    ((0.0, 42.0, -45.0), (8.0, 10.0, 10.0)),  # ethmoid cells, below the frontal lobes
    ((0.0, 81.0, -10.0), (17.0, 7.0, 10.0)),  # frontal sinus
    ((53.0, -33.0, -46.0), (9.0, 9.0, 9.0)),  # mastoid cells, between temporal lobe and cerebellum
)
"""Centres in the template and radii, in mm; what lies off the midline is on both sides."""


def draw_calcifications(
    anatomy: Anatomy, grid: Grid, in_template: FloatArray, rng: np.random.Generator
) -> list[Inclusion]:
    """Draw the calcifications of a head.

    Args:
        anatomy: the head.
        grid: its grid.
        in_template: ``(3, x, y, z)`` position of each voxel in the template in mm.
        rng: source of all randomness.
    """
    inside = np.flatnonzero(anatomy.csf + anatomy.parenchyma > 0.95)[::5]
    places = in_template.reshape(3, -1)[:, inside]
    found = []
    for site, scatter, chance in CALCIFICATION_SITES:
        for side in (1, -1) if site[0] else (1,):
            if rng.random() > chance:
                continue
            there = np.array(site) * (side, 1, 1) + rng.normal(0, scatter / 2, 3)
            nearest = inside[((places - there[:, None].astype(np.float32)) ** 2).sum(0).argmin()]
            found.append(_calcification(grid.positions.reshape(3, -1)[:, nearest], rng))
    return found


def _calcification(centre: FloatArray, rng: np.random.Generator) -> Inclusion:
    """Return a heap of grains around ``centre``."""
    radius = np.exp(rng.uniform(*np.log(CALCIFICATION_MM))) / 2
    grains = int(rng.integers(1, 5))
    points = centre + rng.normal(0, 0.4 * radius, (grains, 3))
    radii = radius * rng.uniform(0.5, 1.0, grains)
    chi = float(rng.uniform(*CALCIFICATION_PPM))
    return Inclusion(
        kind="calcification", points=points.astype(np.float32), radii=radii.astype(np.float32), chi_ppm=chi
    )


def draw_air(anatomy: Anatomy, in_template: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return the share of each voxel that is air of a sinus or of the mastoid; the inside of the skull holds none.

    Args:
        anatomy: the head.
        in_template: ``(3, x, y, z)`` position of each voxel in the template in mm.
        rng: source of all randomness.
    """
    free = 1 - anatomy.csf - anatomy.parenchyma
    skull = np.flatnonzero((free > 0) & (anatomy.bone + anatomy.muscle + anatomy.fat > 0))
    air, places = np.zeros(len(skull), np.float32), in_template.reshape(3, -1)[:, skull]
    for centre, radii in AIR_POCKETS:
        for side in (1, -1) if centre[0] else (1,):
            middle = np.multiply(centre, (side, 1, 1)) + rng.normal(0, 2, 3)
            size = np.array(radii) * rng.uniform(0.7, 1.2, 3)
            raise_in_ellipsoid(air, places, middle, size, height=1.0, edge=0.2)
    everywhere = np.zeros_like(free)
    everywhere.ravel()[skull] = air
    return everywhere * free
