"""Hashes of cases over their ids and every byte of their files, to find out whether they changed."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from lesionforge.cohort.case import Case
from lesionforge.files import sha256_of


def files_of(case: Case) -> list[Path]:
    """Return the files of a case: its channels, then its label and its anatomy map, if it has them."""
    return [*case.images.values(), *(path for path in (case.label, case.anatomy) if path is not None)]


def digest_of(cases: Iterable[Case]) -> str:
    """Return the SHA-256 of ids, channels, images, labels and anatomy maps, in the order of the cases.

    A missing file counts as empty.
    """
    content = hashlib.sha256()
    for case in cases:
        files = [sha256_of(path) if path.is_file() else "" for path in files_of(case)]
        content.update(repr([case.case_id, case.subject_id, *case.images, *files]).encode())
    return content.hexdigest()
