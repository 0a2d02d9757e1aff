"""The plan of a study of methods that remove lesions."""

from __future__ import annotations

import re
from typing import Any, Self

from pydantic import Field, model_validator

from lesionforge.benchmark.plan import NAME, Part, Split
from lesionforge.config import laid_over, parse_options
from lesionforge.errors import ConfigError
from lesionforge.healers.registry import HEALERS
from lesionforge.scores.healed_scans.healed import REFERENCES
from lesionforge.tasks.segmentation.segmentation_config import SegmentationConfig
from lesionforge.training.loop import TrainingConfig


class FPrePlan(Part):
    """The segmentation network that looks for lesions in healed scans; one serves all methods and seeds.

    Attributes:
        task: the network.
        training: its length, batch size and seed.
    """

    task: SegmentationConfig = SegmentationConfig(network="pseudo_healthy")
    training: TrainingConfig = TrainingConfig()


class HealerPlan(Part):
    """A method that is trained anew for each seed.

    Attributes:
        method: name in the dictionary of methods that heal.
        options: the method's own.
    """

    method: str
    options: dict[str, Any] = Field(default={})


class HealingPlan(Part):
    """``plan.yaml`` of such a study; it has ``methods`` where other plans have ``arms``.

    Attributes:
        name: a title.
        channels: image channels; all of the cohort's unless given.
        subjects: the split.
        f_pre: what looks for lesions in healed scans, trained on the same subjects as the methods.
        training: steps, batch size and machine of every method; the seeds are the plan's.
        seeds: each trains every method anew.
        fraction: the middle of the head's height that is trained on and scored, where slices are of volumes.
        options: of every method, where it has no others of its own.
        methods: name → what is trained.
        baselines: the methods of which, score by score, the better is what the others are tested against.
        examples: test subjects shown in the report.
        scales: name → changes to this plan, such as ``cpu`` and ``paper``.
    """

    name: str = "pseudo-healthy synthesis"
    channels: tuple[str, ...] | None = None
    subjects: Split = Split()
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
        for name in self.baselines:
            if name not in self.methods:
                raise ValueError(f"{name!r} is no method: the methods are {', '.join(self.methods)}")
        for name, plan in self.methods.items():
            if not re.fullmatch(NAME, name) or name in REFERENCES:
                raise ValueError(f"{name!r} cannot be a name: use letters, digits, _, -, + and . only")
            if plan.method not in HEALERS:
                raise ValueError(f"{plan.method!r} removes no lesions: choose from {', '.join(HEALERS)}")
            try:
                parse_options(HEALERS[plan.method].Config, self.options_of(name))
            except ConfigError as error:
                raise ValueError(f"method {name!r}: {error}") from error
        return self
