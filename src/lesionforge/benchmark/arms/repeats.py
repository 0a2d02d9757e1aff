"""The training sets of a study of arms, what is trained on each, and where its files lie."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from lesionforge.benchmark.arms.choice import Choice
from lesionforge.benchmark.plan import Arm, Plan
from lesionforge.benchmark.split import fold_cases, split_cases
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.inspection.fingerprint import fingerprint
from lesionforge.cohort.people import People
from lesionforge.cohort.splits import nested_sets
from lesionforge.errors import ConfigError, choose_from
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.seeding import derive_seed
from lesionforge.tasks.base import TaskConfig
from lesionforge.training.loop import TrainingConfig

TrainSize = int | float
"""Size of a training set: subjects, or a share of them (1.0 is all)."""


@dataclass(frozen=True, kw_only=True)
class Arms:
    """A plan of arms applied to a cohort.

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
    train: Mapping[tuple[TrainSize, int], Cohort]
    development: Cohort
    test: Cohort
    preprocessing: Mapping[tuple[TrainSize, int], Preprocessing]
    absent: Mapping[tuple[TrainSize, int], tuple[str, ...]]
    choices: Mapping[TrainSize, Choice] = field(default_factory=dict)
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
    def whole(self) -> TrainSize:
        """The size of the whole pool, as the plan counts: subjects, or 1.0 where it names shares."""
        return 1.0 if isinstance(self.plan.subjects.numbers[0], float) else len(self.pool.subjects)

    @property
    def sizes(self) -> list[TrainSize]:
        """The sizes of the training set at which the baseline is trained: the plan's, and the whole pool."""
        return list(dict.fromkeys((*self.plan.subjects.numbers, self.whole)))

    @property
    def repeats(self) -> list[Repeat]:
        """Every size of the plan with every seed."""
        return [self.repeat(size, seed) for size in self.plan.subjects.numbers for seed in self.plan.seeds]

    @property
    def references(self) -> list[Repeat]:
        """The whole pool with every seed."""
        return [self.repeat(self.whole, seed) for seed in self.plan.seeds]

    def repeat(self, train_size: TrainSize, seed: int) -> Repeat:
        """Return one size of the training set with one seed."""
        return Repeat(study=self, train_size=train_size, seed=seed)

    def draw(self, seed: int) -> int:
        """Return which draw of the training subjects a seed trains on, counted from 0."""
        return self.plan.seeds.index(seed) % (self.plan.subjects.draws or len(self.plan.seeds))

    def draw_seed(self, seed: int) -> int:
        """Return the seed of the draw of training subjects that a training seed takes."""
        return derive_seed(self.plan.subjects.seed, "draw", self.draw(seed))

    def choice(self, train_size: TrainSize) -> Choice:
        """Return the options that the arms of one size share."""
        return self.choices.get(train_size, Choice.of(self.plan))

    def task_of(self, train_size: TrainSize, arm: str) -> TaskConfig:
        """Return the network of an arm: the plan's, with what the search found for its size."""
        return self.choice(train_size).applied(self.plan.task_of(arm), self.plan, arm)


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """One size of the training set with one seed: everything that is fitted and trained on it.

    Attributes:
        study: it is part of.
        train_size: subjects, or the share of them.
        seed: of all that is fitted and trained.
    """

    study: Arms
    train_size: TrainSize
    seed: int

    @property
    def plan(self) -> Plan:
        """What is compared."""
        return self.study.plan

    @property
    def train(self) -> Cohort:
        """The training cases."""
        return self.study.train[self.train_size, self.seed]

    @property
    def preprocessing(self) -> Preprocessing:
        """Fitted on the training cases."""
        return self.study.preprocessing[self.train_size, self.seed]

    @property
    def subjects_seed(self) -> int:
        """What decides which subjects are trained on."""
        return self.study.draw_seed(self.seed)

    @property
    def name(self) -> str:
        """Its folder below ``runs``."""
        return f"n{self.train_size:g}/seed{self.seed}"

    @property
    def folder(self) -> Path:
        """Where everything of it lies."""
        return self.study.out / "runs" / self.name

    def __str__(self) -> str:
        return f"n = {self.train_size:g}, seed {self.seed}"

    def mask_generator_folder(self, name: str) -> Path:
        """Return where a mask generator lies."""
        return self.folder / "mask_generators" / name

    def model_folder(self, name: str) -> Path:
        """Return where a synthesizer lies."""
        return self.folder / "synthesizers" / name

    def selection_folder(self, name: str) -> Path:
        """Return where the choice among a synthesizer's candidates lies."""
        return self.folder / "selections" / name

    def cohort_folder(self, name: str) -> Path:
        """Return where a synthesizer's offline cases lie."""
        return self.folder / "cohorts" / name

    def targets_folder(self, name: str) -> Path:
        """Return where the healthy scans lie that a synthesizer draws into."""
        return self.folder / "targets" / name

    def training(self, arm: str, steps: int) -> ArmTraining:
        """Return the training of an arm on it."""
        return ArmTraining(repeat=self, name=arm, steps=steps)


