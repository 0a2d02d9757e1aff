"""Running a plan: synthesizers, control, arms, report. What is done already is not done again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lesionforge.benchmark.gallery import examples, gallery
from lesionforge.benchmark.jobs import development_score, fit_mask_generator, fit_synthesizer, pretrain, score_arm
from lesionforge.benchmark.masks import mask_warnings
from lesionforge.benchmark.method import method_notes
from lesionforge.benchmark.plan import Plan
from lesionforge.benchmark.pool import Pool
from lesionforge.benchmark.provenance import RunRecord, Source, made_of
from lesionforge.benchmark.report import write_report
from lesionforge.benchmark.setting import Number, Setting, make_setting
from lesionforge.benchmark.study import claim_study
from lesionforge.benchmark.targets import check_targets, target_warnings
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.leaks import check_no_leak
from lesionforge.files import write_text
from lesionforge.scores import score_info

Say = Callable[[str], None]
NO_CONTROL = "no control of its length was made"
SIMULATED = "All scans are simulated: this says nothing about patients."


def run_benchmark(
    plan: Plan,
    cohort: Cohort,
    *,
    out: Path,
    roles: Mapping[str, Sequence[str]] | None = None,
    workers: int = 1,
    say: Say = lambda line: None,
    source: Source = Source(),
) -> str:
    """Run a plan and return the verdict.

    Args:
        plan: what to compare.
        cohort: real (or simulated) cases.
        out: a new folder, or that of the same plan, which goes on where it was.
        roles: role → subjects, where the plan names roles.
        workers: processes; each takes one job at a time.
        say: told what is done.
        source: of the plan, for the report.

    Raises:
        LeakError: if a test subject is anybody's parent.
        OutputError: if ``out`` holds another plan, or this one on other cases.
    """
    setting = make_setting(plan, cohort, roles or {}, out)
    for train in setting.train.values():
        check_no_leak(train, setting.test)
        check_no_leak(train, setting.development)
    check_targets(setting, cohort)
    claim_study(out, plan, setting.split())
    record = RunRecord(out, cohort, source, device=plan.training.device)
    wanted = {arm.synthesizer for arm in plan.arms.values()} - {None}
    pairs = [(number, seed) for number in plan.subjects.numbers for seed in plan.seeds]
    with Pool(workers) as run:
        for line in run(
            fit_mask_generator, [(setting, *pair, name) for pair in pairs for name in plan.mask_generators]
        ):
            say(line)
        fits = [(setting, *pair, name) for pair in pairs for name in sorted(filter(None, wanted))]
        for line in run(fit_synthesizer, fits):
            say(line)
        steps, control, undertrained = _control(setting, run, say)
        first = {setting.pretraining_folder(*pairs[0], name, steps): name for name in plan.tuned_arms}
        for line in run(pretrain, [(setting, *pair, name, steps) for pair in pairs for name in first.values()]):
            say(line)
        for line in run(score_arm, [(setting, *pair, name, steps) for pair in pairs for name in plan.arms]):
            say(line)
    tables = [setting.arm_folder(*pair, name, steps) / "results.csv" for pair in pairs for name in plan.arms]
    names = {"arm": str, "case_id": str, "subject_id": str}
    results = pd.concat([pd.read_csv(t, dtype=names, keep_default_na=False, na_values=[""]) for t in tables])
    write_text(out / "results.csv", results.to_csv(index=False))
    record.save(undertrained=undertrained)
    return report(setting, steps=steps, control=control, undertrained=undertrained)


def report(setting: Setting, *, steps: int, control: str, undertrained: str | None = None) -> str:
    """Write the report from ``results.csv`` and return the verdict."""
    plan, extras = setting.plan, gallery(setting, steps=steps)
    simulated = any(case.origin == "simulated" for case in setting.test)
    undrawn = " / ".join(map(str, extras.problems))
    return write_report(
        setting.out,
        baseline=plan.baseline,
        primary=plan.primary,
        arm=plan.arm,
        undertrained=undertrained,
        title=plan.name,
        notes=method_notes(setting, steps=steps, control=control)
        | ({"Figures that could not be drawn": undrawn} if undrawn else {}),
        warnings=[
            *([SIMULATED] if simulated else []),
            *(
                f"No training case of n = {number:g} shows {', '.join(names)}, so no network of that size can find it."
                for number, names in setting.absent.items()
                if names
            ),
            *mask_warnings(setting),
            *target_warnings(setting),
        ],
        examples=examples(setting, steps=steps),
        extras=extras.figures,
        classes=setting.test.labels,
        made_of=made_of(setting.out, trainings(setting, steps=steps)),
    )


def trainings(setting: Setting, *, steps: int) -> dict[str, list[Path]]:
    """Return synthesizer or arm → the folders of its trainings."""
    pairs = [(number, seed) for number in setting.plan.subjects.numbers for seed in setting.plan.seeds]
    synthesizers = {name: [setting.model_folder(*pair, name) for pair in pairs] for name in setting.plan.synthesizers}
    arms = {name: [setting.arm_folder(*pair, name, steps) for pair in pairs] for name in setting.plan.arms}
    return synthesizers | arms


def _control(setting: Setting, run: Callable[..., Iterator[Any]], say: Say) -> tuple[int, str, str | None]:
    """Return the steps at which doubling no longer helps, a sentence about it, and why more may still help, if so."""
    plan, steps = setting.plan, setting.plan.training.steps
    if plan.control is None:
        return steps, "not made", NO_CONTROL
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
            return steps, text, None
        if 2 * steps <= plan.control.max_steps:
            steps *= 2
        if 2 * steps > plan.control.max_steps:
            limit = f"but no arm gets more than {plan.control.max_steps} steps"
            return steps, f"{text}; it may still be undertrained, {limit}", f"{text}, {limit}"
