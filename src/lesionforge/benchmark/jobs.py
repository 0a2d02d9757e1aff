"""The kinds of job of a benchmark: fit a mask generator, fit a synthesizer, train and score an arm."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lesionforge.benchmark.arms.chosen_generator import choose, load_fitted
from lesionforge.benchmark.arms.ingredients import pretrain_arm, train_arm
from lesionforge.benchmark.arms.mask_sources import mask_source
from lesionforge.benchmark.arms.target_scans import target_scans
from lesionforge.benchmark.report.made_of import timed
from lesionforge.benchmark.setting import Number, Setting
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.layouts import read_masks
from lesionforge.cohort.leaks import leaving_out
from lesionforge.cohort.scan import load_scan, read_label
from lesionforge.errors import CohortError
from lesionforge.files import write_text
from lesionforge.masks import MaskGAN
from lesionforge.production.synthesize import Progress, Synthesis, synthesize_cohort
from lesionforge.reading import read_frame
from lesionforge.scores.predictions.case_scores import score_case
from lesionforge.scores.registry import find_score, metric_in
from lesionforge.scores.statistics.arm_statistics import value_of
from lesionforge.synthesizers.registry import SYNTHESIZERS
from lesionforge.tasks.segmentation.segmentation_task import SegmentationTask


def fit_mask_generator(setting: Setting, number: Number, seed: int, name: str) -> str:
    """Fit one mask generator, on nobody who is held out."""
    plan, folder = setting.plan.mask_generators[name], setting.mask_generator_folder(number, seed, name)
    problems: list[CohortError] = []
    if not (folder / "model.json").is_file():
        cases = (
            setting.train[number, seed] if plan.masks is None else read_masks(plan.masks, on_problem=problems.append)
        )
        MaskGAN.fit(
            leaving_out(cases, setting.held_out, setting.people, bare=plan.masks is not None),
            config=plan.options,
            training=plan.training.model_copy(update={"seed": seed}),
            out=folder,
            resume=True,
            on_problem=problems.append,
        )
    left_out = f", {len(problems)} masks could not be used" if problems else ""
    return f"{name}, n = {number:g}, seed {seed}: fitted{left_out}"


def fit_synthesizer(setting: Setting, number: Number, seed: int, name: str) -> str:
    """Fit one synthesizer on one training set and, if an arm wants them, write its offline cases."""
    plan, train = setting.plan.synthesizers[name], setting.train[number, seed]
    folder = setting.model_folder(number, seed, name)
    if not (folder / "model.json").is_file():
        with timed(folder):
            SYNTHESIZERS[plan.method].fit(
                train,
                channels=setting.channels,
                config=plan.options,
                training=plan.training.model_copy(update={"seed": seed}),
                out=folder,
                preprocessing=setting.preprocessing[number, seed],
                resume=True,
            )
    choose(setting, number, seed, name)
    if any(arm.synthesizer == name and arm.use == "offline" for arm in setting.plan.arms.values()):
        result = draw_cases(setting, number, seed, name)
        return (
            f"{name}, n = {number:g}, seed {seed}: {len(result.cohort)} cases, {len(result.problems)} without a place"
        )
    return f"{name}, n = {number:g}, seed {seed}: fitted"


def draw_cases(
    setting: Setting, number: Number, seed: int, name: str, *, progress: Progress | None = None
) -> Synthesis:
    """Draw the offline cases of a fitted synthesizer; ``progress`` is called after each."""
    plan, model = setting.plan.synthesizers[name], load_fitted(setting, number, seed, name)
    return synthesize_cohort(
        model,
        target_scans(setting, number, seed, name),
        mask_source(setting, number, seed, plan) if model.needs_mask else None,
        out=setting.cohort_folder(number, seed, name),
        n=plan.cases,
        blend=plan.blend,
        seed=seed,
        min_volume=plan.min_volume,
        lesion_free=plan.lesion_free,
        progress=progress,
    )


def pretrain(setting: Setting, number: Number, seed: int, name: str, steps: int) -> str:
    """Train what an arm fine-tunes, unless that is done."""
    with timed(setting.pretraining_folder(number, seed, name, steps)):
        pretrain_arm(setting, number, seed, name, steps)
    return f"{name}, n = {number:g}, seed {seed}: pretrained"


def score_arm(setting: Setting, number: Number, seed: int, name: str, steps: int) -> str:
    """Train an arm, unless that is done, and score it on the test cases: ``results.csv`` and ``predictions/``."""
    with timed(setting.arm_folder(number, seed, name, steps)):
        folder = train_arm(setting, number, seed, name, steps)
    table = folder / "results.csv"
    if not table.is_file():
        rows = score(setting, folder, setting.test, folder / "predictions")
        rows.insert(0, "arm", name)
        rows.insert(1, "fraction", number)
        rows.insert(2, "seed", seed)
        rows.insert(3, "draw", setting.draw(seed))
        write_text(table, rows.to_csv(index=False))
    info, values = find_score(setting.plan.primary), read_frame(table)[setting.plan.primary]
    return f"{name}, n = {number:g}, seed {seed}: mean {info.title} {values.mean() * info.factor:.1f}"


def development_score(setting: Setting, number: Number, seed: int, name: str, steps: int) -> float:
    """Return the mean of the primary score of an arm over the development subjects."""
    with timed(setting.arm_folder(number, seed, name, steps)):
        folder = train_arm(setting, number, seed, name, steps)
    table = folder / "development.csv"
    if not table.is_file():
        write_text(table, score(setting, folder, setting.development, folder / "development").to_csv(index=False))
    rows = read_frame(table)
    return value_of(rows, metric_in(rows, setting.plan.primary))


def score(setting: Setting, folder: Path, cohort: Cohort, keep: Path) -> pd.DataFrame:
    """Return a row of scores for each case; the predictions are written to ``keep``."""
    task, rows = SegmentationTask.load(folder, device=setting.plan.training.device), []
    for case in cohort:
        scan = load_scan(case, setting.channels)
        assert scan.label is not None
        found, _ = read_label(task.predict_case(case, keep))
        scores = score_case(found, scan.label, scan.spacing, cohort.labels, in_plane=setting.plan.in_plane)
        rows.append({"case_id": case.case_id, "subject_id": case.subject_id, **scores})
    return pd.DataFrame(rows)
