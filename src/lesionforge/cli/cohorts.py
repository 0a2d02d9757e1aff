"""Commands about cohorts: anatomy, align, check, show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lesionforge.cli.common import (
    Channels,
    CohortFolder,
    Columns,
    a_model,
    console,
    finish,
    progress_bar,
    tell_dropped,
    whole,
)
from lesionforge.cli.spoken import spoken
from lesionforge.errors import ConfigError

if TYPE_CHECKING:
    from lesionforge.cohort.scan import LabelArray, Scan
    from lesionforge.cohort.structures import Structures


class Group(StrEnum):
    """A table of structures."""

    FREESURFER = "freesurfer"


class Fluid(StrEnum):
    """Which tissue class is cerebrospinal fluid."""

    DARKEST = "darkest"
    BRIGHTEST = "brightest"
    NONE = "none"


class Registration(StrEnum):
    """How scans are aligned with the template."""

    MOMENTS = "moments"
    ANTS = "ants"


def anatomy(
    cohort: CohortFolder,
    out: Annotated[Path, typer.Argument(metavar="COHORT2", help="The cohort folder to write.")],
    given: Annotated[Path | None, typer.Option("--from", help="A folder of label maps, named like the cases.")] = None,
    group: Annotated[Group | None, typer.Option(help="Group the values of --from into 27 structures.")] = None,
    kmeans: Annotated[int | None, typer.Option(min=2, help="Make this number of tissue classes by k-means.")] = None,
    atropos: Annotated[
        int | None, typer.Option(min=2, help="Make this number of tissue classes by Atropos; needs antspyx.")
    ] = None,
    fluid: Annotated[Fluid, typer.Option(help="kmeans, atropos: which class is fluid.")] = Fluid.DARKEST,
    model: Annotated[
        Path | None, typer.Option(callback=a_model, help="Segment the structures with this model of segment train.")
    ] = None,
    parenchyma: Annotated[
        str | None, typer.Option(help="Values in which lesions may lie, such as 1,2,3; by default all except fluid.")
    ] = None,
    keep_column: Columns = None,
) -> None:
    """Add anatomy maps to the cases of a cohort.

    With them lesions are placed only in parenchyma, and label maps can be translated to images.

    Example: lesionforge anatomy Dataset001_Stroke Dataset002_Stroke --kmeans 3
    """
    from lesionforge.cohort.layouts import read_cohort, write_nnunet
    from lesionforge.cohort.splits import copy_roles
    from lesionforge.files import building

    if sum(option is not None for option in (given, kmeans, atropos, model)) != 1:
        raise ConfigError(
            "--from, --kmeans, --atropos, --model", "exactly one of them must say where the maps come from", "give one"
        )
    make, structures = _maps(given, kmeans, atropos, model, group=group is not None, fluid=fluid)
    if parenchyma is not None:
        structures = _with_parenchyma(structures, parenchyma)
    with building(out) as unfinished:
        report = write_nnunet(
            read_cohort(cohort),
            unfinished,
            missing="zero_fill",
            anatomy=make,
            structures=structures,
            columns=keep_column or (),
        )
        copy_roles(cohort, unfinished, report.cohort.subjects)
    console.print(f"{out}: {len(report.cohort)} cases with anatomy maps")
    tell_dropped(report.dropped_columns)
    finish(report.problems, out / "problems.csv")


def _maps(
    given: Path | None, kmeans: int | None, atropos: int | None, model: Path | None, *, group: bool, fluid: Fluid
) -> tuple[Callable[[Scan], LabelArray], Structures | None]:
    """Return what makes the anatomy map of a scan, and the meaning of its values, where it is known."""
    from lesionforge.cohort.structures import FREESURFER_STRUCTURES, given_anatomy

    if given is not None:
        return partial(given_anatomy, folder=given, group=group), FREESURFER_STRUCTURES if group else None
    if model is not None:
        from lesionforge.tasks.segmentation.anatomy import segmented_structures

        return segmented_structures(model)
    from lesionforge.preprocessing.brain.tissue import tissue_classes, tissue_structures

    if kmeans is not None:
        return partial(tissue_classes, classes=kmeans), _made_by("kmeans", tissue_structures(kmeans, fluid.value))
    from lesionforge.preprocessing.alignment.with_ants import atropos_classes, load_ants

    assert atropos is not None
    load_ants("--atropos")
    return partial(atropos_classes, classes=atropos), _made_by("atropos", tissue_structures(atropos, fluid.value))


def _made_by(method: str, structures: Structures) -> Structures:
    """Return the structures of maps by a method that is not trained."""
    from lesionforge.cohort.map_maker import MapMaker

    return replace(structures, maker=MapMaker(methods=(method,)))


def _with_parenchyma(structures: Structures | None, parenchyma: str) -> Structures:
    """Return the structures with the values in which lesions may lie.

    Raises:
        ConfigError: if a value has no structure.
    """
    from lesionforge.cohort.structures import Structures

    maker = None if structures is None else structures.maker
    values = tuple(whole(value.strip(), "--parenchyma") for value in parenchyma.split(","))
    names = {f"structure {value}": value for value in values} if structures is None else structures.names
    if not set(values) <= set(names.values()):
        known = ", ".join(f"{value} {name}" for name, value in names.items())
        raise ConfigError("--parenchyma", f"{parenchyma} names a value without a structure", f"choose from {known}")
    return Structures(names=names, parenchyma=values, maker=maker)


def align(
    cohort: CohortFolder,
    out: Annotated[Path, typer.Argument(metavar="COHORT2", help="The cohort folder to write.")],
    size: Annotated[str, typer.Option(help="Size in voxels of the grid over the MNI152 brain.")] = "128,128,40",
    drop: Annotated[int, typer.Option(help="Number of slices to drop at the top and at the bottom.")] = 4,
    background: Annotated[
        str, typer.Option(help="Set intensities below this to 0: a number such as 35, auto, or none.")
    ] = "none",
    registration: Annotated[
        Registration, typer.Option(help="How scans are aligned; ants needs antspyx.")
    ] = Registration.MOMENTS,
    keep_column: Columns = None,
) -> None:
    """Resample all scans of a cohort to one grid over the MNI152 brain, with their labels and anatomy maps.

    Example: lesionforge align Dataset001_Stroke Dataset002_Aligned --background 35
    """
    from lesionforge.files import building
    from lesionforge.preprocessing.alignment.align import LEAST_BRAIN_DICE, align_cohort

    with building(out) as unfinished, progress_bar("aligning") as progress:
        report = align_cohort(
            cohort,
            unfinished,
            size=[whole(part.strip(), "--size") for part in size.split(",")],
            drop=drop,
            background=_background(background),
            registration=registration.value,
            columns=keep_column or (),
            progress=progress,
        )
    console.print(f"{out}: {len(report.written.cohort)} cases on one grid; how well they fit: {out / 'alignment.csv'}")
    if report.poor:
        cases = ", ".join(f"{case} {dice:.2f}" for case, dice in report.poor.items())
        console.print(f"warning: Dice with the template's brain below {LEAST_BRAIN_DICE}, look at these cases: {cases}")
    tell_dropped(report.written.dropped_columns)
    finish(report.written.problems, out / "problems.csv")


def _background(text: str) -> float | Literal["auto", "none"]:
    if text == "auto":
        return "auto"
    if text == "none":
        return "none"
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(
            "--background", f"{text!r} is not an intensity", "give a number such as 35, auto, or none"
        ) from error


def check(
    cohort: CohortFolder,
    out: Annotated[Path | None, typer.Option(help="The new folder for the report; COHORT is not changed.")] = None,
) -> None:
    """Report each problem of a cohort in one line, and print its fingerprint.

    Example: lesionforge check Dataset001_WMH --out check
    """
    from rich.markdown import Markdown

    from lesionforge.cohort.inspection.checks import check_folder
    from lesionforge.cohort.inspection.fingerprint_table import fingerprint_table

    with progress_bar("checking") as progress:
        report = check_folder(cohort, out=out, progress=progress)
    console.print(Markdown(fingerprint_table(report.fingerprint.model_copy(update={"problems": ()}))))
    for finding in report.findings:
        console.print(spoken(str(finding)), style="red" if finding.severity == "problem" else "yellow")
    console.print(f"{len(report.problems)} problems, {len(report.warnings)} warnings")
    if report.problems:
        raise typer.Exit(1)


def show(
    cohort: CohortFolder,
    out: Annotated[Path, typer.Option(help="The PNG to write.")] = Path("sheet.png"),
    channels: Channels = None,
    anatomy: Annotated[bool, typer.Option("--anatomy", help="Show the anatomy maps, too.")] = False,
    n: Annotated[int, typer.Option(help="Greatest number of cases, chosen evenly.")] = 24,
) -> None:
    """Draw a contact sheet that shows every case with its lesions outlined.

    Example: lesionforge show Dataset001_WMH --out sheet.png
    """
    from lesionforge.cohort.inspection.contact_sheet import contact_sheet
    from lesionforge.cohort.layouts import read_cohort

    console.print(f"{contact_sheet(read_cohort(cohort), out, channels=channels, anatomy=anatomy, n_cases=n)}")
