"""Commands about cohorts: import, anatomy, align, check, show."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lesionforge.cli.common import (
    Channels,
    CohortFolder,
    Columns,
    a_model,
    console,
    finish,
    key_value,
    progress_bar,
    tell_dropped,
)
from lesionforge.cli.spoken import spoken
from lesionforge.cohort.layouts.registry import LAYOUTS
from lesionforge.errors import CohortError, ConfigError, one_of

if TYPE_CHECKING:
    from lesionforge.cohort.case import Cohort
    from lesionforge.cohort.layouts import WriteReport
    from lesionforge.cohort.layouts.base import Layout
    from lesionforge.cohort.scan import LabelArray, Scan
    from lesionforge.cohort.structures import Structures


class NoMask(StrEnum):
    """The annotation of a case without a mask file."""

    UNKNOWN = "unknown"
    LESION_FREE = "lesion_free"


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


class Missing(StrEnum):
    """What to do with a case that lacks a channel."""

    LEAVE_OUT = "leave_out"
    ZERO_FILL = "zero_fill"


def import_cohort(
    src: Annotated[Path, typer.Argument(metavar="SRC", help="The folder of scans, or the CSV of a set of slices.")],
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="The cohort folder to write.")],
    layout: Annotated[str, typer.Option(help=f"The layout of SRC: {one_of(LAYOUTS)}.")],
    channel: Annotated[
        list[str] | None,
        typer.Option(help="folders: NAME=PATTERN for the file of each channel; slices: the name of the channel."),
    ] = None,
    mask: Annotated[str | None, typer.Option(help="folders: pattern for the lesion mask.")] = None,
    anatomy: Annotated[str | None, typer.Option(help="folders: pattern for an anatomy label map.")] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE for each lesion class; other values than 1, 2, … are renumbered."),
    ] = None,
    no_mask: Annotated[
        NoMask, typer.Option(help="folders, slices: the annotation of a case without a mask.")
    ] = NoMask.UNKNOWN,
    binary_masks: Annotated[
        bool, typer.Option(help="Treat every mask value except 0 as lesion; for soft masks and for 0/255.")
    ] = False,
    missing: Annotated[Missing, typer.Option(help="What to do with cases that lack a channel.")] = Missing.LEAVE_OUT,
    subject_pattern: Annotated[
        str | None,
        typer.Option(help="folders, nnunet: regular expression for the subject's id in a case id, such as 'p\\d+'."),
    ] = None,
    window: Annotated[
        str | None, typer.Option(help="Clip the channel CT to a window in Hounsfield units, such as 0,80.")
    ] = None,
    keep_column: Columns = None,
    new_ids: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="Give cases and subjects random new ids; TABLE, a private CSV outside COHORT, leads to the old ones, "
            "and is extended if it is there.",
        ),
    ] = None,
) -> None:
    """Import scans into a cohort folder that nnU-Net can read; only voxels, geometry, ids and named columns are kept.

    Example: lesionforge import scans/ Dataset001_WMH --layout folders --channel FLAIR=flair.nii.gz --mask lesion.nii.gz
    """
    from lesionforge.cohort.layouts import read_cohort, write_nnunet
    from lesionforge.cohort.new_ids import NewIds, check_private
    from lesionforge.cohort.splits import copy_roles
    from lesionforge.cohort.structures import read_structures
    from lesionforge.files import building

    ids = NewIds()
    if new_ids is not None:
        check_private(new_ids, cohort)
        ids = NewIds.read(new_ids)
    problems: list[CohortError] = []
    given = {
        "channels": channel,
        "mask": mask,
        "anatomy": anatomy,
        "labels": label,
        "no_mask": None if no_mask is NoMask.UNKNOWN else no_mask.value,
        "subject_pattern": subject_pattern,
        "binary_masks": binary_masks,
    }
    chosen = LAYOUTS[layout]
    found = chosen.read(src, on_problem=problems.append, **_layout_options(chosen, given))
    ends = None if window is None else _window(window)
    listed = cohort / "problems.csv"
    with building(cohort) as unfinished:
        if new_ids is not None:
            found = ids.cohort(found)
            ids.write(new_ids)
        report = write_nnunet(
            found,
            unfinished,
            missing="zero_fill" if missing is Missing.ZERO_FILL else "leave_out",
            binary_masks=binary_masks,
            problems=problems,
            structures=read_structures(src),
            window=ends,
            columns=keep_column or (),
        )
        copy_roles(src, unfinished, report.cohort.subjects, renamed=ids.subjects)
        if new_ids is not None and report.problems:  # they name the old ids
            listed = new_ids.with_name(f"{new_ids.stem}_problems.csv")
            shutil.move(unfinished / "problems.csv", listed)
    _tell_imported(cohort, read_cohort(cohort), report)
    finish(report.problems, listed)


def _layout_options(layout: type[Layout], given: dict[str, Any]) -> dict[str, Any]:
    """Return the options that the user gave, as the layout takes them.

    Raises:
        ConfigError: if the layout has no such option, or a value is wrong.
    """
    known, options = layout.options(), {}
    for name, value in given.items():
        if not value:
            continue
        flag = {"channels": "--channel", "labels": "--label"}.get(name, f"--{name.replace('_', '-')}")
        if name == "channels" and "channel" in known:
            if len(value) > 1:
                raise ConfigError(flag, f"{layout.method} have one channel", "name it once")
            options["channel"] = value[0]
        elif name not in known:
            raise ConfigError(flag, f"does not apply to the layout {layout.method}", "leave it out")
        elif name == "labels":
            values = {key: _whole(number, flag) for key, number in key_value(value, flag).items()}
            options[name] = {"background": 0, **values}
        else:
            options[name] = key_value(value, flag) if name == "channels" else value
    return options


def _tell_imported(folder: Path, made: Cohort, report: WriteReport) -> None:
    """Print what was imported, and what looks doubtful."""
    from lesionforge.cohort.inspection.doubts import intensity_doubts, look_at, name_doubts
    from lesionforge.cohort.scan import load_scan

    console.print(f"{folder}: {len(made)} cases of {len(made.subjects)} subjects")
    if all(case.annotation.value == NoMask.UNKNOWN.value for case in made):
        console.print(f"warning: the lesions of all {len(made)} cases are unknown: no masks were found")
    look = look_at(load_scan(made.cases[0], tuple(made.cases[0].images)))
    for doubt in (*name_doubts(made), *intensity_doubts(made, [look])):
        console.print(f"warning: {spoken(str(doubt))}")
    if report.left_out or report.filled:
        done = "left out" if report.left_out else "filled with zeros"
        count = len(report.left_out) + len(report.filled)
        console.print(f"{count} cases lack a channel and were {done}: see {folder / 'missing.csv'}")
    if report.converted:
        console.print(
            f"warning: ADC was in another unit and was converted to 10⁻³ mm²/s: {', '.join(report.converted)}"
        )
    if report.renumbered:
        told = (f"{name} {value} → {report.cohort.labels[name]}" for name, value in report.renumbered.items())
        console.print(f"label values were renumbered: {', '.join(told)}")
    tell_dropped(report.dropped_columns)


def _window(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError("--window", f"{text!r} is not a window", "write, for example, --window 0,80") from error
    if low >= high:
        raise ConfigError(
            "--window", f"the upper end of {text!r} is not above the lower end", "write the lower end first"
        )
    return low, high


def _whole(text: str, option: str) -> int:
    if not text.isdecimal():
        example = {"--label": "oedema=2", "--parenchyma": "1,2,3", "--size": "128,128,40"}[option]
        raise ConfigError(option, f"{text!r} is not a whole number", f"write, for example, {option} {example}")
    return int(text)


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
        return partial(tissue_classes, classes=kmeans), tissue_structures(kmeans, fluid.value)
    from lesionforge.preprocessing.alignment.with_ants import atropos_classes, load_ants

    assert atropos is not None
    load_ants("--atropos")
    return partial(atropos_classes, classes=atropos), tissue_structures(atropos, fluid.value)


def _with_parenchyma(structures: Structures | None, parenchyma: str) -> Structures:
    """Return the structures with the values in which lesions may lie.

    Raises:
        ConfigError: if a value has no structure.
    """
    from lesionforge.cohort.structures import Structures

    values = tuple(_whole(value.strip(), "--parenchyma") for value in parenchyma.split(","))
    names = {f"structure {value}": value for value in values} if structures is None else structures.names
    if not set(values) <= set(names.values()):
        known = ", ".join(f"{value} {name}" for name, value in names.items())
        raise ConfigError("--parenchyma", f"{parenchyma} names a value without a structure", f"choose from {known}")
    return Structures(names=names, parenchyma=values)


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
            size=[_whole(part.strip(), "--size") for part in size.split(",")],
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
    n: Annotated[int, typer.Option(help="Greatest number of cases, chosen evenly.")] = 24,
) -> None:
    """Draw a contact sheet that shows every case with its lesions outlined.

    Example: lesionforge show Dataset001_WMH --out sheet.png
    """
    from lesionforge.cohort.inspection.contact_sheet import contact_sheet
    from lesionforge.cohort.layouts import read_cohort

    console.print(f"{contact_sheet(read_cohort(cohort), out, channels=channels, n_cases=n)}")
