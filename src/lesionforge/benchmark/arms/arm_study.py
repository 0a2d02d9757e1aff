"""A study of arms: the same task trained on different compositions of the training set."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import pandas as pd

from lesionforge.benchmark.arms.ahead import Ahead, NotYetError
from lesionforge.benchmark.arms.anatomy_maps import doubt_missing_maps, map_warnings, subjects_behind_maps
from lesionforge.benchmark.arms.arm_jobs import RESULTS
from lesionforge.benchmark.arms.control import LENGTHS, Length, Lengths, controlled_length
from lesionforge.benchmark.arms.left_out import left_out, left_out_lines
from lesionforge.benchmark.arms.mask_sources import mask_warnings
from lesionforge.benchmark.arms.placebo import check_shuffled
from lesionforge.benchmark.arms.repeats import Arms, ArmTraining, TrainSize, make_arms
from lesionforge.benchmark.arms.target_scans import check_targets, target_warnings
from lesionforge.benchmark.arms.tune import TABLE, Searches, search_doubts
from lesionforge.benchmark.plan import Plan
from lesionforge.benchmark.report.case_facts import TEST_CASES, facts_of_cases
from lesionforge.benchmark.report.channels import of_several_channels, write_channels
from lesionforge.benchmark.report.equal_steps import TRIED
from lesionforge.benchmark.report.figures.gallery import gallery
from lesionforge.benchmark.report.figures.predicted import examples
from lesionforge.benchmark.report.made_of import made_of
from lesionforge.benchmark.report.measured_rows import measured_rows
from lesionforge.benchmark.report.method_notes import method_notes
from lesionforge.benchmark.report.page import REFERENCE, read_results, write_report
from lesionforge.benchmark.study import SIMULATED, Study
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.leaks import check_no_leak, look_alikes
from lesionforge.engine.base import Say
from lesionforge.engine.job import Job
from lesionforge.files import write_json, write_text
from lesionforge.kept import keeping_in
from lesionforge.reading import read_frame


@dataclass(frozen=True, kw_only=True)
class Decided:
    """The results of the hyperparameter search and of the control of the training length.

    Attributes:
        arms: the study, with the options that the search chose.
        lengths: training length of the arms at each size.
        trials: table of the search, or ``None`` if there was none.
    """

    arms: Arms
    lengths: Lengths
    trials: pd.DataFrame | None

    @property
    def trainings(self) -> dict[str, list[Path]]:
        """Synthesizer or arm → folders of its training runs."""
        plan, repeats = self.arms.plan, self.arms.repeats
        fitted = dict.fromkeys(map(plan.fitted_as, plan.synthesizers))
        synthesizers = {name: [repeat.model_folder(name) for repeat in repeats] for name in fitted}
        of_arms = {
            name: [
                repeat.training(name, self.lengths.steps(repeat.train_size)).folder
                for repeat in repeats
                if name in repeat.arms
            ]
            for name in plan.arms
        }
        return synthesizers | of_arms


@dataclass(frozen=True, kw_only=True)
class ArmStudy(Study):
    """A study of the same task trained on different compositions of the training set.

    Attributes:
        plan: the plan.
        arms: the plan applied to a cohort.
    """

    plan: Plan
    arms: Arms

    @classmethod
    def make(cls, plan: Plan, cohort: Cohort, roles: Mapping[str, Collection[str]], out: Path) -> Self:
        """Split the subjects, leave out the arms that cannot be trained at a size, and check that the run can start.

        Raises:
            ConfigError: if the baseline cannot be trained at a size, or another arm at no size, or labels are to be
                shuffled among too few drawings.
            LeakError: if a held-out subject is a parent of a case in the training pool, or what made the anatomy maps
                was trained on it.
        """
        arms = make_arms(plan, cohort, roles, out)
        for held_out in (arms.test, arms.development):
            check_no_leak(arms.pool, held_out, models=subjects_behind_maps(arms))
        check_targets(arms, cohort)
        doubt_missing_maps(arms)
        arms = replace(arms, left_out=left_out(arms))
        check_shuffled(arms)
        return cls(plan=plan, arms=arms, out=out)

    @property
    def disjoint(self) -> dict[str, Cohort]:
        """The training pool, the development cases and the test cases."""
        return {"pool": self.arms.pool, "development": self.arms.development, "test": self.arms.test}

    @property
    def parts(self) -> dict[str, Cohort]:
        """The training sets, the training pool, the development cases and the test cases."""
        sets = {
            f"train n{one.train_size:g} set{self.arms.training_set(one.seed)}": one.train for one in self.arms.repeats
        }
        return sets | self.disjoint

    def jobs(self, say: Say = lambda line: None) -> list[Job]:
        """Return all jobs known so far; the search and the control add more as scores become available."""
        ahead = Ahead(study=self.arms, say=say)
        decide(ahead)
        return list(ahead.jobs.values())

    def collect(self) -> None:
        """Write the tables of scores and of the test cases, ``lengths.json``, and what control and search tried."""
        decided = self.decided
        if decided.trials is not None:
            write_text(self.out / TABLE, decided.trials.to_csv(index=False))
        arms, steps = decided.arms, decided.lengths.steps
        _collect(self.out / RESULTS, _trainings(arms, self.plan.subjects.numbers, steps))
        _collect(self.out / REFERENCE, [one.training(self.plan.baseline, steps(arms.whole)) for one in arms.references])
        write_json(self.out / LENGTHS, decided.lengths.as_json())
        if self.plan.control is not None:
            write_text(self.out / TRIED, decided.lengths.table(self.plan.seeds).to_csv(index=False))
        with keeping_in(self.out):
            facts = facts_of_cases(arms.test, arms.channels)
        write_text(self.out / TEST_CASES, facts.to_csv(index=False))

    def report(self) -> str:
        """Write the report from ``results.csv`` and ``reference.csv`` and return the verdict."""
        plan, decided = self.plan, self.decided
        arms, steps = decided.arms, decided.lengths.steps(max(plan.subjects.numbers))
        extras = gallery(arms, steps=steps)
        undrawn = " / ".join(map(str, extras.problems))
        return write_report(
            self.out,
            baseline=plan.baseline,
            primary=plan.primary,
            arm=plan.arm,
            against=plan.against,
            undertrained=decided.lengths.doubt,
            title=plan.name,
            notes=method_notes(arms, decided.lengths)
            | measured_rows([(arms, decided.lengths)], read_results(self.out / RESULTS))
            | ({"Figures that could not be drawn": undrawn} if undrawn else {}),
            warnings=[
                *([SIMULATED] if self.simulated else []),
                *look_alikes(list(self.disjoint.values())),
                *self.doubts,
            ],
            examples=examples(arms, steps=steps),
            extras=extras.figures,
            channels=write_channels(extras.channels, of_several_channels(arms), self.out),
            classes=arms.test.labels,
            made_of=made_of(self.out, self.trainings),
        )

    @property
    def doubts(self) -> list[str]:
        """Warnings about arms left out, the search, absent classes, masks, matched scans and anatomy maps."""
        return [
            *self.left_out,
            *search_doubts(self.arms),
            *_absent_classes(self.arms),
            *mask_warnings(self.arms),
            *target_warnings(self.arms),
            *map_warnings(self.arms),
        ]

    @property
    def left_out(self) -> list[str]:
        """A line for each arm and size that is left out; see :func:`left_out`."""
        return left_out_lines(self.arms.left_out)

    @property
    def trainings(self) -> dict[str, list[Path]]:
        """Synthesizer or arm → folders of its training runs, once all are done."""
        return self.decided.trainings

    @property
    def decided(self) -> Decided:
        """The results of the search and of the control, once all jobs are done."""
        decided = decide(Ahead(study=self.arms))
        assert decided is not None, "a job is not done"
        return decided


def decide(ahead: Ahead) -> Decided | None:
    """Make the decisions of search and control that existing scores allow; return them if complete, else ``None``.

    Args:
        ahead: collects the jobs.
    """
    study = ahead.study
    for repeat in study.repeats:
        ahead.add_synthesizers(repeat)
    ahead.add_audits(study.shown)
    searches, lengths = Searches(ahead), dict[TrainSize, Length]()
    for size in study.sizes:
        try:
            arms = searches.arms(size)
            lengths[size] = controlled_length(replace(ahead, study=arms), size)
        except NotYetError:
            continue
        for training in _trainings(arms, [size], lambda of: lengths[of].steps):
            ahead.add_test(training)
    if len(lengths) < len(study.sizes):
        return None
    return Decided(arms=searches.arms(*study.sizes), lengths=Lengths(of=lengths), trials=searches.table())


def _trainings(arms: Arms, sizes: Sequence[TrainSize], steps: Callable[[TrainSize], int]) -> Iterator[ArmTraining]:
    """Yield the training run of every arm, size and seed; at the size of the whole pool, of the baseline only."""
    for size in sizes:
        for seed in arms.plan.seeds:
            repeat = arms.repeat(size, seed)
            for name in repeat.arms if size in arms.plan.subjects.numbers else (arms.plan.baseline,):
                yield repeat.training(name, steps(size))


def _collect(path: Path, trainings: Iterable[ArmTraining]) -> None:
    """Write the scores of several training runs into one table."""
    names = {"arm": str, "case_id": str, "subject_id": str}
    tables = [
        read_frame(training.folder / RESULTS, dtype=names, keep_default_na=False, na_values=[""])
        for training in trainings
    ]
    write_text(path, pd.concat(tables).to_csv(index=False))


def _absent_classes(study: Arms) -> list[str]:
    """Return a warning for each size and lesion class that is missing from some training sets."""
    lines = []
    for size in study.plan.subjects.numbers:
        by_class: dict[str, list[str]] = {}
        for seed in study.plan.seeds:
            for name in study.absent[size, seed]:
                by_class.setdefault(name, []).append(str(seed))
        lines += [
            f"No training case of n = {size:g}, seed {', '.join(seeds)} shows {name}, so no network of these "
            "trainings can find it."
            for name, seeds in by_class.items()
        ]
    return lines
