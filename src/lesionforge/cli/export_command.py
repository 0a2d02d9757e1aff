"""The command export."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lesionforge.cli.common import Channels, Columns, Out, a_cohort, console, finish, tell_dropped
from lesionforge.cli.import_command import Missing
from lesionforge.cohort.export.registry import EXPORTERS
from lesionforge.errors import ConfigError, one_of

if TYPE_CHECKING:
    from lesionforge.cohort.export.export_cohorts import Export


def _cohorts(folders: list[Path]) -> list[Path]:
    for folder in folders:
        a_cohort(folder)
    return folders


def export(
    cohorts: Annotated[
        list[Path],
        typer.Argument(metavar="COHORT...", callback=_cohorts, help="The cohort folders."),
    ],
    method: Annotated[str, typer.Option("--as", help=f"The format: {one_of(EXPORTERS)}.")],
    out: Out,
    folds: Annotated[
        int,
        typer.Option(
            min=0,
            help="Number of folds by subject; 0 makes none, 1 validates on subjects that no synthetic case leads to.",
        ),
    ] = 5,
    splits: Annotated[Path | None, typer.Option(help="A splits_final.json with folds of your own.")] = None,
    ratio: Annotated[
        str | None,
        typer.Option(help="Real to synthetic cases in training, such as 1:1; by default all that fit."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the folds, and of the choice of synthetic cases.")] = 0,
    channels: Channels = None,
    missing: Annotated[Missing, typer.Option(help="What to do with cases that lack a channel.")] = Missing.LEAVE_OUT,
    skull_stripped: Annotated[
        bool, typer.Option("--skull-stripped", help="bids: say that all voxels outside the brain are 0.")
    ] = False,
    keep_column: Columns = None,
    new_ids: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="Give cases and subjects random new ids; TABLE, a private CSV outside --out, leads to the old ones, "
            "and is extended if it is there.",
        ),
    ] = None,
) -> None:
    """Write cohorts, real and synthetic, as one dataset for nnU-Net, MONAI and others, with folds that leak nothing.

    Example: lesionforge export Dataset001_WMH Dataset101_Drawn --as nnunet --out Dataset201_Mixed --folds 1
    """
    from lesionforge.cohort.export.export_cohorts import export_cohorts

    made = export_cohorts(
        cohorts,
        out,
        method=method,
        channels=channels,
        folds=folds,
        splits=splits,
        ratio=None if ratio is None else _ratio(ratio),
        seed=seed,
        missing="zero_fill" if missing is Missing.ZERO_FILL else "leave_out",
        new_ids=new_ids,
        columns=keep_column or (),
        options={"skull_stripped": True} if skull_stripped else {},
    )
    _tell(out, made, method)
    tell_dropped(made.written.dropped_columns)
    finish(made.written.problems, made.problems_file)


def _ratio(text: str) -> float:
    """Return the synthetic cases for each real one that ``REAL:SYNTHETIC`` asks for.

    Raises:
        ConfigError: if the text does not have this form.
    """
    try:
        real, synthetic = (float(part) for part in text.split(":"))
        if not (0 < real < float("inf") and 0 <= synthetic < float("inf")):
            raise ValueError
    except ValueError as error:
        raise ConfigError("--ratio", f"{text!r} is not a ratio", "write, for example, --ratio 1:1 or 1:0.5") from error
    return synthetic / real


def _tell(out: Path, made: Export, method: str) -> None:
    """Print what was written, and what to know about it."""
    cohort = made.written.cohort
    origins = Counter(case.origin for case in cohort)
    told = ", ".join(f"{count} {origin}" for origin, count in sorted(origins.items()))
    console.print(f"{out}: {len(cohort)} cases of {len(cohort.subjects)} subjects as {method} ({told})")
    drawn = {case.case_id for case in cohort if case.derived}
    for number, fold in enumerate(made.folds):
        synthetic = len(drawn.intersection(fold["train"]))
        trained = f"{len(fold['train']) - synthetic} real and {synthetic} synthetic cases"
        console.print(f"fold {number}: {trained} to train on, {len(fold['val'])} to validate on")
    if made.lists:
        console.print(f"folds: {', '.join(made.lists)}")
    if made.shared:
        names = ", ".join(made.shared[:5]) + (", …" if len(made.shared) > 5 else "")
        console.print(f"subjects of several cohorts, each counted as one person: {names}")
    if made.renamed:
        new, old = next(iter(made.renamed.items()))
        console.print(f"{len(made.renamed)} case ids were there already and got a number, such as {new} for {old}")
    if made.unused:
        console.print(
            f"warning: {len(made.unused)} synthetic cases are in no training set: subjects of every fold are behind "
            "them; train their model on the training cases of a fold, or ask for --folds 1"
        )
    if made.written.left_out or made.written.filled:
        done = "left out" if made.written.left_out else "filled with zeros"
        count = len(made.written.left_out) + len(made.written.filled)
        console.print(f"{count} cases lack a channel and were {done}: see {out / 'missing.csv'}")
