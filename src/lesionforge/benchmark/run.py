"""Running a plan: search, control, synthesizers, arms, report. What is done already is not done again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lesionforge.benchmark.arms.control import LENGTHS, Lengths, controlled_lengths
from lesionforge.benchmark.arms.mask_sources import mask_warnings
from lesionforge.benchmark.arms.target_scans import check_targets, target_warnings
from lesionforge.benchmark.arms.tune import tuned
from lesionforge.benchmark.jobs import fit_mask_generator, fit_synthesizer, pretrain, score_arm
from lesionforge.benchmark.plan import Plan
from lesionforge.benchmark.report.figures.gallery import examples, gallery
from lesionforge.benchmark.report.made_of import RunRecord, Source, made_of
from lesionforge.benchmark.report.method_notes import method_notes
from lesionforge.benchmark.report.page import REFERENCE, write_report
from lesionforge.benchmark.setting import Number, Setting, make_setting
from lesionforge.benchmark.study import claim_study
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.leaks import check_no_leak, look_alikes
from lesionforge.cohort.people import keep_hashes, recall_hashes
from lesionforge.engine.pool import Pool, threads_of
from lesionforge.files import one_at_a_time, write_json, write_text
from lesionforge.reading import read_frame

Say = Callable[[str], None]
Run = Callable[..., Iterator[Any]]
"""Runs jobs, several at a time, and yields what they return; see :class:`Pool`."""
SIMULATED = "All scans are simulated: this says nothing about patients."


@one_at_a_time
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
    recall_hashes(out)
    setting = checked_setting(plan, cohort, roles or {}, out)
    claim_study(out, plan, setting.split())
    keep_hashes(out, [setting.pool, setting.development, setting.test])
    record = RunRecord(out, cohort, source, device=plan.training.device)
    with Pool(workers, threads=threads_of(workers, plan.training.device)) as run:
        setting, lengths = _train_all(setting, run, say)
    pairs = [(number, seed) for number in plan.subjects.numbers for seed in plan.seeds]
    _collect(setting, lengths, out / "results.csv", [(*pair, name) for pair in pairs for name in plan.arms])
    _collect(setting, lengths, out / REFERENCE, [(setting.whole, seed, plan.baseline) for seed in plan.seeds])
    write_json(out / LENGTHS, lengths.as_json())
    record.save()
    return report(setting, lengths)


def checked_setting(plan: Plan, cohort: Cohort, roles: Mapping[str, Sequence[str]], out: Path) -> Setting:
    """Split the subjects, and see that a run may begin.

    Raises:
        LeakError: if a test subject is anybody's parent.
    """
    setting = make_setting(plan, cohort, roles, out)
    for held_out in (setting.test, setting.development):
        check_no_leak(setting.pool, held_out)
    check_targets(setting, cohort)
    return setting


def _train_all(setting: Setting, run: Run, say: Say) -> tuple[Setting, Lengths]:
    """Train and score everything; return the setting with the options that were found, and the arms' lengths."""
    fit_models(setting, run, say)
    setting = tuned(setting, run, say)
    lengths = controlled_lengths(setting, run, say)
    train_arms(setting, lengths, run, say)
    return setting, lengths


def fit_models(setting: Setting, run: Run, say: Say) -> None:
    """Fit the mask generators and synthesizers that arms use."""
    plan = setting.plan
    used = [(number, seed, plan.arms[name].synthesizer) for number, seed, name in _trainings(setting)]
    fits = list(dict.fromkeys((number, seed, name) for number, seed, name in used if name is not None))
    masks = [(number, seed, plan.synthesizers[name].mask_generator) for number, seed, name in fits]
    _do(fit_mask_generator, [(setting, *model) for model in dict.fromkeys(masks) if model[-1] is not None], run, say)
    _do(fit_synthesizer, [(setting, *model) for model in fits], run, say)


