"""Running a plan: synthesizers, control, arms, report. What is done already is not done again."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml

from lesionforge.benchmark.gallery import examples, gallery
from lesionforge.benchmark.jobs import development_score, fit_mask_generator, fit_synthesizer, pretrain, score_arm
from lesionforge.benchmark.masks import mask_warnings
from lesionforge.benchmark.method import method_notes
from lesionforge.benchmark.plan import Plan
from lesionforge.benchmark.report import write_report
from lesionforge.benchmark.setting import Number, Setting, make_setting
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.leaks import check_no_leak
from lesionforge.errors import OutputError
from lesionforge.files import claim_output, write_json, write_text
from lesionforge.scores import score_info
from lesionforge.training.quiet import quiet

Say = Callable[[str], None]


def run_benchmark(
    plan: Plan,
    cohort: Cohort,
    *,
    out: Path,
    roles: Mapping[str, Sequence[str]] | None = None,
    workers: int = 1,
    say: Say = lambda line: None,
) -> str:
    """Run a plan and return the verdict.

    Args:
        plan: what to compare.
        cohort: real (or simulated) cases.
        out: a new folder, or that of the same plan, which goes on where it was.
        roles: role → subjects, where the plan names roles.
        workers: processes; each takes one job at a time.
        say: told what is done.

    Raises:
        LeakError: if a test subject is anybody's parent.
        OutputError: if ``out`` holds another plan, or this one on other cases.
    """
    setting = make_setting(plan, cohort, roles or {}, out)
    for train in setting.train.values():
        check_no_leak(train, setting.test)
        check_no_leak(train, setting.development)
    _claim(setting)
    wanted = {arm.synthesizer for arm in plan.arms.values()} - {None}
    pairs = [(number, seed) for number in plan.subjects.numbers for seed in plan.seeds]
    with _Pool(workers) as run:
        for line in run(
            fit_mask_generator, [(setting, *pair, name) for pair in pairs for name in plan.mask_generators]
        ):
            say(line)
        fits = [(setting, *pair, name) for pair in pairs for name in sorted(filter(None, wanted))]
        for line in run(fit_synthesizer, fits):
            say(line)
        steps, control = _control(setting, run, say)
        first = {setting.pretraining_folder(*pairs[0], name, steps): name for name in plan.tuned_arms}
        for line in run(pretrain, [(setting, *pair, name, steps) for pair in pairs for name in first.values()]):
            say(line)
        for line in run(score_arm, [(setting, *pair, name, steps) for pair in pairs for name in plan.arms]):
            say(line)
    tables = [setting.arm_folder(*pair, name, steps) / "results.csv" for pair in pairs for name in plan.arms]
    names = {"arm": str, "case_id": str, "subject_id": str}
    results = pd.concat([pd.read_csv(t, dtype=names, keep_default_na=False, na_values=[""]) for t in tables])
    write_text(out / "results.csv", results.to_csv(index=False))
    return report(setting, steps=steps, control=control)


def report(setting: Setting, *, steps: int, control: str) -> str:
    """Write the report from ``results.csv`` and return the verdict."""
    plan, extras = setting.plan, gallery(setting, steps=steps)
    simulated = any(case.origin == "simulated" for case in setting.test)
    undrawn = " / ".join(map(str, extras.problems))
    return write_report(
        setting.out,
        baseline=plan.baseline,
        primary=plan.primary,
        arm=plan.arm,
        title=plan.name,
        notes=method_notes(setting, steps=steps, control=control)
        | ({"Figures that could not be drawn": undrawn} if undrawn else {}),
        warnings=[
            *(["All scans are simulated: this says nothing about patients."] if simulated else []),
            *mask_warnings(setting),
        ],
        examples=examples(setting, steps=steps),
        extras=extras.figures,
    )


def _control(setting: Setting, run: Callable[..., Iterator[Any]], say: Say) -> tuple[int, str]:
    """Return the steps at which doubling no longer helps, and a sentence about it."""
    plan, steps = setting.plan, setting.plan.training.steps
    if plan.control is None:
        return steps, "not made"
    number: Number = max(plan.subjects.numbers)
    arm, info = plan.control.arm or plan.baseline, score_info(plan.primary)
    while True:
        jobs = [(setting, number, seed, arm, n) for n in (steps, 2 * steps) for seed in plan.seeds]
        before, after = np.array(list(run(development_score, jobs))).reshape(2, -1).mean(1) * info.factor
        text = (
            f"twice the steps ({2 * steps}) changed the development {info.title} of {arm} by {after - before:+.1f} "
            f"{info.unit} ({before:.1f} to {after:.1f}, {len(plan.seeds)} seeds)"
        )
        say(text)
        if (before - after if info.higher_is_better is False else after - before) < plan.control.tolerance:
            return steps, text
        if 2 * steps <= plan.control.max_steps:
            steps *= 2
        if 2 * steps > plan.control.max_steps:
            limit = f"but no arm gets more than {plan.control.max_steps} steps"
            return steps, f"{text}; it may still be undertrained, {limit}"


def _claim(setting: Setting) -> None:
    """Write the plan and the split into a new folder, or see that they are those of the run that is there."""
    plan, split = setting.out / "plan.yaml", setting.out / "split.json"
    text = yaml.safe_dump(setting.plan.model_dump(mode="json"), sort_keys=False)
    cases = setting.split()
    if not plan.is_file():
        claim_output(setting.out)
        write_text(plan, text)
    elif plan.read_text(encoding="utf-8") != text:
        raise OutputError(setting.out, "holds the results of another plan", "name a new folder")
    if not split.is_file():
        write_json(split, cases)
    elif json.loads(split.read_text(encoding="utf-8")) != cases:
        raise OutputError(setting.out, "holds the results of this plan on other cases", "name a new folder")


class _Pool:
    """Runs jobs in this process, or in ``workers`` others that share the cores."""

    def __init__(self, workers: int) -> None:
        self.pool: ProcessPoolExecutor | None = None
        if workers > 1:
            threads = max(1, (os.cpu_count() or 1) // workers)
            self.pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (threads, os.getpid()))

    def __enter__(self) -> Callable[..., Iterator[Any]]:
        return self._run

    def __exit__(self, *exception: object) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)

    def _run(self, function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        if self.pool is None:
            return (function(*job) for job in jobs)
        futures = [self.pool.submit(function, *job) for job in jobs]
        return (future.result() for future in futures)


def _start_worker(threads: int, parent: int) -> None:
    quiet()
    torch.set_num_threads(threads)
    Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process once its parent was killed: a new run would work in the same folders."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
