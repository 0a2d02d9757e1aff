"""The leak guard: no test subject, and no parent of a simulated one, may be behind the training data."""

import warnings
from collections.abc import Collection, Mapping, Sequence

from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.people import People, across, alike, same_scans, visits
from lesionforge.errors import DoubtWarning, LeakError

REMEDY = "leave it out of training, or leave the subject out of testing"
ONE_PERSON = "if they are one person, give them the same subject_id in cases.csv"


def check_no_leak(train: Cohort, test: Cohort, *, models: Mapping[str, Collection[str]] | None = None) -> None:
    """Refuse a test subject that is a parent of the training data.

    The parents of a training case are the subjects of its scan and of its mask, and every subject that its synthesizer
    and its mask source were fitted on. ``models`` gives the subjects of each model, also for models that draw during
    training and leave no case behind. Names count for the subjects that they lead to, see
    :meth:`~lesionforge.cohort.people.People.behind`.

    A parent, mask or source whose name only reads like a test subject's gives a :class:`DoubtWarning`.

    Args:
        train: the training cases.
        test: the scored cases; none may be drawn from others.
        models: ``"synthesizer"``, ``"mask source"`` or another name → the subjects that it was fitted on.

    Raises:
        LeakError: names the case or model, the subject, and the way: scan, mask, synthesizer or mask source.

    Example:
        >>> from pathlib import Path
        >>> from lesionforge.testing import tiny_cohort
        >>> cohort = tiny_cohort(Path("tiny"), spatial_dims=2)
        >>> check_no_leak(cohort.of_subjects(["sub_00"]), cohort.of_subjects(["sub_01"]))
        >>> check_no_leak(cohort, cohort.of_subjects(["sub_01"]))
        Traceback (most recent call last):
        lesionforge.errors.LeakError: ...
    """
    fitted = models or {}
    subjects = frozenset(test.subjects).union(*(case.ancestry for case in test if not case.derived))
    people = People((*train, *test), subjects)
    for name, model_subjects in fitted.items():
        known = frozenset[str]().union(*(people.behind(subject) for subject in model_subjects))
        for subject in sorted(subjects & known):
            raise LeakError(name, f"was fitted on the test subject {subject}", "fit it on training subjects only")
    for case in train:
        ways = _ways(case, people)
        for subject in sorted(subjects.intersection(ways)):
            raise LeakError(
                case.case_id, f"has the test subject {subject} as a parent through its {ways[subject]}", REMEDY
            )
    for case in test:
        if case.derived:
            what = f"was drawn by {case.synthesizer or 'a synthesizer'} and is a test case"
            raise LeakError(case.case_id, what, "test on scans that were not drawn from others")
    parents = frozenset[str]().union(*(case.parents for case in train), *fitted.values()) - frozenset(train.subjects)
    for group in alike(sorted(parents | subjects)):
        if parents.intersection(group) and subjects.intersection(group):
            doubt = (
                f"{' and '.join(group)} read alike, but one is behind training and another is tested on; {ONE_PERSON}"
            )
            warnings.warn(doubt, DoubtWarning, stacklevel=2)
    for name in sorted({name for case in train for name in (case.mask_id, case.source_case)}):
        for subject in sorted(subjects & people.resembling(name)):
            doubt = f"{name}, from which a training case was made, reads like the test subject {subject}; {ONE_PERSON}"
            warnings.warn(doubt, DoubtWarning, stacklevel=2)


def check_no_copy(parts: Mapping[str, Cohort]) -> None:
    """Refuse a split with the same image in two parts, under two subjects.

    Args:
        parts: name → the cases of a part.

    Raises:
        LeakError: names both cases.
    """
    for one, other in same_scans(list(parts.values())):
        raise LeakError(
            f"{one.case_id} and {other.case_id}",
            f"hold the same image, but belong to two subjects ({one.subject_id}, {other.subject_id}) in two parts of "
            "the split",
            "give both the same subject_id in cases.csv, or leave one out",
        )


def look_alikes(parts: Sequence[Cohort]) -> list[str]:
    """Return a line for each group of names that read alike across parts, and one line for all likely visits."""
    lines = [
        f"{' and '.join(group)} read alike, but are subjects in different parts of the split; {ONE_PERSON}"
        for group in across(alike, parts)
    ]
    found = across(lambda names: list(visits(names).values()), parts)
    if found:
        which = f"{', '.join(found[0][:3])}" + (f", and {len(found) - 1} more people" if len(found) > 1 else "")
        lines.append(f"{which} look like visits of one person, but are subjects in different parts; {ONE_PERSON}")
    return lines


def checked_split(parts: Mapping[str, Cohort]) -> None:
    """Refuse the same image in two parts, and warn of subjects in two parts whose names read alike.

    Raises:
        LeakError: see :func:`check_no_copy`.
    """
    check_no_copy(parts)
    for doubt in look_alikes(list(parts.values())):
        warnings.warn(doubt, DoubtWarning, stacklevel=3)


def leaving_out(cohort: Cohort, held_out: Collection[str], people: People, *, bare: bool = False) -> Cohort:
    """Return the cases that have no held-out subject behind them.

    Args:
        cohort: the possible training cases.
        held_out: the held-out subjects.
        people: finds all subjects of the split.
        bare: whether the cases are masks without scans, whose file names lead to their subjects.
    """

    def known(case: Case) -> frozenset[str]:
        named = people.behind(case.case_id) | people.behind(case.subject_id) if bare else frozenset()
        return people.behind_case(case) | case.ancestry | named

    return cohort.with_cases([case for case in cohort if not known(case).intersection(held_out)])


def _ways(case: Case, people: People) -> dict[str, str]:
    """Return subject → how it is behind the case, according to the case's provenance."""
    drawer = f" {case.synthesizer}" if case.synthesizer else ""
    ways: dict[str, str] = {}
    for parent in case.parents:
        way = f"synthesizer{drawer} or mask source, which were fitted on it"
        ways |= dict.fromkeys(people.behind(parent) | {parent}, way)
    ways |= dict.fromkeys(people.behind(case.mask_id), f"mask {case.mask_id}")
    ways |= dict.fromkeys((case.subject_id, *people.behind(case.source_case)), "scan")
    return ways
