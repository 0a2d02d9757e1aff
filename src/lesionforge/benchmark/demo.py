"""A complete benchmark on the built-in simulated cohort."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from lesionforge.benchmark.plan import read_plan
from lesionforge.benchmark.plan_file import preset
from lesionforge.benchmark.report.made_of import Source
from lesionforge.benchmark.run import run_benchmark
from lesionforge.cohort.inspection.contact_sheet import contact_sheet
from lesionforge.cohort.layouts import read_cohort
from lesionforge.files import one_at_a_time
from lesionforge.simulation.simulated_cohort import make_template_cohort

SUBJECTS = 40


@one_at_a_time
def run_demo(
    out: Path, *, seed: int = 0, workers: int = 2, say: Callable[[str], None] = print, command: str | None = None
) -> str:
    """Simulate a cohort, run the preset ``demo`` on it, and return the verdict.

    To resume an interrupted demo, start it again with the same folder.

    Args:
        out: folder for all output.
        seed: seed of the simulated cohort; the plan sets the benchmark's own seeds.
        workers: number of processes.
        say: called with one line per step, naming the files it wrote.
        command: command line to show in the report.
    """
    start = time.monotonic()
    folder = out / "Dataset001_Simulated"
    cohort = make_template_cohort(folder, n_subjects=SUBJECTS, seed=seed, workers=workers)
    say(f"simulated cohort: {folder} ({len(cohort)} subjects; no patient is in it)")
    say(f"  picture: {contact_sheet(cohort, out / 'cohort.png', n_cases=8)}")
    plan = read_plan(preset("demo"))
    study = out / "benchmark"
    source = Source(plan="demo", command=command)
    verdict = run_benchmark(plan, cohort, out=study, workers=workers, say=lambda line: say(f"  {line}"), source=source)
    synthetic = sorted(study.glob("runs/*/seed*/cohorts/*"))
    for drawn in synthetic[:1]:
        say(f"synthetic cohort: {drawn}")
        say(f"  picture: {contact_sheet(read_cohort(drawn), out / 'synthetic.png', n_cases=8)}")
    say(f"report: {study / 'report.html'} ({(time.monotonic() - start) / 60:.0f} minutes)")
    say(verdict)
    return verdict
