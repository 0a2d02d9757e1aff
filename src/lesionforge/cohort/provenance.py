"""The records of how cases were drawn, with which ``cases.csv`` must agree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lesionforge.cohort.case import Annotation, Case
from lesionforge.errors import CohortError
from lesionforge.reading import read_json

MADE_BY = ("synthesis.json", "filter.json", "simulation.json", "match.json")
"""Files that show that the scans of a cohort were made, not measured."""
HEALED_KINDS = ("healed", "maps", "reconstructed")
"""Cohorts whose records lie in the folder above."""
FACTS = ("method", "source_case")
REDRAW = "delete it and repeat the command that made the folder, which makes the case again"


def read_record(path: Path, *facts: str) -> dict[str, Any]:
    """Read ``provenance/CASE.json``.

    Args:
        path: the file.
        facts: required keys besides method, source case and parents.

    Raises:
        CohortError: if it is damaged.
    """
    return _checked(_read(path), path, facts)


def _checked(record: dict[str, Any], path: Path, facts: Sequence[str] = ()) -> dict[str, Any]:
    parents = record.get("parents")
    sound = all(isinstance(record.get(fact), str) for fact in FACTS) and all(fact in record for fact in facts)
    named = isinstance(parents, list) and all(isinstance(parent, str) for parent in parents)
    if not (sound and named and record.get("annotation", Annotation.LESION) in list(Annotation)):
        raise CohortError(path, f"does not hold {', '.join((*FACTS, 'parents', *facts))}", REDRAW)
    return record


def check_made(folder: Path) -> None:
    """Refuse a cohort folder without ``cases.csv`` if its other files show that its scans were made, not measured.

    Raises:
        CohortError: names the file that shows it.
    """
    above = folder.parent if folder.name in HEALED_KINDS else folder
    signs = [folder / "provenance", *(folder / name for name in MADE_BY), above / "provenance"]
    found = next((sign for sign in signs if sign.exists()), None)
    if found is not None:
        what = f"has no cases.csv with the parents of its scans, but {found.name} says that they were made"
        raise CohortError(folder, what, "repeat the command that made it, or restore the table")


def check_record(folder: Path, case: Case) -> None:
    """Refuse a case if ``cases.csv`` says less about it than the record of the run that drew it.

    Raises:
        CohortError: if ``cases.csv`` does not call the case synthetic, or lacks a parent.
    """
    path = _record_of(folder, case.case_id)
    if path is None or "method" not in (record := _read(path)):
        return
    lost = sorted(set(_checked(record, path)["parents"]) - case.ancestry)
    if case.origin == "synthetic" and not lost:
        return
    what = f"cases.csv lacks its parents {', '.join(lost[:3])}" if lost else f"cases.csv calls it {case.origin}"
    source = f"{path.name} says that {record['method']} drew it"
    raise CohortError(case.case_id, f"{source}, but {what}", "restore cases.csv: repeat the command that made it")


def _read(path: Path) -> dict[str, Any]:
    content = read_json(path, remedy=REDRAW)
    if not isinstance(content, dict):
        raise CohortError(path, "is damaged: it holds no JSON object", REDRAW)
    return content


def _record_of(folder: Path, case_id: str) -> Path | None:
    paths = [folder / "provenance" / f"{case_id}.json"]
    if folder.name in HEALED_KINDS:
        paths.append(folder.parent / "provenance" / f"{case_id.removesuffix(f'_{folder.name}')}.json")
    return next((path for path in paths if path.is_file()), None)
