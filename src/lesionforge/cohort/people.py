"""Who is who: the same scan under two names, names that read alike, and the subject that a file name leads to."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from functools import cache
from pathlib import Path

import numpy as np
from nibabel.orientations import apply_orientation, io_orientation
from numpy.typing import NDArray

from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.scan import FloatArray, read_image
from lesionforge.errors import CohortError
from lesionforge.files import write_json
from lesionforge.reading import read_json

SEPARATOR = re.compile(r"[-_.\s]")
VISIT = re.compile(
    r"(?P<person>.+?)[-_. ]+(?P<visit>(ses|session|visit|v|tp|timepoint|time|scan|run|day|week|month|year|d|w|m|y)"
    r"[-_]?\d+|baseline|followup|follow-up|fu\d*|pre|post|preop|postop|\d+)"
)
MOST_VISITS = 8
"""Of a person, on average; a group with more is a site or a study."""
VOXELS = "voxels.json"
"""The file in which the folder of a study keeps the hashes of its images."""

_hashes: dict[str, str] = {}
"""State of an image file → hash of its voxels; a process reads each file once."""


def voxel_hash(path: Path) -> str:
    """Return a hash of an image's intensities; empty if they are all equal or the file cannot be read.

    Equal intensities have equal hashes, whatever the stored type, scaling, compression and order of axes.
    The file is read again only if its size or time has changed.
    """
    state = _state(path)
    if state not in _hashes:
        _hashes[state] = _hash_file(path) if state else ""
    return _hashes[state]


def hash_voxels(image: FloatArray, affine: NDArray[np.float64]) -> str:
    """Return the hash of an image ``(x, y[, z])``; empty if all of its voxels are equal."""
    if image.min() == image.max():
        return ""
    if image.ndim == 3:
        turn = io_orientation(affine)
        image = image if np.isnan(turn).any() else apply_orientation(image, turn)
    content = np.ascontiguousarray(image, np.float32) + np.float32(0)
    found = hashlib.blake2b(repr(content.shape).encode(), digest_size=16)
    found.update(content.data)
    return found.hexdigest()


def recall_hashes(folder: Path) -> None:
    """Load the hashes that :func:`keep_hashes` wrote into a folder, so that unchanged images are not read again."""
    if (folder / VOXELS).is_file():
        content = read_json(folder / VOXELS, remedy="delete it: it is made again")
        if isinstance(content, dict):
            _hashes.update({state: value for state, value in content.items() if isinstance(value, str)})


def keep_hashes(folder: Path, cohorts: Iterable[Cohort]) -> None:
    """Write the hashes of the cohorts' images into a folder; the file names no path."""
    states = [_state(path) for cohort in cohorts for case in cohort for path in case.images.values()]
    write_json(folder / VOXELS, {state: _hashes[state] for state in states if state in _hashes})


def same_scans(parts: Sequence[Iterable[Case]]) -> Iterator[tuple[Case, Case]]:
    """Yield pairs of cases from two parts and of two subjects that share an image, voxel by voxel.

    Args:
        parts: each is compared with the earlier ones, not with itself; cases drawn from others are ignored.
    """
    seen: dict[str, tuple[int, Case]] = {}
    for number, part in enumerate(parts):
        for case in part:
            if case.derived:
                continue
            for value in {voxel_hash(path) for path in case.images.values()} - {""}:
                of_part, other = seen.setdefault(value, (number, case))
                if of_part != number and other.subject_id != case.subject_id:
                    yield other, case


@cache
def folded(name: str) -> str:
    """Return what is left of an id without what people write differently for one and the same subject.

    Case, leading zeros of numbers, full-width and decomposed letters, dots at the end and BIDS' ``sub-`` say nothing:
    ``P05``, ``p5``, ``sub-p05`` and ``p05.`` are ``p5``.
    """
    text = unicodedata.normalize("NFKC", name).casefold()
    text = unicodedata.normalize("NFKC", text).rstrip(". ").removeprefix("sub-")
    return re.sub(r"(?<!\d)0+(?=\d)", "", text)


