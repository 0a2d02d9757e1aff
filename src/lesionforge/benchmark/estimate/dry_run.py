"""The cost of a plan before it is run: training runs, steps, images, parameters, memory, and hours on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lesionforge.benchmark.arms.arm_study import ArmStudy
from lesionforge.benchmark.estimate.timing import Timing, machine_name, time_units
from lesionforge.benchmark.estimate.work import Unit, Work, work_of
from lesionforge.benchmark.folds import FoldStudy
from lesionforge.benchmark.healing.healing_plan import HealingPlan
from lesionforge.benchmark.healing.healing_study import HealingStudy
from lesionforge.benchmark.plan import Plan
from lesionforge.benchmark.run import make_study
from lesionforge.benchmark.study import Study
from lesionforge.cohort.case import Cohort

UNITS = (("hours", 1), ("minutes", 60), ("seconds", 3600))


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The estimated cost of a plan.

    Attributes:
        least: all work if the control never lengthens the training and the search chooses the smallest batch size.
        most: all work if the control lengthens the training to its limit and the search chooses the largest batch size.
        timings: unit of work → its measurements.
        devices: devices per training run.
        workers: processes of the run.
        machine: the machine that was measured.
        not_counted: further steps of the run that take time but are not included.
        left_out: a line for each arm that is left out at a size.
    """

    least: tuple[Work, ...]
    most: tuple[Work, ...]
    timings: Mapping[Unit, Timing]
    devices: int
    workers: int
    machine: str
    not_counted: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    @property
    def hours(self) -> tuple[float, float]:
        """The minimum and maximum hours of the run."""
        return self._hours(self.least) / self.workers, self._hours(self.most) / self.workers

    @property
    def steps(self) -> tuple[int, int]:
        """The minimum and maximum number of optimiser steps over all training runs."""
        least, most = (sum(work.steps for work in works) for works in (self.least, self.most))
        return least, most

    def table(self) -> pd.DataFrame:
        """Return a table with a row for each stage and name.

        Columns are ``stage`` and ``name``; ``runs``, ``steps``, ``images``, ``cases`` and ``hours`` over all runs, each
        with the suffixes ``_least`` and ``_most``; ``each``, the steps, cases, scans or predictions per run;
        ``parameters``; ``memory`` in bytes; and ``seconds`` per step, case, scan or prediction. Hours are for a single
        process.
        """
        keys = dict.fromkeys((work.stage, work.name) for work in (*self.least, *self.most))
        return pd.DataFrame([self._row(*key) for key in keys])

    def sentence(self) -> str:
        """Return the total in a sentence."""
        with_workers = f"{self.workers} worker" + ("s" if self.workers > 1 else "")
        return (
            f"about {duration(*self.hours)} on this machine with {with_workers} ({self.machine}; one step of each "
            f"network timed); not counted: {', '.join(self.not_counted)}"
        )

    def _row(self, stage: str, name: str) -> dict[str, object]:
        row: dict[str, object] = {"stage": stage, "name": name}
        parts = {
            end: [work for work in works if (work.stage, work.name) == (stage, name)]
            for end, works in (("least", self.least), ("most", self.most))
        }
        for end, works in parts.items():
            steps = [work.steps for work in works]
            row[f"runs_{end}"] = len(works)
            row[f"steps_{end}"] = sum(steps)
            row[f"images_{end}"] = sum(n * self._images(work) for n, work in zip(steps, works, strict=True))
            row[f"cases_{end}"] = sum(work.count for work in works) - sum(steps)
            row[f"hours_{end}"] = self._hours(works)
        both = [work for works in parts.values() for work in works]
        timings = [self.timings[work.unit] for work in both]
        row["each"] = tuple(sorted({work.count for work in both}))
        for column in ("parameters", "memory", "seconds"):
            row[column] = max(getattr(timing, column) for timing in timings)
        return row

    def _images(self, work: Work) -> int:
        return self.timings[work.unit].images * self.devices

    def _hours(self, works: Sequence[Work]) -> float:
        costs = ((work, self.timings[work.unit]) for work in works)
        return sum(of.around + work.reads * of.reading + work.count * of.seconds for work, of in costs) / 3600


def dry_run(
    plan: Plan | HealingPlan,
    cohort: Cohort,
    *,
    roles: Mapping[str, Sequence[str]] | None = None,
    workers: int = 1,
) -> Estimate:
    """Estimate the cost of a plan. All measurements use a temporary folder, which is removed.

    A step of each distinct network is timed on a few cases of the plan's largest training set, in the first fold of a
    cross-validation; the time to read all cases follows from that of a few. Results that a run's folder may already
    hold are not subtracted.

    Args:
        plan: the plan.
        cohort: real (or simulated) cases.
        roles: role → subject ids, for plans that name roles.
        workers: processes of the run.

    Raises:
        ConfigError: if the plan does not fit the cohort.
        CohortError: if a case cannot be read, or there are too few cases.
        LeakError: if a held-out subject is a parent of a training case.
        TrainingError: if a network does not fit into memory.
    """
    with tempfile.TemporaryDirectory(prefix="lesionforge_dry_run_") as folder:
        whole = make_study(plan, cohort, roles or {}, Path(folder))
        studies = _parts(whole)
        least = [work for study in studies for work in work_of(study)]
        most = [work for study in studies for work in work_of(study, longest=True)]
        timings = time_units(studies[0], [work.unit for work in (*least, *most)], workers=workers)
    return Estimate(
        least=tuple(least),
        most=tuple(most),
        timings=timings,
        devices=plan.training.devices,
        workers=workers,
        machine=machine_name({plan.training.device}),
        not_counted=_not_counted(plan),
        left_out=tuple(whole.left_out),
    )


def _parts(study: Study) -> list[ArmStudy] | list[HealingStudy]:
    """Return the studies of all folds, or the study itself."""
    if isinstance(study, FoldStudy):
        return list(study.of_folds.values())
    if isinstance(study, HealingStudy):
        return [study]
    assert isinstance(study, ArmStudy)
    return [study]


def _not_counted(plan: Plan | HealingPlan) -> tuple[str, ...]:
    """Return the steps of a run that the estimate leaves out."""
    if isinstance(plan, HealingPlan):
        return ("healing and scoring the test cases", "the report")
    synthesizers = plan.synthesizers.values()
    others = {
        "the scores of candidates": any(one.selection is not None for one in synthesizers),
        "matching healthy scans": any(one.targets is not None for one in synthesizers),
        "networks that judge drawings": any(arm.kept is not None for arm in plan.arms.values()),
        "audits": any(one.audit is not None for one in synthesizers),
        "masks that are drawn by a generator": any(one.mask_generator is not None for one in synthesizers),
    }
    return (*(what for what, there in others.items() if there), "scoring the test cases", "the report")


def duration(least: float, most: float) -> str:
    """Return a range of hours as text, in minutes or seconds if it is short."""
    unit, factor = next((pair for pair in UNITS if most * pair[1] >= 1), UNITS[-1])
    low, high = (f"{factor * hours:.1f}" for hours in (least, most))
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"
