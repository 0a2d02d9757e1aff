"""Splits a cohort into training, development and test cases."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from lesionforge.benchmark.plan import Count, Split, Subjects
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.leaks import checked_split
from lesionforge.cohort.splits import kfold, of_role, split_by_count, split_by_subject
from lesionforge.errors import ConfigError


def fold_cases(subjects: Subjects, cases: Cohort) -> dict[str, Cohort]:
    """Return the training, development and test cases of one fold of a cross-validation.

    Raises:
        ConfigError: if ``subjects`` does not name a fold, or there are fewer subjects than folds.
    """
    if subjects.folds is None or subjects.fold is None:
        raise ConfigError("subjects.folds", "does not say which fold", "name one in subjects.fold")
    folds = kfold(cases, subjects.folds, subjects.seed)
    (rest, test), (others, development) = (folds[(subjects.fold + step) % subjects.folds] for step in (0, 1))
    ids = {case.case_id for case in others}
    train = rest.with_cases([case for case in rest if case.case_id in ids])
    return {"train": train, "development": development, "test": test}


def split_cases(subjects: Split, cases: Cohort, roles: Mapping[str, Collection[str]]) -> dict[str, Cohort]:
    """Return part name → cases for a split by roles, shares or numbers.

    Raises:
        ConfigError: if roles, shares and numbers are mixed, a role is missing, or there are too few subjects.
        LeakError: if two parts hold the same image.
    """
    named = {part: getattr(subjects, part) for part in ("train", "development", "test") if hasattr(subjects, part)}
    kinds = {type(value) for value in named.values()}
    if len(kinds) > 1:
        raise ConfigError("subjects", "mixes roles, shares and numbers", "give roles only, shares only or numbers only")
    if kinds == {str}:
        parts = {part: of_role(cases, roles, role) for part, role in named.items()}
        checked_split(parts)
        return parts
    if kinds == {Count}:
        counts = {part: (count.lesion, count.lesion_free) for part, count in named.items()}
        return split_by_count(cases, counts, subjects.seed, stratified=subjects.stratified)
    return split_by_subject(cases, named, subjects.seed, stratified=subjects.stratified)
