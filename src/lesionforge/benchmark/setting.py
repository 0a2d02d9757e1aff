"""The subjects of a benchmark, and where its files lie."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from lesionforge.benchmark.arms.choice import Choice
from lesionforge.benchmark.plan import Count, Plan, Split, Subjects
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.inspection.fingerprint import fingerprint
from lesionforge.cohort.leaks import checked_split
from lesionforge.cohort.people import People
from lesionforge.cohort.splits import kfold, nested_sets, of_role, split_by_count, split_by_subject
from lesionforge.errors import ConfigError, choose_from
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.scores.predictions.case_scores import score_case
from lesionforge.seeding import derive_seed
from lesionforge.tasks.segmentation.segmentation_config import SegmentationConfig
from lesionforge.tasks.segmentation.training_cases import annotated_cases
from lesionforge.training.loop import TrainingConfig

Number = int | float
"""Size of a training set: subjects, or a share of them (1.0 is all)."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A plan applied to a cohort.

    Attributes:
        plan: what is compared.
        pool: all cases that may be trained on, with the plan's channels alone.
        train: size of the training set and seed → its cases. The size of the whole pool is among them, for the
            reference.
        development: cases on which choices are made.
        test: cases that are scored.
        preprocessing: size and seed → what all synthesizers and arms of that training set share, fitted on its cases.
        absent: size and seed → lesion classes that none of its training cases shows.
        choices: size → options that a search found for the baseline; the plan's own where there was none.
        out: the benchmark folder.
    """

    plan: Plan
    pool: Cohort
    train: Mapping[tuple[Number, int], Cohort]
    development: Cohort
    test: Cohort
    preprocessing: Mapping[tuple[Number, int], Preprocessing]
    absent: Mapping[tuple[Number, int], tuple[str, ...]]
    choices: Mapping[Number, Choice] = field(default_factory=dict)
    out: Path

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels in use."""
        return self.test.channels

    @property
    def held_out(self) -> frozenset[str]:
        """Everybody who is tested or chosen on, and whom these descend from."""
        return self.test.ancestry | self.development.ancestry

    @property
    def people(self) -> People:
        """Finds the subjects of all parts."""
        return People((*self.pool, *self.development, *self.test), self.held_out)

    @property
    def whole(self) -> Number:
        """The size of the whole pool."""
        return whole_of(self.plan, self.pool)

    def draw(self, seed: int) -> int:
        """Return which draw of the training subjects a seed trains on, counted from 0."""
        return self.plan.seeds.index(seed) % (self.plan.subjects.draws or len(self.plan.seeds))

    def draw_seed(self, seed: int) -> int:
        """Return the seed of the draw of training subjects that a training seed takes."""
        return derive_seed(self.plan.subjects.seed, "draw", self.draw(seed))

    def choice(self, number: Number) -> Choice:
        """Return the options that the arms of one size share."""
        return self.choices.get(number, Choice.of(self.plan))

    def task_of(self, number: Number, arm: str) -> SegmentationConfig:
        """Return the segmentation network of an arm: the plan's, with what the search found for its size."""
        own = self.plan.task_of(arm)
        return self.choice(number).applied(own, self.plan, arm)

    def training_of(self, number: Number, *, seed: int, steps: int) -> TrainingConfig:
        """Return length, batch size and seed of one training of an arm."""
        changes = {"seed": seed, "steps": steps, "batch_size": self.choice(number).batch_size}
        return self.plan.training.model_copy(update=changes)

    def split(self) -> dict[str, list[str]]:
        """Return the case ids of every part, for ``split.json``."""
        numbers, sets = self.plan.subjects.numbers, self.train.items()
        parts = {f"train n{number:g} draw{self.draw(seed)}": of for (number, seed), of in sets if number in numbers}
        parts |= {"pool": self.pool, "development": self.development, "test": self.test}
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
        """Return where a trained arm and its scores lie; options that a search found are part of the name."""
        return self.folder(number, seed) / "arms" / f"{arm}_{steps}{self.choice(number).suffix(self.plan)}"

    def pretraining_folder(self, number: Number, seed: int, arm: str, steps: int) -> Path:
        """Return where the network lies that an arm fine-tunes: that of the first arm with the same synthetic cases."""
        wanted = self.plan.arms[arm].model_copy(update={"real": None})
        same = (name for name, other in self.plan.arms.items() if other.model_copy(update={"real": None}) == wanted)
        name = f"{next(same)}_{steps}{self.choice(number).suffix(self.plan)}"
        return self.folder(number, seed) / "pretraining" / name


def whole_of(plan: Plan, pool: Cohort) -> Number:
    """Return the size of the whole pool, as the plan counts: subjects, or 1.0 where it names shares."""
    return 1.0 if isinstance(plan.subjects.numbers[0], float) else len(pool.subjects)


def make_setting(plan: Plan, cohort: Cohort, roles: Mapping[str, Collection[str]], out: Path) -> Setting:
    """Split the subjects, and draw the training sets.

    Raises:
        ConfigError: if roles and shares are mixed, a role or a fold is not there, an arm wants more subjects than there
            are, or the primary score cannot be had.
        CohortError: if a part has no annotated case.
    """
    channels = plan.channels or cohort.channels
    cases = annotated_cases(cohort, channels)
    parts = _fold(plan.subjects, cases) if plan.subjects.folds else split_cases(plan.subjects, cases, roles)
    setting = Setting(
        plan=plan,
        pool=parts["train"],
        train={},
        development=parts["development"],
        test=parts["test"],
        preprocessing={},
        absent={},
        out=out,
    )
    sets = _training_sets(setting)
    ids = {key: tuple(case.case_id for case in cases) for key, cases in sets.items()}
    distinct = {ids[key]: cases for key, cases in sets.items()}
    facts = {of: fingerprint(cases, channels) for of, cases in distinct.items()}
    _check_primary(plan.primary, cohort, next(iter(facts.values())).spatial_dims)
    fitted = {
        of: Preprocessing.fit(fact, spatial_dims=plan.task.spatial_dims, spacing=plan.spacing, intensity=plan.intensity)
        for of, fact in facts.items()
    }
    return replace(
        setting,
        train=sets,
        preprocessing={key: fitted[of] for key, of in ids.items()},
        absent={key: facts[of].absent_classes for key, of in ids.items()},
    )


def _training_sets(setting: Setting) -> dict[tuple[Number, int], Cohort]:
    """Return size and seed → training cases.

    Raises:
        ConfigError: if a size, or an arm, wants more subjects than there are.
    """
    plan, sets = setting.plan, dict[tuple[Number, int], Cohort]()
    few = set(filter(None, (arm.real for arm in plan.arms.values())))
    for seed in plan.seeds:
        nested = nested_sets(setting.pool, (*plan.subjects.numbers, setting.whole), setting.draw_seed(seed))
        sets |= {(number, seed): cases for number, cases in nested.items()}
        for number in plan.subjects.numbers:
            nested_sets(nested[number], few, setting.draw_seed(seed))
    return sets


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
        return split_by_count(cases, counts, subjects.seed)
    return split_by_subject(cases, named, subjects.seed)


def _check_primary(primary: str, cohort: Cohort, spatial_dims: int) -> None:
    """Raise ``ConfigError`` for a score that these classes and dimensions do not have."""
    nothing = np.zeros((1,) * spatial_dims, np.int16)
    known = score_case(nothing, nothing, (1.0,) * spatial_dims, cohort.labels)
    if primary not in known:
        what = f"{primary!r} is not a score of {cohort.name}"
        raise ConfigError("primary", what, choose_from(known))