@dataclass(frozen=True, kw_only=True)
class ArmTraining:
    """One training of an arm.

    Attributes:
        repeat: the training set and the seed.
        name: of the arm.
        steps: optimiser steps, those of pretraining among them.
    """

    repeat: Repeat
    name: str
    steps: int

    @property
    def study(self) -> Arms:
        """The study it is part of."""
        return self.repeat.study

    @property
    def arm(self) -> Arm:
        """What is trained on."""
        return self.study.plan.arms[self.name]

    @property
    def task(self) -> TaskConfig:
        """The network."""
        return self.study.task_of(self.repeat.train_size, self.name)

    @property
    def suffix(self) -> str:
        """What the folder's name says beyond the arm's: steps, and options that a search found."""
        return f"{self.steps}{self.study.choice(self.repeat.train_size).suffix(self.study.plan)}"

    @property
    def folder(self) -> Path:
        """Where the trained arm and its scores lie."""
        return self.repeat.folder / "arms" / f"{self.name}_{self.suffix}"

    @cached_property
    def pretraining_folder(self) -> Path:
        """Where the network lies that is fine-tuned: that of the first arm with the same synthetic cases."""
        arms = self.study.plan.arms
        wanted = self.arm.model_copy(update={"real": None})
        first = next(name for name, arm in arms.items() if arm.model_copy(update={"real": None}) == wanted)
        return self.repeat.folder / "pretraining" / f"{first}_{self.suffix}"

    def options(self, steps: int) -> TrainingConfig:
        """Return length, batch size and seed of a training of so many steps."""
        batch_size = self.study.choice(self.repeat.train_size).batch_size
        changes = {"seed": self.repeat.seed, "steps": steps, "batch_size": batch_size}
        return self.study.plan.training.model_copy(update=changes)


def make_arms(plan: Plan, cohort: Cohort, roles: Mapping[str, Collection[str]], out: Path) -> Arms:
    """Split the subjects, and draw the training sets.

    Raises:
        ConfigError: if roles and shares are mixed, a role or a fold is not there, an arm wants more subjects than there
            are, or the primary score cannot be had.
        CohortError: if a part has no annotated case.
    """
    channels = plan.channels or cohort.channels
    cases = plan.task_class.cases(cohort, channels)
    parts = fold_cases(plan.subjects, cases) if plan.subjects.folds else split_cases(plan.subjects, cases, roles)
    study = Arms(
        plan=plan,
        pool=parts["train"],
        train={},
        development=parts["development"],
        test=parts["test"],
        preprocessing={},
        absent={},
        out=out,
    )
    sets = _training_sets(study)
    ids = {key: tuple(case.case_id for case in cases) for key, cases in sets.items()}
    distinct = {ids[key]: cases for key, cases in sets.items()}
    facts = {of: fingerprint(cases, channels) for of, cases in distinct.items()}
    known = plan.task_class.score_names(next(iter(facts.values())).spatial_dims, cohort.labels)
    if plan.primary not in known:
        raise ConfigError("primary", f"{plan.primary!r} is not a score of {cohort.name}", choose_from(known))
    fitted = {
        of: Preprocessing.fit(fact, spatial_dims=plan.task.spatial_dims, spacing=plan.spacing, intensity=plan.intensity)
        for of, fact in facts.items()
    }
    return replace(
        study,
        train=sets,
        preprocessing={key: fitted[of] for key, of in ids.items()},
        absent={key: facts[of].absent_classes for key, of in ids.items()},
    )


def _training_sets(study: Arms) -> dict[tuple[TrainSize, int], Cohort]:
    """Return size and seed → training cases.

    Raises:
        ConfigError: if a size, or an arm, wants more subjects than there are.
    """
    plan, sets = study.plan, dict[tuple[TrainSize, int], Cohort]()
    few = set(filter(None, (arm.real for arm in plan.arms.values())))
    for seed in plan.seeds:
        nested = nested_sets(study.pool, (*plan.subjects.numbers, study.whole), study.draw_seed(seed))
        sets |= {(size, seed): cases for size, cases in nested.items()}
        for size in plan.subjects.numbers:
            nested_sets(nested[size], few, study.draw_seed(seed))
    return sets
