"""How long the arms of each size are trained: until doubling the steps no longer helps the baseline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lesionforge.benchmark.arms.tune import sizes_of
from lesionforge.benchmark.jobs import development_score
from lesionforge.benchmark.setting import Number, Setting
from lesionforge.scores.registry import find_score

LENGTHS = "lengths.json"


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """How long the arms are trained.

    Attributes:
        steps: size of the training set → optimiser steps of all its arms.
        found: size → what the control found, in a sentence; empty where none was made.
        undertrained: size → why its baseline may be undertrained, for the sizes where it may be.
    """

    steps: Mapping[Number, int]
    found: Mapping[Number, str]
    undertrained: Mapping[Number, str]

    def describe(self) -> str:
        """Return what the control found at all sizes."""
        if not self.found:
            return "not made"
        return "; ".join(f"n = {number:g}: {text}" for number, text in self.found.items())

    def as_json(self) -> dict[str, Any]:
        """Return the content of the file."""
        steps = {f"n{number:g}": count for number, count in self.steps.items()}
        return {"steps": steps, "control": self.describe(), "doubt": self.doubt}

    @property
    def doubt(self) -> str | None:
        """Why the baseline may be undertrained, or ``None``."""
        if not self.undertrained:
            return None
        by_reason: dict[str, list[str]] = {}
        for number, reason in self.undertrained.items():
            by_reason.setdefault(reason, []).append(f"n = {number:g}")
        return "; ".join(f"{reason} ({', '.join(sizes)})" for reason, sizes in by_reason.items())


def controlled_lengths(setting: Setting, run: Callable[..., Iterator[Any]], say: Callable[[str], None]) -> Lengths:
    """Return, for each size, the steps at which doubling no longer helps the controlled arm.

    Args:
        setting: of the run.
        run: runs jobs, several at a time.
        say: told what was found.
    """
    plan, control = setting.plan, setting.plan.control
    steps = dict.fromkeys(sizes_of(setting), plan.training.steps)
    if control is None:
        return Lengths(steps=steps, found={}, undertrained=dict.fromkeys(steps, "its length was not controlled"))
    found: dict[Number, str] = {}
    undertrained: dict[Number, str] = {}
    info, unsettled = find_score(plan.primary), list(steps)
    arms = {number: plan.baseline if number == setting.whole else control.arm or plan.baseline for number in steps}
    while unsettled:
        jobs = [
            (setting, number, seed, arms[number], length)
            for number in unsettled
            for length in (steps[number], 2 * steps[number])
            for seed in plan.seeds
        ]
        means = np.reshape(list(run(development_score, jobs)), (len(unsettled), 2, -1)).mean(2) * info.factor
        for number, (before, after) in zip(list(unsettled), means, strict=True):
            found[number] = (
                f"twice the steps ({2 * steps[number]}) changed the development {info.title} of {arms[number]} by "
                f"{after - before:+.1f} {info.unit} ({before:.1f} to {after:.1f}, {len(plan.seeds)} seeds)"
            )
            say(f"n = {number:g}: {found[number]}")
            gain = before - after if info.higher_is_better is False else after - before
            if gain < control.tolerance:
                unsettled.remove(number)
                continue
            if 2 * steps[number] <= control.max_steps:
                steps[number] *= 2
            if 2 * steps[number] > control.max_steps:
                undertrained[number] = (
                    f"longer training still helped, and no arm gets more than {control.max_steps} steps"
                )
                unsettled.remove(number)
    return Lengths(steps=steps, found=found, undertrained=undertrained)
