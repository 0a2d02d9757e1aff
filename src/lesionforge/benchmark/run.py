"""Running a study: its jobs, tables and report. Work that is already done is not repeated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lesionforge.benchmark.arms.arm_study import ArmStudy
from lesionforge.benchmark.folds import FoldStudy
from lesionforge.benchmark.healing.healing_plan import HealingPlan
from lesionforge.benchmark.healing.healing_study import HealingStudy
from lesionforge.benchmark.plan import Plan
from lesionforge.benchmark.progress_file import ProgressFile
from lesionforge.benchmark.report.made_of import RunRecord, Source
from lesionforge.benchmark.study import Study
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.people import keep_hashes, recall_hashes
from lesionforge.engine.base import Engine, Say
from lesionforge.engine.local import LocalEngine
from lesionforge.engine.processes import threads_of
from lesionforge.errors import ConfigError
from lesionforge.files import alone_in, clear, clear_leftovers, one_at_a_time
from lesionforge.kept import KEPT


@one_at_a_time
def run_benchmark(
    plan: Plan | HealingPlan,
    cohort: Cohort,
    *,
    out: Path,
    roles: Mapping[str, Sequence[str]] | None = None,
    workers: int = 1,
    engine: Engine | None = None,
    say: Say = lambda line: None,
    source: Source = Source(),
) -> str:
    """Run a plan and return the verdict.

    Args:
        plan: the plan to run.
        cohort: real (or simulated) cases.
        out: a new folder, or the folder of an earlier run of the same plan, which is then resumed.
        roles: role → subject ids, for plans that name roles.
        workers: number of processes on this machine; each runs one job at a time.
        engine: where jobs run; replaces ``workers``.
        say: called with one line per finished job or decision.
        source: origin of the plan, for the report.

    Raises:
        LeakError: if a held-out subject is a parent of a training case.
        OutputError: if ``out`` holds another plan, or this plan on other cases.
    """
    recall_hashes(out)
    study = make_study(plan, cohort, roles or {}, out)
    for line in study.left_out:
        say(line)
    record = _begin(study, cohort, source)
    of_folds = {name: _begin(fold, cohort, source) for name, fold in study.folds.items()}
    engine, decided = engine or LocalEngine(workers, threads=threads_of(workers, plan.training.device)), _once(say)
    records = [record, *of_folds.values()]
    try:
        engine.run(lambda: study.jobs(decided), _recorded(say, records), ProgressFile(out))
    finally:
        _save(records)
    clear_leftovers(out)
    for name, fold in study.folds.items():
        say(f"{name}: {_finish(fold, of_folds[name])}")
    return _finish(study, record)


def run_job(study: Study, name: str) -> str:
    """Run a single job of a study unless it is done, for example from a cluster job array; return its message.

    Raises:
        ConfigError: if there is no known job of that name, or a job that it needs is not done.
        OutputError: if the study's folder holds another plan, or this plan on other cases.
    """
    jobs = {job.name: job for job in study.jobs()}
    if name not in jobs:
        raise ConfigError("`job`", f"{name} is not known so far", "list the jobs with `list_jobs`")
    job = jobs[name]
    missing = [need for need in job.needs if not jobs[need].done]
    if missing:
        raise ConfigError("`job`", f"{name} needs {missing[0]}, which is not done", "run that job first")
    with alone_in(study.out):
        study.claim()
    return f"{name}: is done" if job.done else job.run()


def _begin(study: Study, cohort: Cohort, source: Source) -> RunRecord:
    study.claim()
    keep_hashes(study.out, study.disjoint.values())
    return RunRecord(study.out, cohort, source, device=study.plan.training.device)


def _finish(study: Study, record: RunRecord) -> str:
    study.collect()
    record.save()
    clear(study.out, [KEPT])
    return study.report()


def _recorded(say: Say, records: Sequence[RunRecord]) -> Say:
    """Return a version of ``say`` that also saves the time so far, which a killed run then keeps."""

    def say_and_save(line: str) -> None:
        say(line)
        _save(records)

    return say_and_save


def _save(records: Sequence[RunRecord]) -> None:
    for record in records:
        record.save()


def _once(say: Say) -> Say:
    """Return a version of ``say`` that reports each distinct line only once."""
    said = set[str]()

    def say_new(line: str) -> None:
        if line not in said:
            said.add(line)
            say(line)

    return say_new


def make_study(plan: Plan | HealingPlan, cohort: Cohort, roles: Mapping[str, Sequence[str]], out: Path) -> Study:
    """Apply a plan to a cohort: a study of healing methods, of arms, or of arms with cross-validation.

    Raises:
        ConfigError: if the plan does not fit the cohort.
        CohortError: if there are too few cases.
        LeakError: if a held-out subject is a parent of a training case.
    """
    if isinstance(plan, HealingPlan):
        return HealingStudy.make(plan, cohort, roles, out)
    if plan.cross_validated:
        return FoldStudy.make(plan, cohort, out)
    return ArmStudy.make(plan, cohort, roles, out)
