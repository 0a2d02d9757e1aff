"""What the figures show of a finished run: its models, its cohorts and their colours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lesionforge.benchmark.arms.repeats import Arms, Repeat
from lesionforge.benchmark.report.figures.charts import arm_colours
from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.layouts import read_cohort
from lesionforge.production.match import FACTS
from lesionforge.production.select import RECOMMENDED


@dataclass(frozen=True)
class FinishedRun:
    """A run whose arms are scored; figures show its largest training set and first seed.

    Attributes:
        study: the study that was run.
        steps: optimiser steps of its arms.
    """

    study: Arms
    steps: int

    @cached_property
    def repeat(self) -> Repeat:
        """The largest training set with the first seed."""
        return self.study.shown

    @cached_property
    def repeats(self) -> list[Repeat]:
        """The largest training set with every seed."""
        largest = max(self.study.plan.subjects.numbers)
        return [self.study.repeat(largest, seed) for seed in self.study.plan.seeds]

    @cached_property
    def train(self) -> Cohort:
        """The training cases."""
        return self.repeat.train

    @cached_property
    def synthesizers(self) -> tuple[str, ...]:
        """The synthesizers that were fitted."""
        plan = self.study.plan
        folders = {name: self.repeat.model_folder(name) for name in plan.synthesizers}
        return tuple(name for name, folder in folders.items() if (folder / "model.json").is_file())

    @cached_property
    def cohorts(self) -> dict[str, Path]:
        """Synthesizer → folder of its offline cases, for those that have any."""
        plan = self.study.plan
        folders = {name: self.repeat.cohort_folder(name) for name in plan.synthesizers}
        return {name: folder for name, folder in folders.items() if (folder / "dataset.json").is_file()}

    @cached_property
    def healthy(self) -> tuple[Case, ...]:
        """The matched lesion-free scans that synthesizers draw into."""
        folders = [self.repeat.targets_folder(name) for name in self.synthesizers]
        return tuple(case for folder in folders if (folder / FACTS).is_file() for case in read_cohort(folder))

    @cached_property
    def choices(self) -> tuple[str, ...]:
        """The synthesizers whose generator was selected among several candidates."""
        folders = {name: self.repeat.selection_folder(name) for name in self.synthesizers}
        return tuple(name for name, folder in folders.items() if (folder / RECOMMENDED).is_file())

    @cached_property
    def colours(self) -> dict[str, str]:
        """Arm or synthesizer → colour; a synthesizer has the colour of the first arm that uses it."""
        arms = self.study.plan.arms
        colours = arm_colours(list(arms))
        users = {arm.synthesizer: colours[name] for name, arm in reversed(arms.items()) if arm.synthesizer is not None}
        return colours | users
