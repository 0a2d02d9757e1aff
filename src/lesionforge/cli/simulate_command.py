"""The command that makes simulated cohorts."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lesionforge.cli.common import Seed, console, progress_bar


class Contrast(StrEnum):
    """The contrast of a simulated scan."""

    FLAIR = "FLAIR"
    DWI = "DWI"
    T1 = "T1"
    SWI = "SWI"


class LesionKind(StrEnum):
    """The kind of simulated lesions."""

    TUMOUR = "tumour"
    STROKE = "stroke"
    WHITE_MATTER = "white_matter"
    MICROBLEED = "microbleed"


def simulate(
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="The cohort folder to write.")],
    n: Annotated[int, typer.Option(help="Number of cases.")] = 40,
    contrast: Annotated[list[Contrast] | None, typer.Option(help="Channels; FLAIR by default.")] = None,
    lesion: Annotated[
        LesionKind, typer.Option(help="Kind of lesion; microbleeds need --contrast SWI.")
    ] = LesionKind.TUMOUR,
    healthy: Annotated[float, typer.Option(min=0, max=1, help="Share of lesion-free cases.")] = 0.5,
    spacing: Annotated[float, typer.Option(help="Spacing in plane, in mm, 0.9 to 6.")] = 3.0,
    thickness: Annotated[float | None, typer.Option(help="Spacing of slices, in mm; by default --spacing.")] = None,
    maps: Annotated[
        Path | None, typer.Option(help="A folder of label maps with FreeSurfer's values, from which heads are made.")
    ] = None,
    masks: Annotated[Path | None, typer.Option(help="With --maps: a folder of stroke masks in MNI space.")] = None,
    skull: Annotated[bool, typer.Option(help="Whether to show skull, scalp and face.")] = True,
    seed: Seed = 0,
    workers: Annotated[int, typer.Option(min=1, help="Number of threads.")] = 1,
) -> None:
    """Make a cohort of simulated heads with simulated lesions; it contains no patient.

    The same command continues a stopped run.

    Example: lesionforge simulate Dataset001_Stroke --n 96 --lesion stroke --contrast DWI --maps maps/ --masks masks/
    """
    from lesionforge.simulation.simulated_cohort import make_template_cohort

    with progress_bar("simulating") as progress:
        made = make_template_cohort(
            cohort,
            n_subjects=n,
            contrast=[kind.value for kind in contrast or [Contrast.FLAIR]],
            lesion=lesion.value,
            healthy_fraction=healthy,
            spacing=spacing,
            slice_thickness=thickness,
            skull=skull,
            seed=seed,
            maps=maps,
            masks=masks,
            workers=workers,
            progress=progress,
        )
    console.print(f"{cohort}: {len(made)} simulated cases of {len(made.subjects)} subjects")
