"""Running a plan: f_pre, the methods, their healed scans, scores, report. What is done already is not done again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from lesionforge.benchmark.healing.healing_jobs import F_PRE, fit, score
from lesionforge.benchmark.healing.healing_plan import HealingPlan
from lesionforge.benchmark.healing.healing_report import write_healing_report
from lesionforge.benchmark.healing.healing_setting import HealingSetting, make_healing_setting
from lesionforge.benchmark.report.made_of import RunRecord, Source
from lesionforge.benchmark.study import claim_study
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.people import keep_hashes, recall_hashes
from lesionforge.engine.pool import Pool, threads_of
from lesionforge.files import one_at_a_time, write_text
from lesionforge.reading import read_frame

Say = Callable[[str], None]


@one_at_a_time
def run_healing(
    plan: HealingPlan,
    cohort: Cohort,
    *,
    out: Path,
    roles: Mapping[str, Sequence[str]] | None = None,
    workers: int = 1,
    say: Say = lambda line: None,
    source: Source = Source(),
) -> str:
    """Train methods that remove lesions, heal the test cases with each, and return what came of it in a sentence.

    Args:
        plan: what to compare.
        cohort: real (or simulated) cases whose lesions are known.
        out: a new folder, or that of the same plan, which goes on where it was.
        roles: role → subjects, where the plan names roles.
        workers: processes; each takes one job at a time.
        say: told what is done.
        source: of the plan, for the report.

    Raises:
        LeakError: if a test subject is the parent of a training case.
        OutputError: if ``out`` holds another plan, or this one on other cases.
    """
    recall_hashes(out)
    setting = make_healing_setting(plan, cohort, roles or {}, out)
    claim_study(out, plan, setting.split())
    keep_hashes(out, [setting.train, setting.test])
    record = RunRecord(out, cohort, source, device=plan.training.device)
    with Pool(workers, threads=threads_of(workers, plan.training.device)) as run:
        for line in run(fit, trainings(setting)):
            say(line)
        for line in run(score, [(setting, seed) for seed in plan.seeds]):
            say(line)
    names = {"method": str, "case_id": str, "subject_id": str}
    results = pd.concat([read_frame(setting.results_file(seed), dtype=names) for seed in plan.seeds])
    write_text(out / "results.csv", results.to_csv(index=False))
    record.save()
    return write_healing_report(setting)


def trainings(setting: HealingSetting) -> list[tuple[HealingSetting, int, str]]:
    """Return the arguments of :func:`fit` for every training: of f_pre, and of each method with each seed."""
    plan = setting.plan
    fits = [(setting, seed, name) for seed in plan.seeds for name in plan.methods]
    return [(setting, plan.f_pre.training.seed, F_PRE), *fits]
