"""How long does a simulated subject of 1 mm take?

Compares whole subjects with 10 s, and the making of a head with the plain way: scipy's interpolation of every map of
the template in every voxel. The template itself is read once for each process and not counted.
"""

from __future__ import annotations

import numpy as np
from comparison import Comparison, alternate, processor_ms, show
from data import one_thread
from scipy import ndimage

from lesionforge.simulation.head import Deformation, Grid, deform, random_deformation, template_head, template_positions
from lesionforge.simulation.lesion_shapes import LesionKind
from lesionforge.simulation.scanner import Contrast
from lesionforge.simulation.simulated_subject import Simulation, simulate_subject

ROUNDS, SECONDS = 2, 10
SUBJECTS: dict[LesionKind, Contrast] = {"tumour": "FLAIR", "stroke": "DWI", "microbleed": "SWI"}


def measure() -> list[Comparison]:
    one_thread()
    grid = Grid.covering((1.0, 1.0, 1.0))
    deformation = random_deformation(np.random.default_rng(0), grid)
    deform(1, grid, deformation)
    pairs = alternate(ROUNDS, lambda: every_voxel(grid, deformation), lambda: deform(1, grid, deformation))
    head = Comparison(
        name="a head of 192 × 240 × 168 voxels",
        first="every map in every voxel",
        second="ours",
        pairs=[(slow, ours) for slow, ours in pairs],
        at_least=3,
    )
    return [head, *(subject(lesion, contrast) for lesion, contrast in SUBJECTS.items())]


def every_voxel(grid: Grid, deformation: Deformation) -> None:
    """Interpolate the maps of the template as scipy does."""
    head, affine = template_head(1)
    places = template_positions(grid, deformation)
    indices = places - affine[:3, 3].reshape(3, 1, 1, 1)
    for values in vars(head).values():
        ndimage.map_coordinates(values, indices, order=1)


def subject(lesion: LesionKind, contrast: Contrast) -> Comparison:
    """Compare the time of subjects of 1 mm with a lesion with what a person may wait."""
    simulation = Simulation(
        n_subjects=ROUNDS,
        spatial_dims=3,
        contrasts=(contrast,),
        lesion=lesion,
        healthy_fraction=0.0,
        spacing=1.0,
        slice_thickness=1.0,
        skull=True,
        seed=0,
    )
    times = [processor_ms(lambda number=number: simulate_subject(simulation, number)) for number in range(ROUNDS)]
    return Comparison(
        name=f"a subject of 1 mm, {lesion} in {contrast}",
        first="a subject",
        second=f"{SECONDS} s",
        pairs=[(time, 1000.0 * SECONDS) for time in times],
        at_most=1,
    )


if __name__ == "__main__":
    show("Simulated subjects of 1 mm", measure())
