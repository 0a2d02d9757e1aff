"""Cross-validation: a plan run once for each fold of the subjects, and one report of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from lesionforge.benchmark.arms.control import LENGTHS
from lesionforge.benchmark.plan import Plan
from lesionforge.benchmark.report.made_of import RunRecord, Source, made_of
from lesionforge.benchmark.report.page import REFERENCE, read_results, write_report
from lesionforge.benchmark.run import SIMULATED, Say, run_benchmark
from lesionforge.benchmark.setting import make_setting
from lesionforge.benchmark.study import claim_study
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.leaks import look_alikes
from lesionforge.cohort.people import keep_hashes, recall_hashes
from lesionforge.files import one_at_a_time, write_text
from lesionforge.reading import read_json


@one_at_a_time
def cross_validate(
    plan: Plan,
    cohort: Cohort,
    *,
    out: Path,
    roles: Mapping[str, Sequence[str]] | None = None,
    workers: int = 1,
    say: Say = lambda line: None,
    source: Source = Source(),
) -> str:
    """Run a plan with every fold as the test set in turn and return the verdict over all subjects.

    Each fold is a run of its own in ``out/fold0`` …, with its report and figures; ``out`` holds the scores of all cases
    and their report.

    Args:
        plan: whose ``subjects`` name a number of folds.
        cohort: real (or simulated) cases; every annotated subject is tested on once.
        out: a new folder, or that of the same plan, which goes on where it was.
        roles: not used: folds are of all subjects.
        workers: processes; each takes one job at a time.
        say: told what is done.
        source: of the plan, for the report.

    Raises:
        ConfigError: if there are fewer subjects than folds.
        OutputError: if ``out`` holds another plan, or this one on other cases.
    """
    recall_hashes(out)
    plans = plans_of_folds(plan)
    tests = {name: make_setting(one, cohort, {}, out / name).test for name, one in plans.items()}
    claim_study(out, plan, {name: [case.case_id for case in test] for name, test in tests.items()})
    keep_hashes(out, tests.values())
    record = RunRecord(out, cohort, source, device=plan.training.device)
    for name, one in plans.items():
        say(f"{name}: {run_benchmark(one, cohort, out=out / name, workers=workers, say=say, source=source)}")
    for table in ("results.csv", REFERENCE):
        tables = [read_results(out / name / table).assign(fold=name) for name in plans]
        write_text(out / table, pd.concat(tables).to_csv(index=False))
    doubts = {name: read_json(out / name / LENGTHS)["doubt"] for name in plans}
    record.save()
    simulated = any(case.origin == "simulated" for test in tests.values() for case in test)
    return write_report(
        out,
        baseline=plan.baseline,
        primary=plan.primary,
        arm=plan.arm,
        undertrained="; ".join(f"{name}: {doubt}" for name, doubt in doubts.items() if doubt) or None,
        title=plan.name,
        notes={
            "Cross-validation": f"{len(plans)} folds by subject; {', '.join(plans)} hold a report and figures each",
            "Test subjects": f"{len({case.subject_id for test in tests.values() for case in test})}, each in one fold",
        },
        warnings=[*([SIMULATED] if simulated else []), *look_alikes(list(tests.values()))],
        made_of=made_of(out, {}),
    )


def plans_of_folds(plan: Plan) -> dict[str, Plan]:
    """Return the name of each fold and its plan."""
    assert plan.subjects.folds is not None
    return {
        f"fold{fold}": plan.model_copy(update={"subjects": plan.subjects.model_copy(update={"fold": fold})})
        for fold in range(plan.subjects.folds)
    }
