"""The subjects of a benchmark, and where its files lie."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lesionforge.benchmark.plan import Count, Plan, Split, Subjects
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.fingerprint import fingerprint
from lesionforge.cohort.splits import kfold, of_role, split_by_count, split_by_subject, take_subjects
from lesionforge.errors import ConfigError
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.scores.cases import score_case
from lesionforge.tasks.training_cases import annotated_cases

Number = int | float
"""Size of a training set: subjects, or a share of them (1.0 is all)."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A plan applied to a cohort.

    Attributes:
        plan: what is compared.
        train: size of the training set → its cases, with the plan's channels alone.
        development: cases on which choices are made.
        test: cases that are scored.
        preprocessing: size → what all synthesizers and arms of that size share, fitted on its training cases.
        absent: size → lesion classes that none of its training cases shows.
        out: the benchmark folder.
    """

    plan: Plan
    train: Mapping[Number, Cohort]
    development: Cohort
    test: Cohort
    preprocessing: Mapping[Number, Preprocessing]
    absent: Mapping[Number, tuple[str, ...]]
    out: Path

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels in use."""
        return self.test.channels

    def split(self) -> dict[str, list[str]]:
        """Return the case ids of every part, for ``split.json``."""
        parts = {f"train n{number:g}": cases for number, cases in self.train.items()}
        parts |= {"development": self.development, "test": self.test}
        return {name: [case.case_id for case in cases] for name, cases in parts.items()}

    def folder(self, number: Number, seed: int) -> Path:
        """Return where everything of one size and seed lies."""
        return self.out / "runs" / f"n{number:g}" / f"seed{seed}"

    def mask_generator_folder(self, number: Number, seed: int, name: str) -> Path:
        """Return where a mask generator lies."""
        return self.folder(number, seed) / "mask_generators" / name

    def model_folder(self, number: Number, seed: int, name: str) -> Path:
        """Return where a synthesizer lies."""
        return self.folder(number, seed) / "synthesizers" / name

    def selection_folder(self, number: Number, seed: int, name: str) -> Path:
        """Return where the choice among a synthesizer's candidates lies."""
        return self.folder(number, seed) / "selections" / name

    def cohort_folder(self, number: Number, seed: int, name: str) -> Path:
        """Return where a synthesizer's offline cases lie."""
        return self.folder(number, seed) / "cohorts" / name

    def targets_folder(self, number: Number, seed: int, name: str) -> Path:
        """Return where the healthy scans lie that a synthesizer draws into."""
        return self.folder(number, seed) / "targets" / name

    def arm_folder(self, number: Number, seed: int, arm: str, steps: int) -> Path:
        """Return where a trained arm and its scores lie."""
        return self.folder(number, seed) / "arms" / f"{arm}_{steps}"

    def pretraining_folder(self, number: Number, seed: int, arm: str, steps: int) -> Path:
        """Return where the network lies that an arm fine-tunes: that of the first arm with the same synthetic cases."""
        wanted = self.plan.arms[arm].model_copy(update={"real": None})
        same = (name for name, other in self.plan.arms.items() if other.model_copy(update={"real": None}) == wanted)
        return self.folder(number, seed) / "pretraining" / f"{next(same)}_{steps}"


def make_setting(plan: Plan, cohort: Cohort, roles: Mapping[str, Collection[str]], out: Path) -> Setting:
    """Split the subjects.

    Raises:
        ConfigError: if roles and shares are mixed, a role or a fold is not there, an arm wants more subjects than there
            are, or the primary score cannot be had.
        CohortError: if a part has no annotated case.
    """
    channels = plan.channels or cohort.channels
    cases = annotated_cases(cohort, channels)
    parts = _fold(plan.subjects, cases) if plan.subjects.folds else split_cases(plan.subjects, cases, roles)
    train = {number: take_subjects(parts["train"], number, plan.subjects.seed) for number in plan.subjects.numbers}
    for real in filter(None, {arm.real for arm in plan.arms.values()}):
        for cases in train.values():
            take_subjects(cases, real, plan.subjects.seed)
    facts = {number: fingerprint(cases, channels) for number, cases in train.items()}
    _check_primary(plan.primary, cohort, facts[plan.subjects.numbers[0]].spatial_dims)
    return Setting(
        plan=plan,
        train=train,
        development=parts["development"],
        test=parts["test"],
        preprocessing={
            number: Preprocessing.fit(fact, spatial_dims=plan.task.spatial_dims, spacing=plan.spacing)
            for number, fact in facts.items()
        },
        absent={number: fact.absent_classes for number, fact in facts.items()},
        out=out,
    )


def _fold(subjects: Subjects, cases: Cohort) -> dict[str, Cohort]:
    """Return the parts of one fold of a cross-validation, by name.

    Raises:
        ConfigError: if it is not said which, or there are fewer subjects than folds.
    """
    if subjects.folds is None or subjects.fold is None:
        raise ConfigError("subjects.folds", "does not say which fold", "name one, or use cross_validate")
    folds = kfold(cases, subjects.folds, subjects.seed)
    (rest, test), (others, development) = (folds[(subjects.fold + step) % subjects.folds] for step in (0, 1))
    ids = {case.case_id for case in others}
    train = rest.with_cases([case for case in rest if case.case_id in ids])
    return {"train": train, "development": development, "test": test}


def split_cases(subjects: Split, cases: Cohort, roles: Mapping[str, Collection[str]]) -> dict[str, Cohort]:
    """Return the parts of a split, by name.

    Raises:
        ConfigError: if roles, shares and numbers are mixed, a role is not there, or there are too few subjects.
    """
    named = {part: getattr(subjects, part) for part in ("train", "development", "test") if hasattr(subjects, part)}
    kinds = {type(value) for value in named.values()}
    if len(kinds) > 1:
        raise ConfigError("subjects", "mixes roles, shares and numbers", "give roles only, shares only or numbers only")
    if kinds == {str}:
        return {part: of_role(cases, roles, role) for part, role in named.items()}
    if kinds == {Count}:
        counts = {part: (count.lesion, count.lesion_free) for part, count in named.items()}
        return split_by_count(cases, counts, subjects.seed)
    return split_by_subject(cases, named, subjects.seed)


def _check_primary(primary: str, cohort: Cohort, spatial_dims: int) -> None:
    """Raise ``ConfigError`` for a score that these classes and dimensions do not have."""
    nothing = np.zeros((1,) * spatial_dims, np.int16)
    known = score_case(nothing, nothing, (1.0,) * spatial_dims, cohort.labels)
    if primary not in known:
        what = f"{primary!r} is not a score of {cohort.name}"
        raise ConfigError("primary", what, f"choose from {', '.join(known)}")
