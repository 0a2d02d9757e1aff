"""What an export of lesionforge says about the sessions of a BIDS folder: its tables, and its maps of classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lesionforge.cohort.case import stem_of
from lesionforge.cohort.layouts.cases_csv import ORIGINS, check_ids, check_rows, listed_channels
from lesionforge.cohort.layouts.exported import names_cases
from lesionforge.errors import CohortError
from lesionforge.reading import Row, read_json, read_rows

if TYPE_CHECKING:
    from lesionforge.cohort.layouts.bids import Named

CLASSES = "Classes of the lesions"
"""The description of a map of classes that an export wrote; ``label-lesion_mask`` beside it is made of it."""
MADE = ("synthetic", "simulated")
"""Values of ``desc`` of scans that nobody measured."""
AGAIN = "restore it, or export the cohorts again"


class SessionTables:
    """The tables of sessions and participants, each read when a session needs it."""

    def __init__(self) -> None:
        self._sessions: dict[Path, dict[str, Row]] = {}
        self._people: dict[Path, dict[str, str]] = {}

    def row(self, session: str, images: Sequence[Named], others: Sequence[Named]) -> Row | None:
        """Return the facts about a session, ``None`` if no table gives any.

        Args:
            session: its name.
            images: its images.
            others: its masks and maps.

        Raises:
            CohortError: if a table is invalid, or lacks a session that was drawn or simulated.
        """
        home = images[0].home if images else None
        row = None if home is None else self._listed(home, images[0].entities.get("ses", ""))
        for file in (*images, *others):
            said = file.entities.get("desc", "")
            if said in MADE and (row is None or row["origin"] != said):
                what = f"is {said}, and no sub-*_sessions.tsv says what it was made from"
                raise CohortError(file.path, what, "import the folder that lesionforge exported, with its tables")
        return row

    def _listed(self, home: Path, number: str) -> Row | None:
        table = home / f"{home.name}_sessions.tsv"
        if home not in self._sessions:
            self._sessions[home] = _read_sessions(table) if names_cases(table, "\t") else {}
        rows = self._sessions[home]
        if not rows:
            return None
        if f"ses-{number}" not in rows:
            raise CohortError(table, f"does not list ses-{number}", "add a row for it, or move it away")
        row = {**rows[f"ses-{number}"], "subject_id": self._subject(home)}
        check_ids([row], table)
        return row

    def _subject(self, home: Path) -> str:
        """Return the subject whose label the name of a folder is."""
        table = home.parent / "participants.tsv"
        if table not in self._people:
            rows = read_rows(table, ("participant_id", "subject_id"), separator="\t")
            self._people[table] = {row["participant_id"]: row["subject_id"] for row in rows}
        if home.name not in self._people[table]:
            raise CohortError(table, f"does not say who {home.name} is", AGAIN)
        return self._people[table][home.name]


def measured(images: Mapping[str, Named], row: Mapping[str, str]) -> dict[str, Path]:
    """Return channel → file of a session, without files of zeros that stand in for channels that the row calls missing.

    Raises:
        CohortError: if channels are missing, and the JSON file of an image does not say which channel it is.
    """
    missing = listed_channels(row.get("missing_channels", ""))
    return {
        name: file.path
        for name, file in images.items()
        if not missing or _channel_and_origin(file.path)[0] not in missing
    }


def channel_said(file: Named) -> str:
    """Return the channel that the description of an image of an export names; ``""`` for files of others.

    Raises:
        CohortError: if the JSON file beside an image is damaged.
    """
    origin = file.entities.get("desc")
    if origin not in ORIGINS or not _beside(file.path, ".json").is_file():
        return ""
    channel, said = _channel_and_origin(file.path)
    return channel if said == origin else ""


def classes_for_masks(files: Iterable[Named]) -> list[Named]:
    """Return the files; a map of classes of an export takes the place of the mask that was made of it."""
    files = list(files)
    maps = [replace(file, classes=True) if _holds_classes(file) else file for file in files]
    made = {(file.path.parent, file.session, file.entities["desc"]) for file in maps if file.classes}

    def is_made_of_one(file: Named) -> bool:
        return file.suffix == "mask" and (file.path.parent, file.session, file.entities.get("desc")) in made

    return [file for file in maps if not (is_made_of_one(file) and file.shows_lesions)]


def classes_of(files: Iterable[Named]) -> dict[str, int] | None:
    """Return class → value as the tables beside maps of classes say, ``None`` without such a map.

    Raises:
        CohortError: if two tables differ, or one holds no numbers.
    """
    found: dict[str, int] | None = None
    for file in files:
        if not file.classes:
            continue
        table = _beside(file.path, ".tsv")
        try:
            rows = read_rows(table, ("index", "name"), separator="\t")
            classes = {row["name"]: int(row["index"]) for row in rows}
        except ValueError as error:
            raise CohortError(table, "has an index that is no whole number", AGAIN) from error
        if found is not None and classes != found:
            raise CohortError(table, "names other classes than the tables of other sessions", AGAIN)
        found = classes
    return found


def _read_sessions(table: Path) -> dict[str, Row]:
    rows = read_rows(table, ("session_id", "case_id", "origin"), separator="\t")
    rows = [{name: "" if cell == "n/a" else cell for name, cell in row.items()} for row in rows]
    check_rows(rows, table)
    return {row.pop("session_id"): row for row in rows}


def _channel_and_origin(image: Path) -> tuple[str, str]:
    """Return what the description of an exported image names: ``T1, real`` is of T1 and real."""
    channel, _, origin = _description(image).rpartition(", ")
    return channel, origin


def _description(image: Path) -> str:
    content = read_json(_beside(image, ".json"), remedy=AGAIN)
    return str(content.get("Description")) if isinstance(content, dict) else ""


def _holds_classes(file: Named) -> bool:
    if file.suffix != "dseg" or file.entities.get("desc") not in ORIGINS or not _beside(file.path, ".json").is_file():
        return False
    return _description(file.path) == CLASSES


def _beside(image: Path, ending: str) -> Path:
    return image.with_name(f"{stem_of(image)}{ending}")
