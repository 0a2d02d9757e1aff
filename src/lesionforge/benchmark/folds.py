"""Cross-validation: a plan of arms run in every fold of the subjects, with one report over all folds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import pandas as pd

from lesionforge.benchmark.arms.arm_jobs import RESULTS
from lesionforge.benchmark.arms.arm_study import ArmStudy
from lesionforge.benchmark.arms.audit_offline import audit_over_folds
from lesionforge.benchmark.arms.control import LENGTHS
from lesionforge.benchmark.arms.left_out import check_left_out
from lesionforge.benchmark.arms.repeats import AUDITS
from lesionforge.benchmark.plan import Plan
from lesionforge.benchmark.report.case_facts import TEST_CASES
from lesionforge.benchmark.report.channels import of_several_channels, read_errors, write_channels
from lesionforge.benchmark.report.equal_steps import TRIED
from lesionforge.benchmark.report.made_of import made_of
from lesionforge.benchmark.report.measured_rows import measured_rows
from lesionforge.benchmark.report.method_notes import scoring_rules
from lesionforge.benchmark.report.page import REFERENCE, read_results, write_report
from lesionforge.benchmark.study import SIMULATED, Study
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.leaks import look_alikes
from lesionforge.engine.base import Say
from lesionforge.engine.job import Job
from lesionforge.files import write_text
from lesionforge.reading import read_frame, read_json


@dataclass(frozen=True, kw_only=True)
class FoldStudy(Study):
    """A cross-validated plan of arms: each fold is the test set once.

    Each fold is a study of its own in ``out/fold0`` …, with its own report and figures. ``out`` holds the scores of all
    cases and the report over all folds.

    Attributes:
        plan: the plan; its ``subjects.folds`` is set.
        of_folds: fold name → study of that fold.
    """

    plan: Plan
    of_folds: dict[str, ArmStudy]

    @classmethod
    def make(cls, plan: Plan, cohort: Cohort, out: Path) -> Self:
        """Create the study of each fold; every annotated subject is a test subject in exactly one fold.

        An arm that is left out at a size in one fold is left out in all, so that every comparison has all subjects.

        Raises:
            ConfigError: if there are fewer subjects than folds, the baseline cannot be trained at a size in a fold, or
                another arm at no size.
        """
        plans = plans_of_folds(plan)
        made = {name: ArmStudy.make(one, cohort, {}, out / name) for name, one in plans.items()}
        together = {pair: why for fold in made.values() for pair, why in fold.arms.left_out.items()}
        check_left_out(plan, together)
        folds = {name: replace(fold, arms=replace(fold.arms, left_out=together)) for name, fold in made.items()}
        return cls(plan=plan, of_folds=folds, out=out)

    @property
    def folds(self) -> dict[str, Study]:
        """Fold name → study of that fold."""
        return dict(self.of_folds)

    @property
    def left_out(self) -> list[str]:
        """A line for each arm and size that is left out in all folds."""
        return next(iter(self.of_folds.values())).left_out

    @property
    def disjoint(self) -> dict[str, Cohort]:
        """The test cases of each fold."""
        return {name: fold.test for name, fold in self.of_folds.items()}

    @property
    def parts(self) -> dict[str, Cohort]:
        """The test cases of each fold."""
        return self.disjoint

    @property
    def test(self) -> Cohort:
        """All cases; each is scored in one fold."""
        first, *_ = self.disjoint.values()
        return first.with_cases([case for test in self.disjoint.values() for case in test])

    def jobs(self, say: Say = lambda line: None) -> list[Job]:
        """Return the jobs of all folds; the folds do not depend on each other."""
        jobs = []
        for name, fold in self.of_folds.items():
            jobs += [_under(name, job) for job in fold.jobs(lambda line, name=name: say(f"{name}: {line}"))]  # type: ignore[misc]
        return jobs

    def collect(self) -> None:
        """Write the tables of scores, lengths and test cases of all folds, and their audits together."""
        for table in (RESULTS, REFERENCE):
            tables = [read_results(self.out / name / table).assign(fold=name) for name in self.of_folds]
            write_text(self.out / table, pd.concat(tables).to_csv(index=False))
        if self.plan.control is not None:
            tried = [read_frame(self.out / name / TRIED).assign(fold=name) for name in self.of_folds]
            write_text(self.out / TRIED, pd.concat(tried).to_csv(index=False))
        cases = [read_frame(self.out / name / TEST_CASES, dtype={"subject_id": str}) for name in self.of_folds]
        write_text(self.out / TEST_CASES, pd.concat(cases).to_csv(index=False))
        for name, synthesizer in self.plan.synthesizers.items():
            if synthesizer.audit is not None:
                audits = [fold.arms.shown.audit_folder(name) for fold in self.of_folds.values()]
                audit_over_folds(audits, self.out / AUDITS / name)

    def report(self) -> str:
        """Write the report over all subjects and return the verdict."""
        plan, names = self.plan, list(self.of_folds)
        decided = [(one.arms, one.lengths) for one in (fold.decided for fold in self.of_folds.values())]
        doubts = {name: read_json(self.out / name / LENGTHS)["doubt"] for name in names}
        return write_report(
            self.out,
            baseline=plan.baseline,
            primary=plan.primary,
            arm=plan.arm,
            against=plan.against,
            undertrained="; ".join(f"{name}: {doubt}" for name, doubt in doubts.items() if doubt) or None,
            title=plan.name,
            notes={
                "Cross-validation": f"{len(names)} folds by subject; {', '.join(names)} hold a report and figures each",
                "Test subjects": f"{len(self.test.subjects)}, each in one fold",
                **scoring_rules(plan),
                **measured_rows(decided, read_results(self.out / RESULTS)),
            },
            warnings=[
                *([SIMULATED] if self.simulated else []),
                *look_alikes(list(self.disjoint.values())),
                *_doubts({name: fold.doubts for name, fold in self.of_folds.items()}),
            ],
            channels=write_channels(
                read_errors(self.out / name for name in names), of_several_channels(decided[0][0]), self.out
            ),
            made_of=made_of(self.out, _together(fold.trainings for fold in self.of_folds.values())),
        )


def _doubts(of_folds: Mapping[str, Sequence[str]]) -> list[str]:
    """Return each warning once, with the folds that it is about."""
    folds_of: dict[str, list[str]] = {}
    for name, doubts in of_folds.items():
        for doubt in doubts:
            folds_of.setdefault(doubt, []).append(name)
    return [f"{', '.join(names)}: {doubt}" for doubt, names in folds_of.items()]


def _together(of_folds: Iterable[Mapping[str, Sequence[Path]]]) -> dict[str, list[Path]]:
    """Return name → folders of the training runs of all folds."""
    found: dict[str, list[Path]] = {}
    for folders in of_folds:
        for name, of_name in folders.items():
            found.setdefault(name, []).extend(of_name)
    return found


def _under(folder: str, job: Job) -> Job:
    """Return a fold's job under its name in the cross-validated study."""
    return replace(job, name=f"{folder}/{job.name}", needs=tuple(f"{folder}/{name}" for name in job.needs))


def plans_of_folds(plan: Plan) -> dict[str, Plan]:
    """Return fold name → plan of that fold."""
    assert plan.subjects.folds is not None
    return {
        f"fold{fold}": plan.model_copy(update={"subjects": plan.subjects.model_copy(update={"fold": fold})})
        for fold in range(plan.subjects.folds)
    }
