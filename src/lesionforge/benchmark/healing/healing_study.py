"""A study of methods that remove lesions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pandas as pd

from lesionforge.benchmark.healing.healing_jobs import fit_f_pre, fit_method, score
from lesionforge.benchmark.healing.healing_plan import HealingPlan
from lesionforge.benchmark.healing.healing_report import write_healing_report
from lesionforge.benchmark.split import split_cases
from lesionforge.benchmark.study import Study
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.leaks import check_no_leak
from lesionforge.cohort.splits import take_subjects
from lesionforge.engine.base import Say
from lesionforge.engine.job import Job
from lesionforge.errors import CohortError
from lesionforge.files import write_text
from lesionforge.healers.base import healing_cohort
from lesionforge.reading import read_frame
from lesionforge.seeding import derive_seed

MODEL = "model.json"


@dataclass(frozen=True, kw_only=True)
class HealingStudy(Study):
    """A study of methods that remove lesions, all trained on the same cases and scored on the same test cases.

    Attributes:
        plan: the plan.
        train: training cases of f_pre, from which those of the methods are chosen; with only the plan's channels.
        scored: the test cases.
    """

    plan: HealingPlan
    train: Cohort
    scored: Cohort

    @classmethod
    def make(cls, plan: HealingPlan, cohort: Cohort, roles: Mapping[str, Collection[str]], out: Path) -> Self:
        """Split the subjects.

        Raises:
            ConfigError: if roles, shares and numbers are mixed, a role is missing, or the methods need more training
                subjects than exist.
            CohortError: if a part has no annotated case, or a test case has a lesion without a mask.
            LeakError: if a test subject is the parent of a training case.
        """
        channels = plan.channels or cohort.channels
        cases = healing_cohort(cohort, channels).with_channels(channels)
        parts = split_cases(plan.subjects, cases, roles)
        check_no_leak(parts["train"], parts["test"])
        for case in parts["test"]:
            if not case.outlined:
                what = "has a lesion but no mask, which scores need"
                raise CohortError(case.case_id, what, "add the mask, or leave it out")
        study = cls(plan=plan, train=parts["train"], scored=parts["test"], out=out)
        study.train_of(plan.seeds[0])
        return study

    @property
    def disjoint(self) -> dict[str, Cohort]:
        """The training cases and the test cases."""
        return {"train": self.train, "test": self.scored}

    @property
    def parts(self) -> dict[str, Cohort]:
        """The training cases, those of each seed if they differ, and the test cases."""
        if self.plan.subjects.number is None:
            return self.disjoint
        return {f"train seed{seed}": self.train_of(seed) for seed in self.plan.seeds} | self.disjoint

    def train_of(self, seed: int) -> Cohort:
        """Return the training cases of every method in a seed: all, or a random choice of its own."""
        subjects = self.plan.subjects
        if subjects.number is None:
            return self.train
        drawn = derive_seed(subjects.seed, "draw", self.plan.seeds.index(seed))
        return take_subjects(self.train, subjects.number, drawn)

    @property
    def f_pre_folder(self) -> Path:
        """Folder of the segmentation network that looks for lesions in healed scans."""
        return self.out / "f_pre"

    @property
    def outlined(self) -> Cohort:
        """The training cases that are lesion-free or have a lesion mask."""
        return self.train.annotated()

    def seed_folder(self, seed: int) -> Path:
        """Return the folder of a seed."""
        return self.out / "runs" / f"seed{seed}"

    def model_folder(self, seed: int, name: str) -> Path:
        """Return the folder of a trained method."""
        return self.seed_folder(seed) / "methods" / name

    def healed_folder(self, seed: int, name: str) -> Path:
        """Return the folder of the images that a method produced for the test cases."""
        return self.seed_folder(seed) / "healed" / name

    def results_file(self, seed: int) -> Path:
        """Return the file of a seed's scores."""
        return self.seed_folder(seed) / "results.csv"

    def jobs(self, say: Say = lambda line: None) -> list[Job]:
        """Return all jobs: f_pre, every method with every seed, and the scores of each seed."""
        jobs = [self._job(self.f_pre_folder / MODEL, fit_f_pre)]
        for seed in self.plan.seeds:
            fits = [
                self._job(self.model_folder(seed, name) / MODEL, fit_method, seed, name) for name in self.plan.methods
            ]
            needs = [jobs[0].name, *(fit.name for fit in fits)]
            jobs += [*fits, self._job(self.results_file(seed), score, seed, needs=needs)]
        return jobs

    def _job(self, product: Path, function: Callable[..., str], *of: Any, needs: Sequence[str] = ()) -> Job:
        name = product.relative_to(self.out).as_posix().removeprefix("runs/")
        return Job(name=name, product=product, function=function, arguments=(self, *of), needs=tuple(needs))

    def collect(self) -> None:
        """Write ``results.csv``."""
        names = {"method": str, "case_id": str, "subject_id": str}
        results = pd.concat([read_frame(self.results_file(seed), dtype=names) for seed in self.plan.seeds])
        write_text(self.out / "results.csv", results.to_csv(index=False))

    def report(self) -> str:
        """Write the report from ``results.csv`` and return a sentence about the first method that is not a baseline."""
        return write_healing_report(self)
