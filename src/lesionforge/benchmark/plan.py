"""The plan of a benchmark: which arms are compared, on which subjects, and with how much training."""

from __future__ import annotations

import re
from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PositiveFloat, SerializeAsAny, field_serializer, field_validator, model_validator

from lesionforge.benchmark.arm_plan import Arm, MaskGeneratorPlan, Part, SynthesizerPlan
from lesionforge.benchmark.plan_file import plan_content
from lesionforge.config import IntensityName, laid_over, parse_options
from lesionforge.errors import ConfigError, choose_from
from lesionforge.scores.registry import TASK_SCORES, is_score
from lesionforge.synthesizers.registry import SYNTHESIZERS
from lesionforge.tasks.base import Task, TaskConfig
from lesionforge.tasks.registry import TASKS
from lesionforge.tasks.segmentation.segmentation_task import SegmentationTask
from lesionforge.training.loop import TrainingConfig

SEGMENTATION = "segmentation"
"""The task of a plan that names none."""
NAME = r"[\w.+-]+"
"""Pattern for names of arms, synthesizers, mask generators and methods, which become folder names."""


class Count(Part):
    """Numbers of subjects.

    Attributes:
        lesion: number of subjects with a lesion.
        lesion_free: number of subjects without a lesion.
    """

    lesion: int = Field(default=0, ge=0)
    lesion_free: int = Field(default=0, ge=0)


class Split(Part):
    """Training and test subjects, given as roles in ``roles.json``, or as shares or numbers of a random split.

    Attributes:
        train: role, share or number of the training subjects, such as ``pool``, ``0.5`` or ``{lesion: 365, lesion_free:
            2027}``.
        test: role, share or number of the test subjects.
        seed: seed of the random split.
        stratified: whether the split is random and stratified by lesion load; otherwise training subjects come first
            in the order of the cases, as in Shin et al. 2018 (the first 80 % for training). Parts then differ in
            whatever the cases are sorted by, there the grade of the tumours.
    """

    train: str | float | Count = "pool"
    test: str | float | Count = "final"
    seed: int = 0
    stratified: bool = True


class Subjects(Split):
    """Training, development and test subjects.

    Attributes:
        train: role, share or number of the subjects in the training pool.
        development: role, share or number of the subjects used for decisions, such as the control of the training
            length.
        numbers: training-set sizes: either numbers of subjects or shares of the pool (1.0 is all), not both. An arm
            that cannot be trained at a size, such as ``carvemix`` on one case, is left out there, as the report says.
        training_sets: number of different random training sets per size; the seeds take them in turn, and a smaller
            set is a subset of the larger. By default each seed has its own. With fewer sets than seeds, the
            report can separate the effect of the training set from that of training itself; 1 trains all seeds on the
            same subjects.
        seed: seed of the split and of the random training sets.
        stratified: whether the split is random and stratified by lesion load; see :class:`Split`.
        folds: number of folds of a cross-validation over all subjects, which replaces the three parts above: each fold
            is the test set once, the next fold is the development set, and the others form the training pool.
        fold: run only this fold, counted from 0.
    """

    folds: int | None = Field(default=None, ge=3)
    fold: int | None = Field(default=None, ge=0)
    development: str | float | Count = "development"
    numbers: tuple[int | float, ...] = Field(default=(8,), min_length=1)
    training_sets: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _fold_is_there(self) -> Self:
        if self.fold is not None and (self.folds is None or self.fold >= self.folds):
            raise ValueError(f"fold {self.fold} does not exist: {self.folds or 0} folds are numbered from 0")
        return self


class Control(Part):
    """Guards against undertrained arms: at each size, training one arm for twice the steps must no longer improve it.

    Attributes:
        arm: name of the arm to check; the baseline by default. With another arm the baseline may be undertrained, which
            the report says.
        tolerance: gain in the primary score on development subjects, in the unit that reports show, below which the arm
            counts as fully trained.
        max_steps: maximum number of steps of any arm.
    """

    arm: str | None = None
    tolerance: float = 1.0
    max_steps: int = 10_000


