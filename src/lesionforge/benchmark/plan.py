"""The plan of a benchmark: what is compared, on whom, and with how much training."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PositiveFloat, SerializeAsAny, field_serializer, field_validator, model_validator

from lesionforge.benchmark.plan_file import plan_content
from lesionforge.config import IntensityName, Options, laid_over, parse_options
from lesionforge.errors import ConfigError
from lesionforge.masks.generator.maskgan_training import MaskGANConfig
from lesionforge.production.blend import Blend
from lesionforge.production.select import SelectionConfig
from lesionforge.scores.registry import is_score
from lesionforge.synthesizers.registry import SYNTHESIZERS
from lesionforge.tasks.base import Task, TaskConfig
from lesionforge.tasks.registry import TASKS
from lesionforge.training.loop import TrainingConfig

SYNTHETIC_SHARE = 0.5
"""Of every batch, unless an arm says otherwise."""
NAME = r"[\w.+-]+"
"""Of whatever has a folder of its own."""


class Part(Options):
    """A part of a plan."""


class MaskGeneratorPlan(Part):
    """A generator of lesion masks that is fitted anew for each seed.

    Attributes:
        masks: a folder of label maps in MNI space, those of held-out people left out; the training subjects' own
            lesions unless given.
        options: the generator's own.
        training: length and batch size; the seed is the run's.
    """

    masks: Path | None = None
    options: dict[str, Any] = Field(default={})
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _known(self) -> Self:
        try:
            parse_options(MaskGANConfig, self.options)
        except ConfigError as error:
            raise ValueError(f"options: {error}") from error
        return self


class SynthesizerPlan(Part):
    """A synthesizer that is fitted anew for each seed, on the training subjects of the arm.

    Attributes:
        method: name in the dictionary of synthesizers.
        options: the method's own.
        training: length and batch size; the seed is the run's.
        masks: ``bank``, ``edited`` or ``ellipsoids``, made from the training subjects; ``own``, the lesion of each
            scan drawn anew, for offline use; or ``gan:NAME``, one of the plan's mask generators, for volumes.
        blend: ``lesion`` or ``full``.
        cases: synthetic cases to write for offline use; ``None`` draws one into each scan (with ``own`` masks, into
            each that has a lesion).
        targets: a cohort whose lesion-free scans the offline cases are drawn into, in place of the training cases.
            They are made like these first, see :func:`~lesionforge.production.match.match_cohort`.
        lesion_free: draw into the lesion-free scans among the training cases alone.
        min_volume: least volume of a lesion, in mm³ (mm² in 2D).
        selection: options of the choice among the generators that were kept on the way (the method's ``candidates``),
            made on the training subjects alone; ``None`` takes the last.
    """

    method: str
    options: dict[str, Any] = Field(default={})
    training: TrainingConfig = TrainingConfig()
    masks: str = Field(default="edited", pattern=r"^(bank|edited|own|ellipsoids|gan:.+)$")
    blend: Blend = "lesion"
    cases: int | None = Field(default=100, ge=1)
    targets: Path | None = None
    lesion_free: bool = False
    min_volume: float = 200.0
    selection: SelectionConfig | None = None

    @property
    def mask_generator(self) -> str | None:
        """The name of the mask generator, if one says where lesions go."""
        return self.masks.removeprefix("gan:") if self.masks.startswith("gan:") else None

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.method not in SYNTHESIZERS:
            raise ValueError(f"{self.method!r} is not a synthesizer: choose from {', '.join(SYNTHESIZERS)}")
        try:
            parse_options(SYNTHESIZERS[self.method].Config, self.options)
        except ConfigError as error:
            raise ValueError(f"options: {error}") from error
        if self.masks == "own" and (self.targets is not None or self.lesion_free):
            raise ValueError("lesion-free scans have no lesion of their own to draw: use other masks")
        if self.selection is not None and not self.options.get("candidates"):
            raise ValueError("selection needs candidates: name epochs, such as `candidates: [10, 50]`, in the options")
        return self


class Arm(Part):
    """One composition of the training set.

    Attributes:
        augment: what varies the training items, see the options of the task.
        synthesizer: name of one of the plan's synthesizers, or none.
        use: ``offline`` mixes in a synthetic cohort; ``on_the_fly`` draws into the real items.
        share: of every batch that is synthetic, half unless given; with ``on_the_fly`` a lesion is drawn into
            ``lesion_share`` of these items, so into ``share × lesion_share`` of all.
        real: so many real subjects (or such a share of them) are trained on, all unless given; the synthesizer knows
            all of them nevertheless.
        finetune: share of the steps, at the end, that go to the real cases alone, after steps on synthetic ones alone;
            ``None`` mixes them from the first step. Arms that differ in ``real`` only share those first steps.
        task: options of the segmentation network that this arm has otherwise, for ablations.
    """

    augment: str = "classical"
    synthesizer: str | None = None
    use: Literal["offline", "on_the_fly"] = "offline"
    share: float | None = Field(default=None, gt=0, le=1)
    real: int | float | None = Field(default=None, gt=0)
    finetune: float | None = Field(default=None, gt=0, lt=1)
    task: dict[str, Any] = Field(default={})

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.finetune is not None and self.synthesizer is None:
            raise ValueError("finetune needs a synthesizer to train on first")
        if self.share is not None and self.synthesizer is None:
            raise ValueError("share has no effect without a synthesizer: name one, or leave the share out")
        if self.share is not None and self.finetune is not None:
            raise ValueError("share has no effect beside finetune, which trains on synthetic cases alone first")
        return self

    @property
    def synthetic_share(self) -> float:
        """The share of every batch that is synthetic, where there is a synthesizer."""
        return SYNTHETIC_SHARE if self.share is None else self.share


class Count(Part):
    """So many subjects.

    Attributes:
        lesion: who have a lesion.
        lesion_free: who have none.
    """

    lesion: int = Field(default=0, ge=0)
    lesion_free: int = Field(default=0, ge=0)


class Split(Part):
    """Who is trained on and who is tested on: roles of ``roles.json``, or shares or numbers of a random split.

    Attributes:
        train: role, share or number of the subjects that are trained on, such as ``pool``, ``0.5`` or
            ``{lesion: 365, lesion_free: 2027}``.
        test: of those who are scored.
        seed: of the split.
    """

    train: str | float | Count = "pool"
    test: str | float | Count = "final"
    seed: int = 0


class Subjects(Split):
    """Who is trained on, chosen on and tested on.

    Attributes:
        train: of the subjects that training sets are taken from.
        development: of those on whom choices are made; the control of the baseline's length uses them.
        numbers: sizes of the training sets: numbers of subjects, or shares of them (1.0 is all), not both.
        draws: how many different sets of training subjects there are; the seeds take them in turn, and the sizes of one
            draw nest. Each seed draws its own unless given; with fewer draws than seeds, the report can tell what comes
            from the draw and what from training; 1 trains all seeds on the same subjects.
        seed: of the split and of the draws.
        folds: of a cross-validation over all subjects, instead of the three parts above: each fold is tested on once,
            while the next one is the development set and the others are trained on.
        fold: run this one alone, counted from 0.
    """

    folds: int | None = Field(default=None, ge=3)
    fold: int | None = Field(default=None, ge=0)
    development: str | float | Count = "development"
    numbers: tuple[int | float, ...] = Field(default=(8,), min_length=1)
    draws: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _fold_is_there(self) -> Self:
        if self.fold is not None and (self.folds is None or self.fold >= self.folds):
            raise ValueError(f"fold {self.fold} does not exist: {self.folds or 0} folds are numbered from 0")
        return self


class Control(Part):
    """Guards against undertrained arms: at each size, doubling the steps of one of them must not help it any more.

    Attributes:
        arm: which; the baseline unless given.
        tolerance: gain in the primary score, on development subjects, below which that arm counts as trained, in the
            unit that reports show.
        max_steps: no arm gets more than this.
    """

    arm: str | None = None
    tolerance: float = 1.0
    max_steps: int = 10_000


class Tune(Part):
    """A small search for the best baseline, on development subjects, before anything is compared with it.

    One option is tried after the other, and the best value found so far is kept: the augmentation, the learning rate,
    the batch size. The other arms inherit the learning rate and the batch size, and the augmentation where theirs is
    the baseline's.

    Attributes:
        augment: the augmentations that are tried beside the baseline's own.
        learning_rate: factors on the plan's learning rate that are tried.
        batch_size: factors on the plan's batch size that are tried.
        number: the size of the training set that the search is made at, for all sizes; each has a search of its own
            unless given.
        seeds: how many of the plan's seeds each trial is trained with, the first ones; all unless given.
    """

    augment: tuple[str, ...] = ("none", "classical", "ct")
    learning_rate: tuple[PositiveFloat, ...] = (1 / 3, 3.0)
    batch_size: tuple[PositiveFloat, ...] = (2.0,)
    number: int | float | None = Field(default=None, gt=0)
    seeds: int | None = Field(default=None, ge=1)


class Plan(Part):
    """``plan.yaml``.

    Attributes:
        name: a title.
        channels: image channels; all of the cohort's unless given.
        subjects: the split.
        spacing: millimetres per axis that synthesizers and networks work at; the median of the training cases unless
            given. Scores are made on the scans' own grids.
        intensity: of scans for synthesizers and networks, see :class:`~lesionforge.config.ScanConfig`.
        task: the segmentation network, without its augmentation, which is the arms'.
        training: steps, batch size and machine of every arm; the seeds are the plan's.
        seeds: each repeats everything, the synthesizers included.
        mask_generators: name → what is fitted to draw masks.
        synthesizers: name → what is fitted.
        arms: name → what is trained on.
        baseline: the arm that the others are compared with.
        primary: the declared score.
        arm: the declared arm, if there is one; its comparison with the baseline is the verdict.
        tune: the search for the best baseline, or ``None``.
        control: of the arms' length; without it the report says that the baseline may be undertrained.
        budget: ``steps`` gives every arm the same; ``paper`` the epochs of Platscher et al. 2020: 500 on real cases,
            300 where synthetic ones are among them, 150 of fine-tuning.
        learning_curves: steps after which the Dice of every arm on its training and on the test cases is logged, again
            and again, for the report to show; nothing depends on it. ``None`` saves the time.
        in_plane: HD95 within slices, where the slice spacing is unsure.
        examples: test cases shown in the report.
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
    tune: Tune | None = None
    control: Control | None = None
    budget: Literal["steps", "paper"] = "steps"
    learning_curves: int | None = Field(default=None, ge=1)
    in_plane: bool = False
    examples: int = 4
    scales: dict[str, dict[str, Any] | None] = Field(default={})

    @property
    def tuned_arms(self) -> tuple[str, ...]:
        """The arms that are fine-tuned."""
        return tuple(name for name, arm in self.arms.items() if arm.finetune is not None)

    @property
    def cross_validated(self) -> bool:
        """Whether every fold is tested on in turn."""
        return self.subjects.folds is not None and self.subjects.fold is None

    def task_of(self, arm: str) -> TaskConfig:
        """Return the segmentation network of an arm.

        Raises:
            ConfigError: if one of the arm's own options is unknown or out of range.
        """
        own = {**self.arms[arm].task, "augment": self.arms[arm].augment}
        return parse_options(type(self.task), laid_over(self.task, own))

    @property
    def task_class(self) -> type[Task]:
        """What is trained and scored."""
        return next(TASKS[name] for name in TASKS if TASKS[name].Config is type(self.task))

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
            raise ValueError(f"the primary score {self.primary!r} is unknown: use dice, hd95 or lesion_f1")
        for name in (self.baseline, self.arm, self.control.arm if self.control else None):
            if name is not None and name not in self.arms:
                raise ValueError(f"{name!r} is not an arm: the arms are {', '.join(self.arms)}")
        for name, arm in self.arms.items():
            if arm.synthesizer is not None and arm.synthesizer not in self.synthesizers:
                raise ValueError(f"arm {name!r} names the synthesizer {arm.synthesizer!r}, which is not in the plan")
            try:
                self.task_of(name)
            except ConfigError as error:
                raise ValueError(f"arm {name!r}: task: {error}") from error
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
        for name, arm in self.arms.items():
            of_arm = self.synthesizers.get(arm.synthesizer or "")
            if of_arm and arm.use == "on_the_fly" and not SYNTHESIZERS[of_arm.method].draws_on_the_fly:
                remedy = "use offline, or augment: ct_published without a synthesizer"
                raise ValueError(f"arm {name!r} copies on the fly: {remedy}")
            if of_arm and of_arm.targets is not None and arm.use == "on_the_fly":
                raise ValueError(f"arm {name!r} draws into healthy scans on the fly: use offline, or drop the targets")
            if of_arm and of_arm.masks == "own" and arm.use == "on_the_fly":
                raise ValueError(f"arm {name!r} draws each scan's own lesion on the fly: use offline, or other masks")
            if of_arm and of_arm.mask_generator and arm.use == "on_the_fly" and self.task.spatial_dims == 2:
                raise ValueError(f"arm {name!r} draws into slices, but its mask generator draws volumes: use offline")
        return self


def parse_task(given: Mapping[str, Any]) -> TaskConfig:
    """Return the options of a task, whose name is ``method``: segmentation unless given.

    Raises:
        ValueError: if there is no such task, or an option is unknown or out of range.
    """
    options = dict(given)
    name = options.pop("method", "segmentation")
    try:
        return parse_options(TASKS[name].Config, options)
    except ConfigError as error:
        whole = name in TASKS and error.where == TASKS[name].Config.__name__
        raise ValueError(f"{'' if whole else f'{error.where}: '}{error.what}; {error.remedy}") from error


def read_plan(path: Path, *, scale: str | None = None, changes: Mapping[str, Any] | None = None) -> Plan:
    """Read ``plan.yaml``, with the changes of one of its scales, then others.

    Raises:
        ConfigError: if the file is missing or no plan, an option is unknown, or there is no such scale.
    """
    return parse_options(Plan, plan_content(path, scale=scale, changes=changes), file=path)
