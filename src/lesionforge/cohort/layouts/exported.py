"""What the table beside exported files says about a case: who it is, and what it was drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lesionforge.cohort.case import Annotation, Case
from lesionforge.cohort.layouts.cases_csv import case_from_row, listed_channels, read_cases_csv
from lesionforge.errors import CohortError, ConfigError
from lesionforge.reading import Row

TABLE = "cases.csv"


def names_cases(table: Path, separator: str = ",") -> bool:
    """Return whether a file is a table with the column ``case_id``; others have tables of this name, too."""
    if not table.is_file():
        return False
    with table.open(encoding="utf-8-sig", errors="replace") as lines:
        return "case_id" in (cell.strip() for cell in lines.readline().split(separator))


def read_facts(folder: Path, *, made_by: Path | None = None, subject_pattern: str | None = None) -> dict[str, Row]:
    """Return the rows of ``cases.csv`` in a folder by their ids; none if there is no such table.

    Args:
        folder: where the table lies.
        made_by: the file which shows that an export wrote the folder, so that the table must be there.
        subject_pattern: the user's pattern for subjects, which must not contradict the table.

    Raises:
        CohortError: if the table is invalid, or missing although the folder is an export.
        ConfigError: if the table names subjects and a pattern is given.
    """
    table = folder / TABLE
    if made_by is None and not names_cases(table):
        return {}
    if made_by is not None and not table.is_file():
        what = f"has no {TABLE} with the parents of drawn cases, but {made_by.name} says that it was exported"
        raise CohortError(folder, what, "restore the table, or export the cohorts again")
    rows = read_cases_csv(table)
    check_subject_pattern(subject_pattern, rows, table)
    return {row["case_id"]: row for row in rows}


def check_subject_pattern(pattern: str | None, rows: list[Row], table: Path) -> None:
    """Raise ``ConfigError`` if a pattern for subjects is given, and the table names them."""
    if pattern is not None and any("subject_id" in row for row in rows):
        raise ConfigError("`subject_pattern`", f"{table} names the subjects", "leave it out, or correct the table")


def row_of(case_id: str, rows: Mapping[str, Row], file: Path) -> Row:
    """Return the row of a case; without a table, a row with its id only.

    Args:
        case_id: the case.
        rows: those of the table, by id.
        file: of the case, which the error names.

    Raises:
        CohortError: if there is a table that does not list the case.
    """
    if rows and case_id not in rows:
        raise CohortError(file, f"is not listed in {TABLE}", "add a row for it, or move it away")
    return dict(rows.get(case_id, {"case_id": case_id}))


def exported_case(
    row: Mapping[str, str],
    *,
    images: Mapping[str, Path],
    found: Annotation | None,
    no_mask: str = Annotation.UNKNOWN,
    label: Path | None,
    anatomy: Path | None = None,
) -> Case:
    """Return the case that a row and its files describe, without the files that stand in for missing channels.

    Args:
        row: with ``case_id`` and ``subject_id``.
        images: channel → file.
        found: the annotation by the mask; if there is none, the one of the row counts.
        no_mask: the annotation if neither says anything.
        label: the mask.
        anatomy: the anatomy map.
    """
    missing = listed_channels(row.get("missing_channels", ""))
    return case_from_row(
        row,
        images={channel: file for channel, file in images.items() if channel not in missing},
        annotation=Annotation(found or row.get("annotation") or no_mask),
        label=label,
        anatomy=anatomy,
    )
