"""The training length of the arms at each size: the steps are doubled until the checked arm stops improving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lesionforge.benchmark.arms.ahead import Ahead
from lesionforge.benchmark.arms.repeats import ArmTraining, TrainSize
from lesionforge.benchmark.arms.tune import Trial
from lesionforge.scores.registry import find_score
from lesionforge.scores.score import Score

LENGTHS = "lengths.json"


@dataclass(frozen=True, kw_only=True)
class Length:
    """Training length of the arms at one size.

    Attributes:
        steps: optimiser steps of each arm.
        found: the result of the control in a sentence, or ``None`` if there was no control.
        undertrained: why the baseline may be undertrained, or ``None``.
        arm: name of the checked arm, or ``None`` if there was no control.
        tried: steps → trainings of the checked arm, one for each seed.
    """

    steps: int
    found: str | None = None
    undertrained: str | None = None
    arm: str | None = None
    tried: Mapping[int, Trial] = field(default_factory=dict)


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

    def table(self, seeds: Sequence[int]) -> pd.DataFrame:
        """Return the content of ``lengths.csv``, a row per size, length that was tried, and seed; empty without any."""
        rows = [
            {
                "train_size": size,
                "arm": length.arm,
                "steps": steps,
                "seed": seed,
                "score": score,
                "found_nothing": nothing,
                "kept": steps == length.steps,
            }
            for size, length in self.of.items()
            for steps, trial in length.tried.items()
            for seed, score, nothing in zip(seeds, trial.scores, trial.nothing, strict=True)
        ]
        return pd.DataFrame(rows)

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
    arm = control.arm or plan.baseline
    if size == study.whole or (size, arm) in study.left_out:
        arm = plan.baseline
    info, undertrained, tried = find_score(plan.primary), None, dict[int, Trial]()
    while undertrained is None:
        trainings = [study.repeat(size, seed).training(arm, n) for n in (steps, 2 * steps) for seed in plan.seeds]
        doubling = Doubling.of(ahead, trainings)
        tried |= dict(zip((steps, 2 * steps), doubling.trials, strict=True))
        found = f"twice the steps ({2 * steps}) {doubling.describe(arm, info)}"
        ahead.say(f"n = {size:g}: {found}")
        if not doubling.helped(control.tolerance, info):
            undertrained = doubling.doubt
            break
        if 2 * steps <= control.max_steps:
            steps *= 2
        if 2 * steps > control.max_steps:
            undertrained = f"longer training still helped, and no arm gets more than {control.max_steps} steps"
    if arm != plan.baseline:
        undertrained = undertrained or f"only the length of {arm} was controlled"
    return Length(steps=steps, found=found, undertrained=undertrained, arm=arm, tried=tried)


@dataclass(frozen=True, kw_only=True)
class Doubling:
    """Trainings at one size before and after their steps are doubled, one of each for every seed.

    Attributes:
        scores: ``(2, seed)`` development scores.
        nothing: ``(2, seed)``, whether a training found nothing.
    """

    scores: NDArray[np.float64]
    nothing: NDArray[np.bool_]

    @classmethod
    def of(cls, ahead: Ahead, trainings: Sequence[ArmTraining]) -> Self:
        """Return the doubling of trainings: those before it, then those after it.

        Raises:
            NotYetError: if scores do not exist yet; their jobs have been added.
        """
        scores = np.reshape(ahead.development_scores(trainings), (2, -1))
        return cls(scores=scores, nothing=np.reshape([ahead.found_nothing(one) for one in trainings], (2, -1)))

    @property
    def trials(self) -> tuple[Trial, Trial]:
        """The trainings before and after the doubling."""
        before, after = (Trial(*both) for both in zip(self.scores.tolist(), self.nothing.tolist(), strict=True))
        return before, after

    @property
    def compared(self) -> NDArray[np.bool_]:
        """The seeds in which both trainings found something; all seeds if there are none."""
        either = self.nothing.any(axis=0)
        return np.asarray(~either | either.all())

    def helped(self, tolerance: float, info: Score[Any]) -> bool:
        """Return whether fewer trainings find nothing, or the mean score improves by ``tolerance`` or more."""
        before, after = self._means(info)
        gain = before - after if info.higher_is_better is False else after - before
        rescued = self.nothing[1].sum() < self.nothing[0].sum()
        return bool(rescued) or not gain < tolerance

    def describe(self, arm: str, info: Score[Any]) -> str:
        """Return what the doubling changed, in words."""
        before, after = self._means(info)
        nothing = ""
        if self.nothing.any():
            first, second = self.nothing.sum(1)
            nothing = f"; {first} of {len(self.nothing[0])} trainings found nothing before, {second} after"
        return (
            f"changed the development {info.title} of {arm} by {after - before:+.1f} {info.unit} "
            f"({before:.1f} to {after:.1f}, {self.compared.sum()} seeds{nothing})"
        )

    @property
    def doubt(self) -> str | None:
        """What is wrong with the trainings before the doubling, or ``None``."""
        number = self.nothing[0].sum()
        if not number:
            return None
        return f"{number} of {len(self.nothing[0])} trainings found nothing on the development subjects"

    def _means(self, info: Score[Any]) -> tuple[float, float]:
        before, after = self.scores[:, self.compared].mean(1) * info.factor
        return float(before), float(after)
