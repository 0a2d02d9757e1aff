"""The command import."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lesionforge.cli.common import Columns, console, finish, key_value, tell_dropped, whole
from lesionforge.cli.spoken import spoken
from lesionforge.cohort.layouts.registry import LAYOUTS
from lesionforge.errors import CohortError, ConfigError, one_of

if TYPE_CHECKING:
    from lesionforge.cohort.case import Case, Cohort
    from lesionforge.cohort.layouts import WriteReport
    from lesionforge.cohort.layouts.base import Layout


AUTO = "auto"
NAMED = 3
"""Greatest number of cases that a line names."""


class NoMask(StrEnum):
    """The annotation of a case without a mask file."""

    UNKNOWN = "unknown"
    LESION_FREE = "lesion_free"


class Missing(StrEnum):
    """What to do with a case that lacks a channel."""

    LEAVE_OUT = "leave_out"
    ZERO_FILL = "zero_fill"


def import_cohort(
    src: Annotated[Path, typer.Argument(metavar="SRC", help="The folder of scans, or the CSV of a set of slices.")],
    cohort: Annotated[
        Path | None, typer.Argument(metavar="COHORT", help="The cohort folder to write; not needed with --dry-run.")
    ] = None,
    layout: Annotated[
        str, typer.Option(help=f"The layout of SRC: {one_of((AUTO, *LAYOUTS))}; auto recognises it by its files.")
    ] = AUTO,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would be imported and what not, and write nothing.")
    ] = False,
    channel: Annotated[
        list[str] | None,
        typer.Option(
            help="folders, bids: NAME=PATTERN for the file of each channel, dicom: for its SeriesDescription; "
            "slices: the name of the channel."
        ),
    ] = None,
    series: Annotated[
        Path | None,
        typer.Option(help="dicom: a CSV with the columns series and channel, optionally case_id and subject_id."),
    ] = None,
    mask: Annotated[
        str | None,
        typer.Option(
            help="folders, bids: pattern for the lesion mask; dicom: for the segments and contours that are lesions."
        ),
    ] = None,
    anatomy: Annotated[str | None, typer.Option(help="folders, bids: pattern for an anatomy label map.")] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE for each lesion class; other values than 1, 2, … are renumbered."),
    ] = None,
    no_mask: Annotated[
        NoMask, typer.Option(help="folders, bids, slices, dicom: the annotation of a case without a mask.")
    ] = NoMask.UNKNOWN,
    binary_masks: Annotated[
        bool, typer.Option(help="Treat every mask value except 0 as lesion; for soft masks and for 0/255.")
    ] = False,
    missing: Annotated[Missing, typer.Option(help="What to do with cases that lack a channel.")] = Missing.LEAVE_OUT,
    subject_pattern: Annotated[
        str | None,
        typer.Option(
            help="nnunet, msd, brats, folders: regular expression for the subject's id in a case id, such as 'p\\d+'."
        ),
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

    Example: lesionforge import scans/ Dataset001_WMH --channel FLAIR=flair.nii.gz --mask lesion.nii.gz
    """
    from lesionforge.cohort.layouts import preview_nnunet
    from lesionforge.cohort.new_ids import check_private

    if cohort is None and not dry_run:
        raise ConfigError("COHORT", "no folder to write is named", "name one after SRC, or add --dry-run")
    if cohort is not None and new_ids is not None:
        check_private(new_ids, cohort)
    problems, notes = list[CohortError](), list[str]()
    given = {
        "channels": channel,
        "series": series,
        "mask": mask,
        "anatomy": anatomy,
        "labels": label,
        "no_mask": None if no_mask is NoMask.UNKNOWN else no_mask.value,
        "subject_pattern": subject_pattern,
        "binary_masks": binary_masks,
    }
    chosen = _layout(src, layout)
    options = _layout_options(chosen, given)
    if "on_note" in chosen.options():
        options["on_note"] = notes.append
    found = chosen.read(src, on_problem=problems.append, **options)
    for note in notes:
        console.print(spoken(note))
    how: dict[str, Any] = {
        "missing": missing.value,
        "binary_masks": binary_masks,
        "problems": problems,
        "window": None if window is None else _window(window),
        "columns": keep_column or (),
    }
    if cohort is None or dry_run:
        _tell_preview(found, preview_nnunet(found, **how), chosen)
        return
    _write(src, cohort, found, how, new_ids, chosen)


def _layout(source: Path, name: str) -> type[Layout]:
    """Return the layout that the user named, or the one that is recognised, which is told."""
    from lesionforge.cohort.layouts.recognition import recognised

    if name != AUTO:
        return LAYOUTS[name]
    chosen, sign = recognised(source)
    console.print(f"layout {chosen.method}: {sign}")
    return chosen


