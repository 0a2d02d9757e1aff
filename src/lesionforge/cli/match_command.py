"""The command that makes lesion-free scans of another set look like the scans of a cohort."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lesionforge.cli.common import (
    CaseList,
    CohortFolder,
    Columns,
    Role,
    Seed,
    Subjects,
    a_cohort,
    console,
    finish,
    progress_bar,
    tell_dropped,
)
from lesionforge.cli.engines import EngineChoice, EngineOption, Scheduler, Workers, make_engine


def match(
    cohort: CohortFolder,
    out: Annotated[Path, typer.Argument(metavar="COHORT2", help="The cohort folder to write.")],
    to: Annotated[
        Path, typer.Option(callback=a_cohort, help="The cohort whose scans they shall look like, outside lesions.")
    ],
    subjects: Subjects = None,
    cases: CaseList = None,
    role: Role = None,
    seed: Seed = 0,
    keep_column: Columns = None,
    workers: Workers = 1,
    engine: EngineOption = EngineChoice.LOCAL,
    scheduler: Scheduler = None,
) -> None:
    """Choose lesion-free scans at the levels of another cohort and give them its intensities.

    The result is a cohort to draw lesions into. --subjects, --cases and --role choose among the cases of --to: name
    only cases that you will train on.

    Example: lesionforge match Dataset001_Healthy Dataset002_Matched --to Dataset003_CT --role pool
    """
    from lesionforge.cli.common import read_selection
    from lesionforge.cohort.layouts import read_cohort
    from lesionforge.files import building
    from lesionforge.production.match import describe_auc, match_cohort, told_apart

    reference = read_selection(to, subjects=subjects, cases=cases, role=role, seed=seed)
    healthy, where = read_cohort(cohort), make_engine(engine, scheduler, workers, "cpu")
    with building(out) as unfinished, progress_bar("matching") as progress:
        report = match_cohort(
            healthy,
            reference,
            out=unfinished,
            seed=seed,
            columns=keep_column or (),
            engine=where,
            progress=progress,
        )
    matched = report.written.cohort
    console.print(f"{out}: {len(matched)} cases of {len(matched.subjects)} subjects; look at {out / 'match.png'}")
    if report.height_error is not None:
        console.print(f"levels were estimated with a mean error of {report.height_error:.1f} slices")
    console.print(describe_auc(report.auc))
    if told_apart(report.auc):
        console.print("warning: a network could tell the two sets apart, and so drawn lesions from real ones")
    tell_dropped(report.written.dropped_columns)
    finish(report.written.problems, out / "problems.csv")
