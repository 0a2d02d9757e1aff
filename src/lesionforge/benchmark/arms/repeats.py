"""The training sets of a study of arms, the models trained on each, and the folders of their files."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from lesionforge.benchmark.arm_plan import Arm
from lesionforge.benchmark.arms.choice import Choice
from lesionforge.benchmark.plan import Plan
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

AUDITS = "audits"
TrainSize = int | float
"""Training-set size: a number of subjects, or a share of the pool (1.0 is all)."""


@dataclass(frozen=True, kw_only=True)
class Arms:
    """A plan of arms applied to a cohort.

    Attributes:
        plan: the plan.
        pool: all cases available for training, with only the plan's channels.
        train: (training-set size, seed) → training cases; includes the size of the whole pool, for the reference.
        development: cases used for decisions.
        test: cases that are scored.
        preprocessing: (size, seed) → preprocessing fitted on that training set and shared by its synthesizers and arms.
        absent: (size, seed) → lesion classes that are missing from that training set.
        choices: size → options that the search chose for the baseline; sizes without an entry use the plan's options.
        left_out: (size, arm) → why the arm is not trained at this size.
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
    left_out: Mapping[tuple[TrainSize, str], str] = field(default_factory=dict)
    out: Path

    @property
    def channels(self) -> tuple[str, ...]:
        """The image channels in use."""
        return self.test.channels

    @property
    def held_out(self) -> frozenset[str]:
        """All test and development subjects and their ancestors."""
        return self.test.ancestry | self.development.ancestry

    @property
    def people(self) -> People:
        """Index that finds the subjects of all parts."""
        return People((*self.pool, *self.development, *self.test), self.held_out)

    @property
    def whole(self) -> TrainSize:
        """The size of the whole pool in the plan's unit: number of subjects, or 1.0 if the plan names shares."""
        return 1.0 if isinstance(self.plan.subjects.numbers[0], float) else len(self.pool.subjects)

    @property
    def sizes(self) -> list[TrainSize]:
        """The training-set sizes at which the baseline is trained: those of the plan, and the whole pool."""
        return list(dict.fromkeys((*self.plan.subjects.numbers, self.whole)))

    @property
    def repeats(self) -> list[Repeat]:
        """Every combination of the plan's sizes and seeds."""
        return [self.repeat(size, seed) for size in self.plan.subjects.numbers for seed in self.plan.seeds]

    @property
    def references(self) -> list[Repeat]:
        """The whole pool, with every seed."""
        return [self.repeat(self.whole, seed) for seed in self.plan.seeds]

    @property
    def shown(self) -> Repeat:
        """The largest training set of the plan with the first seed, which figures show and audits judge."""
        return self.repeat(max(self.plan.subjects.numbers), self.plan.seeds[0])

    def repeat(self, train_size: TrainSize, seed: int) -> Repeat:
        """Return one training-set size with one seed."""
        return Repeat(study=self, train_size=train_size, seed=seed)

    def training_set(self, seed: int) -> int:
        """Return the index, from 0, of the random training set that a seed uses."""
        return self.plan.seeds.index(seed) % (self.plan.subjects.training_sets or len(self.plan.seeds))

    def training_set_seed(self, seed: int) -> int:
        """Return the seed that selects the training subjects for a training seed."""
        return derive_seed(self.plan.subjects.seed, "draw", self.training_set(seed))

    def choice(self, train_size: TrainSize) -> Choice:
        """Return the options shared by the arms at one size."""
        return self.choices.get(train_size, Choice.of(self.plan))

    def task_of(self, train_size: TrainSize, arm: str) -> TaskConfig:
        """Return the task options of an arm: those of the plan, updated with the search's choice for this size."""
        return self.choice(train_size).applied(self.plan.task_of(arm), self.plan, arm)


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """One training-set size with one seed: everything that is fitted and trained on this training set.

    Attributes:
        study: the study.
        train_size: number of training subjects, or share of the pool.
        seed: seed of everything that is fitted and trained.
    """

    study: Arms
    train_size: TrainSize
    seed: int

    @property
    def plan(self) -> Plan:
        """The plan."""
        return self.study.plan

    @property
    def train(self) -> Cohort:
        """The training cases."""
        return self.study.train[self.train_size, self.seed]

    @property
    def arms(self) -> dict[str, Arm]:
        """The arms that are trained on this training set: all but those that are left out at its size."""
        return {name: arm for name, arm in self.plan.arms.items() if (self.train_size, name) not in self.study.left_out}

    @property
    def preprocessing(self) -> Preprocessing:
        """The preprocessing, fitted on the training cases."""
        return self.study.preprocessing[self.train_size, self.seed]

    def training_of(self, ingredient: TrainingConfig) -> TrainingConfig:
        """Return how a generator is trained: with this seed, and on the plan's device unless it names its own."""
        return ingredient.or_device(self.plan.training.device).model_copy(update={"seed": self.seed})

    @property
    def subjects_seed(self) -> int:
        """The seed that selects the training subjects."""
        return self.study.training_set_seed(self.seed)

    @property
    def name(self) -> str:
        """Path of its folder below ``runs``."""
        return f"n{self.train_size:g}/seed{self.seed}"

    @property
    def folder(self) -> Path:
        """Folder of all its files."""
        return self.study.out / "runs" / self.name

    def __str__(self) -> str:
        return f"n = {self.train_size:g}, seed {self.seed}"

    def mask_generator_folder(self, name: str) -> Path:
        """Return the folder of a mask generator."""
        return self.folder / "mask_generators" / name

    def model_folder(self, name: str) -> Path:
        """Return the folder of a synthesizer; those that are fitted alike share the folder of the first."""
        return self.folder / "synthesizers" / self.plan.fitted_as(name)

    def selection_folder(self, name: str) -> Path:
        """Return the folder of the selection among a synthesizer's candidates."""
        return self.folder / "selections" / self.plan.fitted_as(name)

    def cohort_folder(self, name: str) -> Path:
        """Return the folder of a synthesizer's offline cases."""
        return self.folder / "cohorts" / name

    def audit_folder(self, name: str) -> Path:
        """Return the folder of the audit of a synthesizer's offline cases."""
        return self.folder / AUDITS / name

    def judged_folder(self, name: str) -> Path:
        """Return the folder of the scores that segmentation networks give a synthesizer's offline cases."""
        return self.folder / "judged" / name

    def targets_folder(self, name: str) -> Path:
        """Return the folder of the matched lesion-free scans that a synthesizer draws into."""
        return self.folder / "targets" / name

    def training(self, arm: str, steps: int) -> ArmTraining:
        """Return the training run of an arm on this training set."""
        return ArmTraining(repeat=self, name=arm, steps=steps)


