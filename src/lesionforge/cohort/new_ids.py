"""New ids for cases and subjects, and the private table that leads from them to the old ones.

New ids are random, so neither they nor their order say anything about the old ones. They belong to a table: with the
same table, the same case gets the same id in every cohort, so that real cases and those drawn from them still fit
together, and the leak guard finds the parents of a drawn case.
"""

from __future__ import annotations

import io
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from lesionforge.cohort.case import Case, Cohort
from lesionforge.errors import CohortError, ConfigError
from lesionforge.files import atomic
from lesionforge.reading import read_rows

CASE, SUBJECT = "case", "subject"
COLUMNS = ("kind", "new", "old")
LETTERS, LENGTH = "bcdfghjklmnpqrstvwxz", 8
"""Of a random id; without vowels it is no word, and without digits it does not look like a visit."""
MASK_WORDS = frozenset(
    (
        *("edited", "interpolated", "ellipsoids", "semi_random", "maskgan"),
        *("enlarge", "shrink", "shift", "mirror", "transplant"),
    )
)
"""Parts of a ``mask_id`` that name no case."""


class NewIds:
    """A table of new ids.

    Args:
        known: kind (``case`` or ``subject``) and old id → new id.
    """

    def __init__(self, known: Mapping[tuple[str, str], str] | None = None) -> None:
        self._new = dict(known or {})

    @classmethod
    def read(cls, path: Path) -> NewIds:
        """Read a table; without a file, the table is empty.

        Raises:
            CohortError: if the file is no such table.
        """
        if not path.is_file():
            return cls()
        known = {(row["kind"], row["old"]): row["new"] for row in read_rows(path, COLUMNS)}
        kinds, given = {kind for kind, _ in known}, list(known.values())
        if not kinds <= {CASE, SUBJECT} or not all(given) or len(set(given)) < len(given):
            what = f"is no table of new ids: {CASE} or {SUBJECT}, a new id that is used once, and the old one"
            raise CohortError(path, what, "name another file, or restore it")
        return cls(known)

    def write(self, path: Path) -> None:
        """Write the table as CSV that only its owner may read, ordered by the new ids."""
        rows = sorted((kind, new, old) for (kind, old), new in self._new.items())
        text = io.StringIO()
        pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(text, index=False, lineterminator="\n")
        with atomic(path) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_text(text.getvalue(), encoding="utf-8")

    @property
    def subjects(self) -> dict[str, str]:
        """Old id → new id of each subject."""
        return self._of(SUBJECT)

    @property
    def cases(self) -> dict[str, str]:
        """Old id → new id of each case."""
        return self._of(CASE)

    def cohort(self, cohort: Cohort) -> Cohort:
        """Return a cohort with new ids in the order of these ids; ids without a new one get one.

        Case, subject, source case, mask, parents and the subjects behind the anatomy map are renamed; files and further
        columns stay.
        """
        cases = sorted((self._case(case) for case in cohort), key=lambda case: case.case_id)
        return cohort.with_cases(cases)

    def _of(self, wanted: str) -> dict[str, str]:
        return {old: new for (kind, old), new in self._new.items() if kind == wanted}

    def _case(self, case: Case) -> Case:
        maker = case.map_maker
        return replace(
            case,
            case_id=self._id(CASE, case.case_id),
            subject_id=self._id(SUBJECT, case.subject_id),
            source_case=self._id(CASE, case.source_case) if case.source_case else "",
            mask_id="+".join(map(self._mask, case.mask_id.split("+"))),
            parents=self._subjects(case.parents),
            map_maker=maker if maker is None else replace(maker, subjects=self._subjects(maker.subjects)),
        )

    def _subjects(self, old: Sequence[str]) -> tuple[str, ...]:
        return tuple(sorted(self._id(SUBJECT, subject) for subject in old))

    def _mask(self, part: str) -> str:
        return part if part in MASK_WORDS or not part else self._id(CASE, part)

    def _id(self, kind: str, old: str) -> str:
        """Return the new id of an old one, or make one."""
        while (kind, old) not in self._new:
            new = f"{kind}_{''.join(secrets.choice(LETTERS) for _ in range(LENGTH))}"
            if new not in self._new.values():
                self._new[kind, old] = new
        return self._new[kind, old]


def check_private(table: Path, cohort: Path) -> None:
    """Refuse a table of new ids inside the folder of the cohort, which is to be shared.

    Raises:
        ConfigError: if it lies there.
    """
    if table.resolve().is_relative_to(cohort.resolve()):
        what = f"lies in the cohort folder {cohort}, which would give the old ids away with it"
        raise ConfigError(table, what, "name a file elsewhere, and keep it to yourself")
