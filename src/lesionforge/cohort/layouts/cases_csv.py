"""The table ``cases.csv`` with the facts about cases that an nnU-Net folder does not hold."""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from lesionforge.cohort.case import Annotation, Case
from lesionforge.errors import CohortError, LesionforgeError
from lesionforge.files import write_text
from lesionforge.reading import Row, read_rows

COLUMNS = (
    "case_id",
    "subject_id",
    "annotation",
    "missing_channels",
    "origin",
    "source_case",
    "mask_id",
    "synthesizer",
    "seed",
    "parents",
)
SYNTHETIC_COLUMNS = ("redraws", "healed_by", "kept_by", "score")
"""Further columns for cases that a synthesizer drew."""
ORIGINS: dict[str, Literal["real", "simulated", "synthetic"]] = {
    "real": "real",
    "simulated": "simulated",
    "synthetic": "synthetic",
}


def read_table(path: Path, required: Iterable[str]) -> list[Row]:
    """Read a CSV file as rows of text; an empty cell is ``""``.

    Raises:
        CohortError: if the file is missing or unreadable, lacks a required column, or has no rows.
    """
    if not path.is_file():
        raise CohortError(path, "the file is missing", "name the folder or table that holds the cases")
    rows = read_rows(path, required)
    if not rows:
        raise CohortError(path, "lists no cases", "add a row for each case")
    return rows


def check_ids(rows: Iterable[Mapping[str, str]], path: Path, column: str = "case_id") -> None:
    """Check that ids are unique, not empty, and fit into file names and space-separated lists.

    Raises:
        CohortError: names the table and the id.
    """
    seen: set[str] = set()
    for row in rows:
        case_id, subject_id = row[column], row.get("subject_id", row[column])
        for kind, value in (("case", case_id), ("subject", subject_id)):
            if not value or "/" in value or any(letter.isspace() or not letter.isprintable() for letter in value):
                raise CohortError(path, f"{value!r} cannot be a {kind} id", "use letters, digits, - and _ only")
        if case_id in seen:
            raise CohortError(path, f"lists the case {case_id} twice", "give every case its own id")
        seen.add(case_id)


def read_cases_csv(path: Path) -> list[Row]:
    """Read and check the rows of a ``cases.csv``.

    Raises:
        CohortError: if the ``case_id`` column is missing, an id is duplicated or cannot be a file name, or a cell has
            an invalid value.
    """
    rows = read_table(path, ["case_id"])
    check_rows(rows, path)
    return rows


def check_rows(rows: Sequence[Row], path: Path) -> None:
    """Check the cells and the ids of the rows of a table of cases.

    Raises:
        CohortError: see :func:`read_cases_csv`.
    """
    for row in rows:
        check_choice(path, row, "annotation", ("", *(str(a) for a in Annotation)))
        check_choice(path, row, "origin", ("", *ORIGINS))
        if row.get("seed") and re.fullmatch(r"-?[0-9]{1,20}", row["seed"]) is None:
            raise CohortError(path, f"case {row['case_id']} has the seed {row['seed']!r}", "use a whole number")
    check_ids(rows, path)


def check_choice(path: Path, row: Row, column: str, choices: Sequence[str]) -> None:
    """Raise ``CohortError`` if the row's cell is not one of the choices; without the column the cell is empty."""
    value = row.get(column, "")
    if value not in choices:
        known = ", ".join(choice for choice in choices if choice)
        raise CohortError(path, f"the {column} {value!r} is unknown", f"use one of {known}")


def case_from_row(
    row: Mapping[str, str],
    *,
    images: Mapping[str, Path],
    annotation: Annotation,
    label: Path | None,
    anatomy: Path | None,
) -> Case:
    """Return the case that a checked row and its files describe; unknown columns go to ``extra``."""
    return Case(
        case_id=row["case_id"],
        subject_id=row["subject_id"],
        images=images,
        annotation=annotation,
        label=label,
        anatomy=anatomy,
        origin=ORIGINS[row.get("origin") or "real"],
        source_case=row.get("source_case", ""),
        mask_id=row.get("mask_id", ""),
        synthesizer=row.get("synthesizer", ""),
        seed=int(row["seed"]) if row.get("seed") else None,
        parents=tuple(sorted(row.get("parents", "").split())),
        extra={key: value for key, value in row.items() if key not in COLUMNS},
    )


def row_from_case(case: Case, channels: Sequence[str]) -> Row:
    """Return the row of ``cases.csv`` that describes a case of a cohort with these channels."""
    missing = [channel for channel in channels if channel not in case.images]
    return {
        "case_id": case.case_id,
        "subject_id": case.subject_id,
        "annotation": str(case.annotation),
        "missing_channels": list_channels(missing),
        "origin": case.origin,
        "source_case": case.source_case,
        "mask_id": case.mask_id,
        "synthesizer": case.synthesizer,
        "seed": "" if case.seed is None else str(case.seed),
        "parents": " ".join(sorted(case.parents)),
        **{key: value for key, value in case.extra.items() if key not in COLUMNS},
    }


def list_channels(channels: Sequence[str]) -> str:
    """Return a cell of ``missing_channels``: names separated by spaces, or by ``;`` if a name has spaces."""
    if any(" " in channel for channel in channels):
        return "".join(f"{channel};" for channel in channels)
    return " ".join(channels)


def listed_channels(cell: str) -> list[str]:
    """Return the names in a cell of ``missing_channels``."""
    names = cell.split(";") if ";" in cell else cell.split()
    return [name.strip() for name in names if name.strip()]


def write_cases_csv(folder: Path, cases: Iterable[Case], *, channels: Sequence[str]) -> None:
    """Write ``cases.csv`` into a cohort folder: the known columns, then those of ``Case.extra``.

    Args:
        folder: the cohort folder.
        cases: the cases, in the order of the rows.
        channels: channels of the cohort; those without a file are listed in ``missing_channels``.
    """
    write_table(folder / "cases.csv", [row_from_case(case, channels) for case in cases], columns=COLUMNS)


def write_problems(path: Path, problems: Sequence[LesionforgeError]) -> None:
    """Write a row for each problem: where, what, remedy; without problems, delete the file."""
    path.unlink(missing_ok=True)
    if problems:
        rows = [{"where": error.where, "what": error.what, "remedy": error.remedy} for error in problems]
        write_table(path, rows, columns=("where", "what", "remedy"))


def write_table(path: Path, rows: Sequence[Mapping[str, str]], *, columns: Sequence[str]) -> None:
    """Write rows of text as CSV, atomically; columns beyond ``columns`` follow in order of appearance."""
    names = list(dict.fromkeys([*columns, *(key for row in rows for key in row)]))
    text = io.StringIO()
    pd.DataFrame(list(rows), columns=names).fillna("").to_csv(text, index=False, lineterminator="\n")
    write_text(path, text.getvalue())
