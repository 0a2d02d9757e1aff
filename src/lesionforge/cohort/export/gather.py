"""Several cohorts as one: the same channels and classes, and an id for every case that no other has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.layouts.nnunet import read_cohort
from lesionforge.cohort.structures import Structures, read_structures
from lesionforge.errors import CohortError


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """Several cohorts as one.

    Attributes:
        cohort: all cases; its name, channels and classes are those of the first cohort.
        renamed: new id → old id, of the cases whose id an earlier cohort has.
        shared: subjects whose name stands in several cohorts of measured scans; they count as one person.
        structures: the meaning of the anatomy maps, if the cohorts say it.
        problems: errors of the cases that were left out.
    """

    cohort: Cohort
    renamed: Mapping[str, str]
    shared: tuple[str, ...]
    structures: Structures | None = None
    problems: tuple[CohortError, ...] = ()


def gather_folders(folders: Sequence[Path], channels: Sequence[str] | None = None) -> Gathered:
    """Read cohort folders as one; see :func:`gather`.

    Anatomy maps are left out if the cohorts give their values different meanings.

    Args:
        folders: at least one.
        channels: the channels to keep; all by default.

    Raises:
        CohortError: if a folder is no cohort, is named twice, or lacks a channel.
    """
    problems: list[CohortError] = []
    cohorts, meanings = [], [read_structures(folder) for folder in folders]
    for number, folder in enumerate(folders):
        if folder.resolve() in [other.resolve() for other in folders[:number]]:
            raise CohortError(folder, "is named twice", "name every cohort once")
        cohort = read_cohort(folder, on_problem=problems.append)
        if channels:
            cohort.having(channels)
            cohort = cohort.with_channels(channels)
        cohorts.append(cohort)
    gathered, same = gather(cohorts), all(meaning == meanings[0] for meaning in meanings)
    cohort = gathered.cohort
    if not same:
        cohort = cohort.with_cases([replace(case, anatomy=None) for case in cohort])
    return replace(gathered, cohort=cohort, structures=meanings[0] if same else None, problems=tuple(problems))


def gather(cohorts: Sequence[Cohort]) -> Gathered:
    """Put cohorts together.

    A case whose id an earlier cohort has gets the number of its cohort at its end: ``case_07_c2``.

    Args:
        cohorts: at least one; the order of channels may differ.

    Raises:
        CohortError: if channels or lesion classes differ.
    """
    first, cases, renamed = cohorts[0], list[Case](), dict[str, str]()
    taken = {case.case_id for cohort in cohorts for case in cohort}
    used = set[str]()
    for number, cohort in enumerate(cohorts, start=1):
        _check_fits(cohort, first)
        for case in cohort.with_channels(first.channels):
            if case.case_id in used:
                new = f"{case.case_id}_c{number}"
                while new in taken:
                    new = f"{new}_c{number}"
                renamed[new], case = case.case_id, replace(case, case_id=new)
                taken.add(new)
            used.add(case.case_id)
            cases.append(case)
    measured = Counter(subject for cohort in cohorts for subject in _measured_subjects(cohort))
    shared = tuple(sorted(subject for subject, count in measured.items() if count > 1))
    return Gathered(cohort=first.with_cases(cases), renamed=renamed, shared=shared)


def _measured_subjects(cohort: Cohort) -> set[str]:
    return {case.subject_id for case in cohort if not case.derived}


def _check_fits(cohort: Cohort, first: Cohort) -> None:
    if set(cohort.channels) != set(first.channels):
        what = f"has the channels {', '.join(cohort.channels)}, but {first.name} has {', '.join(first.channels)}"
        raise CohortError(cohort.name, what, "name the `channels` that all cohorts have, or leave this one out")
    if dict(cohort.labels) != dict(first.labels):
        what = f"has the classes {_told(cohort)}, but {first.name} has {_told(first)}"
        raise CohortError(cohort.name, what, "import it again with the same names and values")


def _told(cohort: Cohort) -> str:
    return ", ".join(f"{value} {name}" for name, value in cohort.labels.items())
