"""Which series of a tree are the channels of which case."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from lesionforge.cohort.dicom.made_up_ids import made_up_id
from lesionforge.cohort.dicom.tree import Series, Tree
from lesionforge.cohort.layouts.cases_csv import check_ids, read_table
from lesionforge.cohort.layouts.labels import OnNote, OnProblem, keep_silent
from lesionforge.errors import CohortError, ConfigError

NAMED = 8
"""Greatest number of descriptions that a message lists."""
ALIKE = 3
"""Least number of studies of one patient at which a cohort without other patients is doubtful."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """A case, with the series of its channels.

    Attributes:
        case_id: its id.
        subject_id: the person.
        channels: channel name → its series: one, unless the user was not clear.
    """

    case_id: str
    subject_id: str
    channels: Mapping[str, tuple[Series, ...]]


def by_pattern(folder: Path, tree: Tree, channels: Mapping[str, str], on_note: OnNote) -> list[Study]:
    """Return the studies with the series that the patterns name; without patterns, with their only series.

    Args:
        folder: the root of the tree.
        tree: the series.
        channels: channel name → pattern for descriptions.
        on_note: called with a line about studies without any channel, and about patients' ids.

    Raises:
        CohortError: if there is no pattern, and a study has several series, or their modalities differ.
        ConfigError: if a pattern matches nothing.
    """
    series = list(tree.series.values())
    told = listed(one.first.description for one in series)
    if not channels:
        modalities = {one.first.modality for one in series}
        if len(modalities) > 1 or len({one.first.study for one in series}) < len(series):
            what = f"does not say which series are the channels; their descriptions are {told}"
            raise CohortError(folder, what, "name each, `channel=FLAIR=*flair*`, or list them in a table, `series=CSV`")
        channels = {modalities.pop() or "image": "*"}
    for pattern in channels.values():
        if not any(matches(one.first.description, pattern) for one in series):
            raise ConfigError(repr(pattern), "no series has such a description", f"they are {told}")
    studies = []
    for uid, (case_id, subject_id) in _ids(series, on_note).items():
        of_study = [one for one in series if one.first.study == uid]
        found = {
            channel: [one for one in of_study if matches(one.first.description, pattern)]
            for channel, pattern in channels.items()
        }
        chosen = {channel: tuple(matches) for channel, matches in found.items() if matches}
        if chosen:
            studies.append(Study(case_id=case_id, subject_id=subject_id, channels=chosen))
        else:
            on_note(f"not used, no series is a channel: study of {of_study[0].first.file.relative_to(folder)}")
    return studies


def by_table(table: Path, tree: Tree, on_problem: OnProblem) -> list[Study]:
    """Return the studies with the series that a table names.

    Args:
        table: its columns are ``series`` and ``channel``, and optionally ``case_id`` and ``subject_id``.
        tree: the series.
        on_problem: called with the error of each row whose series is not there.

    Raises:
        CohortError: if the table lacks a column, or its ids are wrong.
    """
    studies, ids = dict[str, Study](), _ids(list(tree.series.values()), keep_silent)
    for row in read_table(table, ["series", "channel"]):
        if row["series"] not in tree.series:
            what = f"lists the series {row['series']!r}, which is no volume in the folder"
            on_problem(CohortError(table, what, "correct it, or delete the row"))
            continue
        one = tree.series[row["series"]]
        case_id, subject_id = ids[one.first.study]
        case_id, subject_id = row.get("case_id") or case_id, row.get("subject_id") or subject_id
        study = studies.setdefault(case_id, Study(case_id=case_id, subject_id=subject_id, channels={}))
        there = study.channels.get(row["channel"], ())
        studies[case_id] = replace(study, channels={**study.channels, row["channel"]: (*there, one)})
    check_ids(({"case_id": study.case_id, "subject_id": study.subject_id} for study in studies.values()), table)
    return list(studies.values())


def _ids(series: Sequence[Series], on_note: OnNote) -> dict[str, tuple[str, str]]:
    """Return uid → ids of case and subject of each study; the studies of a patient are numbered by their time."""
    firsts = {one.first.study: one.first for one in series}
    subjects = {uid: made_up_id(first.patient or uid) for uid, first in firsts.items()}
    nameless = sum(not first.patient for first in firsts.values())
    if nameless:
        on_note(f"{nameless} studies have no patient id, and each counts as a subject; a table can name subjects")
    if len(firsts) >= ALIKE and len({first.patient for first in firsts.values()}) == 1 and not nameless:
        on_note(f"all {len(firsts)} studies have one patient id, and count as one subject; a table can name subjects")
    order, numbers, ids = sorted(firsts, key=lambda uid: (subjects[uid], firsts[uid].time, uid)), Counter[str](), {}
    for uid in order:
        numbers[subjects[uid]] += 1
        ids[uid] = f"{subjects[uid]}_ses-{numbers[subjects[uid]]}", subjects[uid]
    return ids


def matches(description: str, pattern: str) -> bool:
    """Return whether a description or name fits a pattern, whatever its case."""
    return fnmatchcase(description.casefold(), pattern.casefold())


def listed(names: Iterable[str]) -> str:
    """Return names with their numbers, the most frequent ones."""
    counts = Counter(names).most_common()
    told = ", ".join(f"{name!r} ({count})" for name, count in counts[:NAMED])
    return told + (f" and {len(counts) - NAMED} more" if len(counts) > NAMED else "")