def train_arms(setting: Setting, lengths: Lengths, run: Run, say: Say) -> None:
    """Train and score every arm, and the baseline on the whole pool."""
    plan = setting.plan
    pairs = [(number, seed) for number in plan.subjects.numbers for seed in plan.seeds]
    first = {setting.pretraining_folder(*pairs[0], name, 0): name for name in plan.tuned_arms}
    pretrainings = [(setting, *pair, name, lengths.steps[pair[0]]) for pair in pairs for name in first.values()]
    _do(pretrain, pretrainings, run, say)
    _do(score_arm, [(setting, *of, lengths.steps[of[0]]) for of in _trainings(setting)], run, say)


def _trainings(setting: Setting) -> list[tuple[Number, int, str]]:
    """Return size, seed and name of every arm, and of the baseline on the whole pool."""
    plan = setting.plan
    arms = [(number, seed, name) for number in plan.subjects.numbers for seed in plan.seeds for name in plan.arms]
    return list(dict.fromkeys([*arms, *((setting.whole, seed, plan.baseline) for seed in plan.seeds)]))


def _do(job: Callable[..., str], jobs: Sequence[tuple[Any, ...]], run: Run, say: Say) -> None:
    for line in run(job, jobs):
        say(line)


def _collect(setting: Setting, lengths: Lengths, path: Path, arms: Sequence[tuple[Number, int, str]]) -> None:
    """Write the scores of some trainings into one table."""
    names = {"arm": str, "case_id": str, "subject_id": str}
    tables = [setting.arm_folder(*arm, lengths.steps[arm[0]]) / "results.csv" for arm in arms]
    results = pd.concat([read_frame(t, dtype=names, keep_default_na=False, na_values=[""]) for t in tables])
    write_text(path, results.to_csv(index=False))


def report(setting: Setting, lengths: Lengths) -> str:
    """Write the report from ``results.csv`` and ``reference.csv`` and return the verdict."""
    plan, steps = setting.plan, lengths.steps[max(setting.plan.subjects.numbers)]
    extras = gallery(setting, steps=steps)
    simulated = any(case.origin == "simulated" for case in setting.test)
    undrawn = " / ".join(map(str, extras.problems))
    return write_report(
        setting.out,
        baseline=plan.baseline,
        primary=plan.primary,
        arm=plan.arm,
        undertrained=lengths.doubt,
        title=plan.name,
        notes=method_notes(setting, lengths) | ({"Figures that could not be drawn": undrawn} if undrawn else {}),
        warnings=[
            *([SIMULATED] if simulated else []),
            *look_alikes([setting.pool, setting.development, setting.test]),
            *_absent_classes(setting),
            *mask_warnings(setting),
            *target_warnings(setting),
        ],
        examples=examples(setting, steps=steps),
        extras=extras.figures,
        classes=setting.test.labels,
        made_of=made_of(setting.out, trainings(setting, lengths)),
    )


def _absent_classes(setting: Setting) -> list[str]:
    """Return a line for each size with training sets that lack a lesion class."""
    lines = []
    for number in setting.plan.subjects.numbers:
        by_class: dict[str, list[str]] = {}
        for seed in setting.plan.seeds:
            for name in setting.absent[number, seed]:
                by_class.setdefault(name, []).append(str(seed))
        lines += [
            f"No training case of n = {number:g}, seed {', '.join(seeds)} shows {name}, so no network of these "
            "trainings can find it."
            for name, seeds in by_class.items()
        ]
    return lines


def trainings(setting: Setting, lengths: Lengths) -> dict[str, list[Path]]:
    """Return synthesizer or arm → the folders of its trainings."""
    plan = setting.plan
    pairs = [(number, seed) for number in plan.subjects.numbers for seed in plan.seeds]
    synthesizers = {name: [setting.model_folder(*pair, name) for pair in pairs] for name in plan.synthesizers}
    arms = {name: [setting.arm_folder(*pair, name, lengths.steps[pair[0]]) for pair in pairs] for name in plan.arms}
    return synthesizers | arms
