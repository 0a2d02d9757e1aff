"""The plan of a study of methods that remove lesions."""

from __future__ import annotations

import re
from typing import Any, Self

from pydantic import Field, model_validator

from lesionforge.benchmark.arm_plan import Part
from lesionforge.benchmark.plan import NAME, Split
from lesionforge.config import laid_over, parse_options
from lesionforge.errors import ConfigError
from lesionforge.healers.registry import HEALERS
from lesionforge.scores.healed_scans.healed import REFERENCES
from lesionforge.tasks.segmentation.segmentation_config import SegmentationConfig
from lesionforge.training.loop import TrainingConfig


class HealingSubjects(Split):
    """Training and test subjects, given as roles in ``roles.json``, or as shares or numbers of a random split.

    Attributes:
        number: number of training subjects, or share of them, that the methods are trained on. Every seed has another
            random choice. By default all seeds train on all of them.
    """

    number: int | float | None = Field(default=None, gt=0)


class FPrePlan(Part):
    """The segmentation network that looks for lesions in healed scans; all methods and seeds share one.

    Attributes:
        task: options of the network.
        training: its training length, batch size and seed.
    """

    task: SegmentationConfig = SegmentationConfig(network="pseudo_healthy")
    training: TrainingConfig = TrainingConfig()


class HealerPlan(Part):
    """A method that is trained separately for each seed.

    Attributes:
        method: name of the method, a key of ``HEALERS``.
        options: options of the method.
    """

    method: str
    options: dict[str, Any] = Field(default={})


class HealingPlan(Part):
    """The content of ``plan.yaml`` for a healing study; it has ``methods`` instead of ``arms``.

    Attributes:
        name: title of the report.
        channels: image channels; all channels of the cohort by default.
        subjects: the split into training and test subjects.
        f_pre: the segmentation network that looks for lesions in healed scans, trained on all training subjects.
        training: training steps, batch size and device of every method; the seeds are those of the plan.
        seeds: seeds; each trains every method separately.
        fraction: central fraction of the head's height from which slices of volumes are used for training and scoring.
        options: options of every method, without ``fraction``; a method's own options take precedence.
        methods: name → method to train.
        baselines: names of the baseline methods; for each score, the other methods are tested against the better
            baseline.
        examples: number of test subjects shown in the report.
        scales: name → changes to this plan, such as ``cpu`` and ``paper``.
    """

    name: str = "pseudo-healthy synthesis"
    channels: tuple[str, ...] | None = None
    subjects: HealingSubjects = HealingSubjects()
    f_pre: FPrePlan = FPrePlan()
    training: TrainingConfig = TrainingConfig()
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    fraction: float = Field(default=1.0, gt=0, le=1)
    options: dict[str, Any] = Field(default={})
    methods: dict[str, HealerPlan] = Field(min_length=1)
    baselines: tuple[str, ...] = ()
    examples: int = Field(default=4, ge=1)
    scales: dict[str, dict[str, Any] | None] = Field(default={})

    def options_of(self, name: str) -> dict[str, Any]:
        """Return the options of a method."""
        own = {"fraction": self.fraction, **self.methods[name].options}
        options: dict[str, Any] = laid_over(self.options, own)
        return options

    @model_validator(mode="after")
    def _methods_fit(self) -> Self:
        if self.options.get("fraction", self.fraction) != self.fraction:
            what = f"options.fraction is {self.options['fraction']}, but scores are of {self.fraction:g} of the head"
            raise ValueError(f"{what}: give fraction of the plan, which is for training and scoring")
        for name in self.baselines:
            if name not in self.methods:
                raise ValueError(f"{name!r} is not a method: the methods are {', '.join(self.methods)}")
        for name, plan in self.methods.items():
            if not re.fullmatch(NAME, name) or name in REFERENCES:
                raise ValueError(f"{name!r} cannot be a name: use letters, digits, _, -, + and . only")
            if plan.method not in HEALERS:
                raise ValueError(f"{plan.method!r} does not remove lesions: choose from {', '.join(HEALERS)}")
            try:
                parse_options(HEALERS[plan.method].Config, self.options_of(name))
            except ConfigError as error:
                raise ValueError(f"method {name!r}: {error}") from error
        return self