@dataclass(frozen=True, kw_only=True)
class ArmTraining:
    """One training run of an arm.

    Attributes:
        repeat: the training-set size and seed.
        name: name of the arm.
        steps: optimiser steps, including those of pretraining.
    """

    repeat: Repeat
    name: str
    steps: int

    def __str__(self) -> str:
        """Return the arm, the options that a search chose for it, if any, the training-set size and the seed."""
        chosen = self.study.choice(self.repeat.train_size).suffix(self.study.plan).removeprefix("_")
        return f"{self.name}{f' ({chosen})' if chosen else ''}, {self.repeat}"

    @property
    def study(self) -> Arms:
        """The study."""
        return self.repeat.study

    @property
    def arm(self) -> Arm:
        """The arm's part of the plan."""
        return self.study.plan.arms[self.name]

    @property
    def task(self) -> TaskConfig:
        """The task options, such as the network."""
        return self.study.task_of(self.repeat.train_size, self.name)

    @property
    def suffix(self) -> str:
        """Folder-name suffix after the arm's name: the steps, and the options that a search chose."""
        return f"{self.steps}{self.study.choice(self.repeat.train_size).suffix(self.study.plan)}"

    @property
    def folder(self) -> Path:
        """Folder of the trained arm and its scores."""
        return self.repeat.folder / "arms" / f"{self.name}_{self.suffix}"

    @cached_property
    def pretraining_folder(self) -> Path:
        """Folder of the pretrained network; arms with the same synthetic cases share that of the first such arm."""
        arms = self.study.plan.arms
        wanted = self.arm.model_copy(update={"real": None})
        first = next(name for name, arm in arms.items() if arm.model_copy(update={"real": None}) == wanted)
        return self.repeat.folder / "pretraining" / f"{first}_{self.suffix}"

    def options(self, steps: int) -> TrainingConfig:
        """Return the training options for a run of ``steps`` steps."""
        batch_size = self.study.choice(self.repeat.train_size).batch_size
        changes = {"seed": self.repeat.seed, "steps": steps, "batch_size": batch_size}
        return self.study.plan.training.model_copy(update=changes)


def make_arms(plan: Plan, cohort: Cohort, roles: Mapping[str, Collection[str]], out: Path) -> Arms:
    """Split the subjects and select the training sets.

    Raises:
        ConfigError: if roles, shares and numbers are mixed, a role or fold is missing, a size needs more subjects than
            exist, or the primary score is not available for this cohort.
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
    """Return (size, seed) → training cases.

    Raises:
        ConfigError: if a size needs more subjects than exist.
    """
    plan, sets = study.plan, dict[tuple[TrainSize, int], Cohort]()
    for seed in plan.seeds:
        nested = nested_sets(study.pool, (*plan.subjects.numbers, study.whole), study.training_set_seed(seed))
        sets |= {(size, seed): cases for size, cases in nested.items()}
    return sets