def alike(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return groups of different names that are equal when :func:`folded`."""
    groups: dict[str, dict[str, None]] = {}
    for name in names:
        groups.setdefault(folded(name), {})[name] = None
    return [tuple(group) for group in groups.values() if len(group) > 1]


def across(grouped: Callable[[Iterable[str]], list[tuple[str, ...]]], parts: Sequence[Cohort]) -> list[tuple[str, ...]]:
    """Return the groups whose members (subjects and their parents) are in more than one part.

    Args:
        grouped: returns groups of names, such as :func:`alike`.
        parts: the parts of a split.
    """
    names = [part.ancestry for part in parts]
    groups = grouped(sorted(frozenset[str]().union(*names)))
    return [group for group in groups if sum(bool(of_part.intersection(group)) for of_part in names) > 1]


def visits(subjects: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return person → subjects that look like visits of that person: ``p01_ses-1``, ``p01_post``, ``glioma-05-100``.

    A bare number at the end counts only after a name that has a number itself, and only if such names have few of
    them: ``site1_01`` … ``site1_50`` are people.
    """
    worded, numbered = dict[str, list[str]](), dict[str, list[str]]()
    for subject in dict.fromkeys(subjects):
        match = VISIT.fullmatch(subject)
        if match is not None and not match["visit"].isdecimal():
            worded.setdefault(match["person"], []).append(subject)
        elif match is not None and re.search(r"\d", match["person"]):
            numbered.setdefault(match["person"], []).append(subject)
    if sum(map(len, numbered.values())) > MOST_VISITS * len(numbered):
        numbered = {}
    groups = (*worded.items(), *numbered.items())
    return {person: tuple(found) for person, found in groups if len(found) > 1}


class People:
    """Finds the subjects that a name leads to, such as that of a mask file.

    Args:
        cases: their subjects can be found by subject id and by case id.
        others: further subjects.
    """

    def __init__(self, cases: Iterable[Case], others: Iterable[str] = ()) -> None:
        named = [(name, case.subject_id) for case in cases for name in (case.case_id, case.subject_id)]
        named += [(subject, subject) for subject in others]
        self._exact, self._folded = dict[str, set[str]](), dict[str, set[str]]()
        for name, subject in named:
            self._exact.setdefault(_composed(name), set()).add(subject)
            self._folded.setdefault(folded(name), set()).add(subject)
        self._found: dict[str, frozenset[str]] = {}

    def behind(self, name: str) -> frozenset[str]:
        """Return the subjects behind a name; empty if it leads to nobody.

        ``p05`` is found in ``p05_mask``, ``p05_healed``, ``lesion-p05`` and ``p01+p05``. A known id is searched for at
        the beginning of each part of the name, the longest first, then at its end. A bare number is an id only if it
        is the whole name.
        """
        if name not in self._found:
            self._found[name] = _led_to(name, self._exact, _composed)
        return self._found[name]

    def resembling(self, name: str) -> frozenset[str]:
        """Return the subjects that a name leads to only if ids are :func:`folded`, as ``P5_mask`` for ``p05``."""
        return _led_to(name, self._folded, folded) - self.behind(name)

    def behind_case(self, case: Case) -> frozenset[str]:
        """Return the subjects behind a case: its own, and those that its provenance leads to."""
        names = (*case.parents, case.mask_id, case.source_case)
        return frozenset[str]((case.subject_id,)).union(*(self.behind(name) for name in names))


def _led_to(name: str, subjects: Mapping[str, Set[str]], key: Callable[[str], str]) -> frozenset[str]:
    """Return the subjects that a name leads to; see :meth:`People.behind`.

    Args:
        name: of a file, a case or a person.
        subjects: known id → subjects.
        key: turns a name into an id of ``subjects``.
    """
    whole = subjects.get(key(name))
    parts = [whole] if whole else [_led_to_by(part, subjects, key) for part in name.split("+")]
    return frozenset[str]().union(*parts)


def _led_to_by(part: str, subjects: Mapping[str, Set[str]], key: Callable[[str], str]) -> Set[str]:
    cuts = [match.start() for match in SEPARATOR.finditer(part)]
    starts, ends = [part[:cut] for cut in reversed(cuts)], [part[cut + 1 :] for cut in cuts]
    names = [key(name) for name in (part, *(name for name in (*starts, *ends) if not name.isdecimal()))]
    return next((subjects[name] for name in names if name in subjects), set())


def _composed(name: str) -> str:
    """Return a name with composed letters; file systems may give decomposed ones."""
    return unicodedata.normalize("NFC", name)


def _state(path: Path) -> str:
    """Return a hash that changes with a file and does not name it; empty if there is no file."""
    try:
        stat = path.stat()
    except OSError:
        return ""
    return hashlib.blake2b(f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}".encode(), digest_size=16).hexdigest()


def _hash_file(path: Path) -> str:
    try:
        return hash_voxels(*read_image(path))
    except CohortError:
        return ""
