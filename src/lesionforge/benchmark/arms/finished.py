"""What figures show of a finished run: which models and cohorts there are, and in which colours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lesionforge.benchmark.report.figures.charts import arm_colours
from lesionforge.benchmark.setting import Number, Setting
from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.layouts import read_cohort
from lesionforge.preprocessing.matching.match import FACTS
from lesionforge.production.select import RECOMMENDED


@dataclass(frozen=True)
class FinishedRun:
    """A run whose arms are scored; its largest training set and first seed are what figures show.

    Attributes:
        setting: of the run.
        steps: of its arms.
    """

    setting: Setting
    steps: int

    @cached_property
    def number(self) -> Number:
        """The size of the largest training set."""
        return max(self.setting.plan.subjects.numbers)

    @cached_property
    def seed(self) -> int:
        """The first seed."""
        return self.setting.plan.seeds[0]

    @cached_property
    def train(self) -> Cohort:
        """The training cases."""
        return self.setting.train[self.number, self.seed]

    @cached_property
    def synthesizers(self) -> tuple[str, ...]:
        """The synthesizers that were fitted."""
        plan = self.setting.plan
        folders = {name: self.setting.model_folder(self.number, self.seed, name) for name in plan.synthesizers}
        return tuple(name for name, folder in folders.items() if (folder / "model.json").is_file())

    @cached_property
    def cohorts(self) -> dict[str, Path]:
        """Synthesizer → its offline cases, where there are any."""
        plan = self.setting.plan
        folders = {name: self.setting.cohort_folder(self.number, self.seed, name) for name in plan.synthesizers}
        return {name: folder for name, folder in folders.items() if (folder / "dataset.json").is_file()}

    @cached_property
    def healthy(self) -> tuple[Case, ...]:
        """The matched healthy scans that some synthesizers draw into."""
        folders = [self.setting.targets_folder(self.number, self.seed, name) for name in self.synthesizers]
        return tuple(case for folder in folders if (folder / FACTS).is_file() for case in read_cohort(folder))

    @cached_property
    def choices(self) -> tuple[str, ...]:
        """The synthesizers whose generator was chosen among several."""
        folders = {name: self.setting.selection_folder(self.number, self.seed, name) for name in self.synthesizers}
        return tuple(name for name, folder in folders.items() if (folder / RECOMMENDED).is_file())

    @cached_property
    def colours(self) -> dict[str, str]:
        """The arms' colours; a synthesizer has that of the first arm that uses it."""
        arms = self.setting.plan.arms
        colours = arm_colours(list(arms))
        users = {arm.synthesizer: colours[name] for name, arm in reversed(arms.items()) if arm.synthesizer is not None}
        return colours | users