class Tune(Part):
    """A small hyperparameter search for the baseline, on development subjects, before the arms are compared.

    The options are tried one after the other, and the best value so far is kept: first the augmentation, then the
    learning rate, then the batch size. While the best learning rate or batch size is the largest or the smallest that
    was tried, further ones are. The other arms inherit the learning rate and the batch size, and also the augmentation
    if theirs equals the baseline's.

    Attributes:
        augment: augmentations to try besides the baseline's own.
        learning_rate: factors of the plan's learning rate to try.
        batch_size: factors of the plan's batch size to try.
        further: largest number of further learning rates, and of batch sizes, beyond those factors.
        number: training-set size at which to search; the result is used for all sizes. By default each size has its own
            search.
        seeds: number of the plan's seeds, counted from the first, used for each trial; all by default.
    """

    augment: tuple[str, ...] = ("none", "classical", "ct")
    learning_rate: tuple[PositiveFloat, ...] = (1 / 3, 3.0)
    batch_size: tuple[PositiveFloat, ...] = (2.0,)
    further: int = Field(default=2, ge=0)
    number: int | float | None = Field(default=None, gt=0)
    seeds: int | None = Field(default=None, ge=1)


class Plan(Part):
    """The content of ``plan.yaml``.

    Attributes:
        name: title of the report.
        channels: image channels; all channels of the cohort by default.
        subjects: the split into training, development and test subjects.
        spacing: voxel spacing in mm per axis at which synthesizers and networks work; the median of the training cases
            by default. Scores are computed on the original grids of the scans.
        intensity: intensity normalisation for synthesizers and networks, see :class:`~lesionforge.config.ScanConfig`.
        task: the task, ``method: segmentation`` by default, and its options; its augmentation is set per arm.
        training: training steps, batch size and device of every arm; the seeds are those of the plan.
        seeds: seeds; each repeats everything, including the training of the synthesizers.
        mask_generators: name → mask generator to train.
        synthesizers: name → synthesizer to fit.
        arms: name → composition of the training set.
        baseline: name of the arm that the others are compared with.
        primary: name of the primary score, declared beforehand; by default the one that the task logs in training.
        arm: name of the primary arm, declared beforehand; its comparison with the baseline is the verdict. Without it,
            the verdict lists all arms.
        against: further arms that ``arm`` is compared with, declared beforehand, besides the baseline; as a mean over
            the sizes of the training set.
        tune: hyperparameter search for the baseline, or ``None``.
        control: control of the training length; without it the report states that the baseline may be undertrained.
        budget: ``steps`` trains every arm for the same number of steps; ``paper`` uses the epochs of Platscher et al.
            2020: 500 on real cases, 300 if synthetic cases are included, 150 for fine-tuning.
        learning_curves: interval in steps at which the Dice of every arm on its training cases and on the test cases is
            logged. The report shows these curves; no decision uses them. ``None`` saves the time.
        in_plane: compute HD95 within slices, for cohorts with uncertain slice spacing.
        examples: number of test cases shown in the report.
        scales: name → changes to this plan, such as ``cpu`` and ``paper``.
    """

    name: str = "benchmark"
    channels: tuple[str, ...] | None = None
    subjects: Subjects = Subjects()
    spacing: tuple[PositiveFloat, ...] | None = None
    intensity: IntensityName = "head"
    task: SerializeAsAny[TaskConfig] = Field(default_factory=lambda: parse_task({}))
    training: TrainingConfig = TrainingConfig()
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    mask_generators: dict[str, MaskGeneratorPlan] = Field(default={})
    synthesizers: dict[str, SynthesizerPlan] = Field(default={})
    arms: dict[str, Arm]
    baseline: str
    primary: str = "dice"
    arm: str | None = None
    against: tuple[str, ...] = ()
    tune: Tune | None = None
    control: Control | None = None
    budget: Literal["steps", "paper"] = "steps"
    learning_curves: int | None = Field(default=None, ge=1)
    in_plane: bool = False
    examples: int = 4
    scales: dict[str, dict[str, Any] | None] = Field(default={})

    @classmethod
    def defaults(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the defaults; the options of the task and the primary score depend on which task it is."""
        task = given.get("task")
        if isinstance(task, TaskConfig):
            return super().defaults(given) | {"primary": task_of_options(task).watched_score}
        name = task.get("method", SEGMENTATION) if isinstance(task, Mapping) else SEGMENTATION
        if name not in TASKS:
            return super().defaults(given)
        return super().defaults(given) | {
            "task": parse_task({"method": name}),
            "primary": TASKS[name].watched_score,
        }

    @property
    def cross_validated(self) -> bool:
        """Whether every fold is the test set in turn."""
        return self.subjects.folds is not None and self.subjects.fold is None

    def fitted_as(self, synthesizer: str) -> str:
        """Return the first synthesizer that is fitted in the same way; they share one model, and may draw otherwise."""
        fitting = attrgetter("method", "options", "training", "selection")
        own = fitting(self.synthesizers[synthesizer])
        return next(name for name, other in self.synthesizers.items() if fitting(other) == own)

    def task_of(self, arm: str) -> TaskConfig:
        """Return the options of an arm's segmentation network.

        Raises:
            ConfigError: if one of the arm's own options is unknown or out of range.
        """
        own = {**self.arms[arm].task, "augment": self.arms[arm].augment}
        return parse_options(type(self.task), laid_over(self.task, own))

    @property
    def task_class(self) -> type[Task]:
        """Class of the task that is trained and scored."""
        return task_of_options(self.task)

    @field_validator("task", mode="before")
    @classmethod
    def _task_of_its_kind(cls, given: Any) -> Any:
        return parse_task(given) if isinstance(given, Mapping) else given

    @field_serializer("task")
    def _task_with_its_name(self, task: TaskConfig) -> dict[str, Any]:
        return {"method": self.task_class.method, **task.model_dump(mode="json")}

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        for given in (*self.arms, *self.synthesizers, *self.mask_generators):
            if not re.fullmatch(NAME, given):
                raise ValueError(f"{given!r} cannot be a name: use letters, digits, _, -, + and . only")
        for what, values in (("seeds", self.seeds), ("subjects.numbers", self.subjects.numbers)):
            if len(set(values)) < len(values):
                raise ValueError(f"{what} are {values}: name each only once")
        if len({type(number) for number in self.subjects.numbers}) > 1:
            raise ValueError("subjects.numbers mixes shares and numbers of subjects: 1.0 is all of them, 1 is one")
        if not is_score(self.primary):
            known = choose_from([*TASK_SCORES])
            raise ValueError(f"the primary score {self.primary!r} is unknown: {known}")
        for name in (self.baseline, self.arm, self.control.arm if self.control else None, *self.against):
            if name is not None and name not in self.arms:
                raise ValueError(f"{name!r} is not an arm: the arms are {', '.join(self.arms)}")
        compared = (self.baseline, self.arm, *self.against)
        if self.against and (self.arm is None or len(set(compared)) < len(compared)):
            given = ", ".join(self.against)
            raise ValueError(f"against ({given}): set arm, and name others than it and the baseline, each once")
        for name, arm in self.arms.items():
            if arm.synthesizer is not None and arm.synthesizer not in self.synthesizers:
                raise ValueError(f"arm {name!r} names the synthesizer {arm.synthesizer!r}, which is not in the plan")
            try:
                own = self.task_of(name)
            except ConfigError as error:
                raise ValueError(f"arm {name!r}: task: {error}") from error
            for option in self.task_class.scoring:
                if getattr(own, option) != getattr(self.task, option):
                    what = f"{option} is {getattr(own, option)}, but all arms are scored alike"
                    raise ValueError(f"arm {name!r}: task: {what}: set it under the task of the plan")
        if self.budget == "paper" and (self.control or self.tune or self.training.batch_size is None):
            raise ValueError("the budget of the paper is fixed: give a batch size, and leave out control and tune")
        if self.tune is not None and self.tune.number not in (None, *self.subjects.numbers):
            raise ValueError(f"tune.number is {self.tune.number:g}, which is not in subjects.numbers")
        if self.tune is not None and self.tune.batch_size and self.training.batch_size is None:
            raise ValueError("tune tries multiples of training.batch_size: give it, or set tune.batch_size to []")
        if self.spacing is not None and len(self.spacing) != self.task.spatial_dims:
            raise ValueError(f"spacing is {self.spacing}, but needs {self.task.spatial_dims} numbers")
        return self

    @model_validator(mode="after")
    def _synthesizers_fit(self) -> Self:
        for name, synthesizer in self.synthesizers.items():
            wanted = synthesizer.mask_generator
            if wanted is not None and wanted not in self.mask_generators:
                raise ValueError(f"synthesizer {name!r} names the mask generator {wanted!r}, which is not in the plan")
            offline = any(arm.synthesizer == name and arm.use == "offline" for arm in self.arms.values())
            if synthesizer.audit is not None and not offline:
                raise ValueError(f"synthesizer {name!r} is audited, but no arm uses its cases offline: leave out audit")
        for name, arm in self.arms.items():
            of_arm = self.synthesizers.get(arm.synthesizer or "")
            if of_arm and arm.use == "on_the_fly" and not self.task_class.draws_on_the_fly:
                raise ValueError(f"arm {name!r} draws on the fly, which {self.task_class.method} cannot: use offline")
            if arm.finetune is not None and not self.task_class.continues:
                what = f"which {self.task_class.method} cannot continue from: leave finetune out"
                raise ValueError(f"arm {name!r} trains on synthetic cases first, {what}")
            if arm.fade is not None and not self.task_class.fades:
                raise ValueError(f"arm {name!r} fades, which {self.task_class.method} cannot: leave fade out")
            if of_arm and arm.kept is not None and of_arm.negatives == 1:
                raise ValueError(f"arm {name!r} keeps drawings by their lesions, which negatives lack: leave one out")
            if arm.kept is not None and not issubclass(self.task_class, SegmentationTask):
                what = f"which {self.task_class.method} does not predict lesions for: leave kept out"
                raise ValueError(f"arm {name!r} keeps drawings by their Dice, {what}")
            if of_arm and arm.use == "on_the_fly" and not SYNTHESIZERS[of_arm.method].draws_on_the_fly:
                remedy = "use offline, or augment: ct_published without a synthesizer"
                raise ValueError(f"arm {name!r} copies on the fly: {remedy}")
            if of_arm and of_arm.targets is not None and arm.use == "on_the_fly":
                raise ValueError(f"arm {name!r} draws into healthy scans on the fly: use offline, or drop the targets")
            if of_arm and (of_arm.of_own_lesion or of_arm.mask_options.get("edit")) and arm.use == "on_the_fly":
                what = "draws each scan's own lesion" if of_arm.of_own_lesion else "makes a named edit"
                raise ValueError(f"arm {name!r} {what} on the fly: use offline, or other masks")
            if of_arm and of_arm.mask_generator and arm.use == "on_the_fly" and self.task.spatial_dims == 2:
                raise ValueError(f"arm {name!r} draws into slices, but its mask generator draws volumes: use offline")
            if of_arm and arm.placebo == "shuffled_labels" and of_arm.one_drawing_a_scan:
                remedy = "let it draw different lesions into each scan, with more cases"
                raise ValueError(f"arm {name!r} shuffles labels, but drawings in a scan have the same: {remedy}")
            if arm.longer is not None and self.budget == "paper":
                raise ValueError(f"arm {name!r} is longer, but the budget of the paper is fixed: leave out longer")
            if arm.longer is not None and name == self.baseline:
                raise ValueError("the baseline sets the length of the arms: set training.steps instead of longer")
        return self


def task_of_options(options: TaskConfig) -> type[Task]:
    """Return the class of the task that has these options."""
    return next(TASKS[name] for name in TASKS if TASKS[name].Config is type(options))


def parse_task(given: Mapping[str, Any]) -> TaskConfig:
    """Return the options of the task named by ``method``, by default ``segmentation``.

    Raises:
        ValueError: if the task does not exist, or an option is unknown or out of range.
    """
    options = dict(given)
    name = options.pop("method", SEGMENTATION)
    try:
        return parse_options(TASKS[name].Config, options)
    except ConfigError as error:
        whole = name in TASKS and error.where == TASKS[name].Config.__name__
        raise ValueError(f"{'' if whole else f'{error.where}: '}{error.what}; {error.remedy}") from error


def read_plan(path: Path, *, scale: str | None = None, changes: Mapping[str, Any] | None = None) -> Plan:
    """Read ``plan.yaml``, apply the changes of one of its scales, then ``changes``.

    Raises:
        ConfigError: if the file is missing or is not a plan, an option is unknown, or the scale does not exist.
    """
    return parse_options(Plan, plan_content(path, scale=scale, changes=changes), file=path)
