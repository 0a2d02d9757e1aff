"""The training length of the arms at each size: the steps are doubled until the checked arm stops improving."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lesionforge.benchmark.arms.ahead import Ahead
from lesionforge.benchmark.arms.repeats import TrainSize
from lesionforge.scores.registry import find_score

LENGTHS = "lengths.json"


@dataclass(frozen=True, kw_only=True)
class Length:
    """Training length of the arms at one size.

    Attributes:
        steps: optimiser steps of each arm.
        found: the result of the control in a sentence, or ``None`` if there was no control.
        undertrained: why the baseline may be undertrained, or ``None``.
    """

    steps: int
    found: str | None = None
    undertrained: str | None = None


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Training length of the arms at every size.

    Attributes:
        of: training-set size → length.
    """

    of: Mapping[TrainSize, Length]

    def steps(self, size: TrainSize) -> int:
        """Return the optimiser steps of each arm at a size."""
        return self.of[size].steps

    def describe(self) -> str:
        """Return the result of the control at all sizes, as text."""
        found = {size: length.found for size, length in self.of.items() if length.found is not None}
        return "; ".join(f"n = {size:g}: {text}" for size, text in found.items()) or "not made"

    def as_json(self) -> dict[str, Any]:
        """Return the content of ``lengths.json``."""
        steps = {f"n{size:g}": length.steps for size, length in self.of.items()}
        return {"steps": steps, "control": self.describe(), "doubt": self.doubt}

    @property
    def doubt(self) -> str | None:
        """Why the baseline may be undertrained, or ``None``."""
        by_reason: dict[str, list[str]] = {}
        for size, length in self.of.items():
            if length.undertrained is not None:
                by_reason.setdefault(length.undertrained, []).append(f"n = {size:g}")
        return "; ".join(f"{reason} ({', '.join(sizes)})" for reason, sizes in by_reason.items()) or None


def controlled_length(ahead: Ahead, size: TrainSize) -> Length:
    """Return the steps at which doubling no longer improves the checked arm at one size.

    Args:
        ahead: collects the jobs.
        size: the training-set size.

    Raises:
        NotYetError: if scores do not exist yet; their jobs have been added.
    """
    study, plan, control = ahead.study, ahead.study.plan, ahead.study.plan.control
    steps = plan.training.steps
    if control is None:
        return Length(steps=steps, undertrained="its length was not controlled")
    arm = plan.baseline if size == study.whole else control.arm or plan.baseline
    info, undertrained = find_score(plan.primary), None
    while undertrained is None:
        trainings = [study.repeat(size, seed).training(arm, n) for n in (steps, 2 * steps) for seed in plan.seeds]
        before, after = np.reshape(ahead.development_scores(trainings), (2, -1)).mean(1) * info.factor
        found = (
            f"twice the steps ({2 * steps}) changed the development {info.title} of {arm} by "
            f"{after - before:+.1f} {info.unit} ({before:.1f} to {after:.1f}, {len(plan.seeds)} seeds)"
        )
        ahead.say(f"n = {size:g}: {found}")
        gain = before - after if info.higher_is_better is False else after - before
        if gain < control.tolerance:
            break
        if 2 * steps <= control.max_steps:
            steps *= 2
        if 2 * steps > control.max_steps:
            undertrained = f"longer training still helped, and no arm gets more than {control.max_steps} steps"
    return Length(steps=steps, found=found, undertrained=undertrained)