def _write(
    source: Path, cohort: Path, found: Cohort, how: dict[str, Any], table: Path | None, layout: type[Layout]
) -> None:
    """Write the cohort, with new ids if there is a table of them, and tell what was written."""
    from lesionforge.cohort.layouts import read_cohort, write_nnunet
    from lesionforge.cohort.new_ids import NewIds
    from lesionforge.cohort.splits import copy_roles
    from lesionforge.cohort.structures import read_structures
    from lesionforge.files import building

    ids, listed = NewIds() if table is None else NewIds.read(table), cohort / "problems.csv"
    with building(cohort) as unfinished:
        if table is not None:
            found = ids.cohort(found)
        report = write_nnunet(found, unfinished, structures=read_structures(source), **how)
        copy_roles(source, unfinished, report.cohort.subjects, renamed=ids.subjects)
        if table is not None:
            ids.write(table)
        if table is not None and report.problems:  # they name the old ids
            listed = table.with_name(f"{table.stem}_problems.csv")
            shutil.move(unfinished / "problems.csv", listed)
    _tell_imported(cohort, read_cohort(cohort), report)
    _tell_unknown(report.cohort, layout)
    finish(report.problems, listed)


def _tell_preview(found: Cohort, report: WriteReport, layout: type[Layout]) -> None:
    """Print a table of the cases that would be imported, then what would be left out and why.

    Exits with code 1 if cases would be left out for an error.
    """
    rows = [
        ("case", "subject", "session", "channels", "lesions"),
        *(_preview_row(case, found.channels) for case in report.cohort),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        console.print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for case_id in report.left_out:
        lacking = ", ".join(channel for channel in found.channels if channel not in found[case_id].images)
        console.print(f"left out: {case_id}: lacks {lacking}; see --missing")
    for problem in report.problems:
        console.print(f"left out: {spoken(str(problem))}")
    classes = ", ".join(f"{value} {name}" for name, value in report.cohort.labels.items())
    console.print(f"channels: {', '.join(found.channels)}; classes: {classes}")
    _tell_changes(report)
    _tell_unknown(report.cohort, layout)
    left = len(report.left_out) + len(report.problems)
    counts = f"{len(report.cohort)} cases of {len(report.cohort.subjects)} subjects would be imported"
    console.print(f"{counts}, {left} left out; nothing was written")
    if report.problems:
        raise typer.Exit(1)


def _preview_row(case: Case, channels: Sequence[str]) -> tuple[str, ...]:
    named = case.case_id.startswith(case.subject_id)
    session = case.case_id.removeprefix(case.subject_id).strip("_-") if named else ""
    label = case.annotation.value + (f" ({case.label.name})" if case.label is not None else "")
    return (
        case.case_id,
        case.subject_id,
        session or "-",
        " ".join(name for name in channels if name in case.images),
        label,
    )


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
            if "=" in value[0]:
                name_alone = value[0].partition("=")[0]
                raise ConfigError(
                    flag, f"{layout.method} take a name without a pattern", f"write --channel {name_alone}"
                )
            options["channel"] = value[0]
        elif name not in known:
            raise ConfigError(flag, f"does not apply to the layout {layout.method}", "leave it out")
        elif name == "labels":
            values = {key: whole(number, flag) for key, number in key_value(value, flag).items()}
            options[name] = {"background": 0, **values}
        else:
            options[name] = key_value(value, flag) if name == "channels" else value
    return options


def _tell_imported(folder: Path, made: Cohort, report: WriteReport) -> None:
    """Print what was imported, and what looks doubtful."""
    from lesionforge.cohort.inspection.doubts import intensity_doubts, look_at, name_doubts
    from lesionforge.cohort.scan import load_scan

    console.print(f"{folder}: {len(made)} cases of {len(made.subjects)} subjects")
    look = look_at(load_scan(made.cases[0], tuple(made.cases[0].images)))
    for doubt in (*name_doubts(made), *intensity_doubts(made, [look])):
        console.print(f"warning: {spoken(str(doubt))}")
    if report.left_out or report.filled:
        done = "left out" if report.left_out else "filled with zeros"
        count = len(report.left_out) + len(report.filled)
        console.print(f"{count} cases lack a channel and were {done}: see {folder / 'missing.csv'}")
    _tell_changes(report)


def _tell_unknown(made: Cohort, layout: type[Layout]) -> None:
    """Warn if the lesions of all cases are unknown."""
    if any(case.annotation.value != NoMask.UNKNOWN.value for case in made):
        return
    how = "--no-mask lesion_free" if "no_mask" in layout.options() else "lesion_free in cases.csv"
    remedy = f"if somebody looked and there are none, say {how}"
    console.print(f"warning: the lesions of all {len(made)} cases are unknown, so nothing can be trained on; {remedy}")


def _tell_changes(report: WriteReport) -> None:
    """Print what differs from the source: units of ADC, places, label values and columns."""
    if report.converted:
        console.print(f"warning: ADC is in another unit, converted to 10⁻³ mm²/s: {', '.join(report.converted)}")
    for rule, cases in report.settled.items():
        named = ", ".join(cases[:NAMED]) + (", …" if len(cases) > NAMED else "")
        console.print(f"geometry of {len(cases)} cases ({named}): {rule}")
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
