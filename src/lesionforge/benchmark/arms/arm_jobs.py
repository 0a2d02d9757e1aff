"""The jobs of a study of arms: fit, draw, pretrain, train and score; each writes one file that marks it as done."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lesionforge.benchmark.arms.chosen_generator import load_fitted
from lesionforge.benchmark.arms.ingredients import pretrain_arm, train_arm
from lesionforge.benchmark.arms.mask_sources import mask_source
from lesionforge.benchmark.arms.repeats import Arms, ArmTraining, Repeat
from lesionforge.benchmark.arms.target_scans import target_scans
from lesionforge.benchmark.report.made_of import timed
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.layouts import read_masks
from lesionforge.cohort.leaks import leaving_out
from lesionforge.cohort.scan import load_scan
from lesionforge.errors import CohortError
from lesionforge.files import write_text
from lesionforge.kept import keeping_in
from lesionforge.masks import MaskGAN
from lesionforge.production.synthesize import Progress, Synthesis, synthesize_cohort
from lesionforge.reading import read_frame
from lesionforge.scores.collapse import found_nothing
from lesionforge.scores.registry import find_score, metric_in
from lesionforge.scores.statistics.arm_statistics import value_of
from lesionforge.synthesizers.registry import SYNTHESIZERS

DEVELOPMENT, RESULTS = "development.csv", "results.csv"
"""Tables of an arm's scores on the development and the test cases."""


def fit_mask_generator(repeat: Repeat, name: str) -> str:
    """Train one mask generator, without held-out subjects."""
    plan, study = repeat.plan.mask_generators[name], repeat.study
    problems: list[CohortError] = []
    cases = repeat.train if plan.masks is None else read_masks(plan.masks, on_problem=problems.append)
    folder = repeat.mask_generator_folder(name)
    with timed(folder):
        MaskGAN.fit(
            leaving_out(cases, study.held_out, study.people, bare=plan.masks is not None),
            config=plan.options,
            training=repeat.training_of(plan.training),
            out=folder,
            resume=True,
            on_problem=problems.append,
        )
    left_out = f", {len(problems)} masks could not be used" if problems else ""
    return f"{name}, {repeat}: fitted{left_out}"


def fit_synthesizer(repeat: Repeat, name: str) -> str:
    """Fit one synthesizer on one training set."""
    plan, folder = repeat.plan.synthesizers[name], repeat.model_folder(name)
    with timed(folder), keeping_in(repeat.study.out):
        SYNTHESIZERS[plan.method].fit(
            repeat.train,
            channels=repeat.study.channels,
            config=plan.options,
            training=repeat.training_of(plan.training),
            out=folder,
            preprocessing=repeat.preprocessing,
            resume=True,
        )
    return f"{name}, {repeat}: fitted"


def draw_offline(repeat: Repeat, name: str) -> str:
    """Draw the offline cases of a fitted synthesizer."""
    with timed(repeat.cohort_folder(name)):
        result = offline_cases(repeat, name)
    return f"{name}, {repeat}: {len(result.cohort)} cases, {len(result.problems)} without a place"


def offline_cases(repeat: Repeat, name: str, *, progress: Progress = lambda done, n: None) -> Synthesis:
    """Draw the offline cases of a fitted synthesizer; ``progress`` is called after each case."""
    plan, model = repeat.plan.synthesizers[name], load_fitted(repeat, name)
    return synthesize_cohort(
        model,
        target_scans(repeat, name),
        mask_source(repeat, plan) if model.needs_mask else None,
        out=repeat.cohort_folder(name),
        n=plan.number_of_cases(len(repeat.train)),
        blend=plan.blend,
        seed=repeat.seed,
        min_volume=plan.min_volume,
        lesion_free=plan.lesion_free,
        negatives=plan.negatives,
        displacement=plan.displacement,
        progress=progress,
    )


def pretrain(training: ArmTraining) -> str:
    """Train the network that an arm fine-tunes."""
    with timed(training.pretraining_folder), keeping_in(training.study.out):
        pretrain_arm(training)
    return f"{training}: pretrained"


def train(training: ArmTraining) -> str:
    """Train an arm."""
    with timed(training.folder), keeping_in(training.study.out):
        train_arm(training)
    return f"{training}: trained for {training.steps} steps"


def score_test(training: ArmTraining) -> str:
    """Score a trained arm on the test cases; write ``results.csv`` and ``predictions/``."""
    repeat, primary = training.repeat, training.study.plan.primary
    rows = score(training, training.study.test, training.folder / "predictions")
    rows.insert(0, "arm", training.name)
    rows.insert(1, "train_size", repeat.train_size)
    rows.insert(2, "seed", repeat.seed)
    rows.insert(3, "training_set", repeat.study.training_set(repeat.seed))
    write_text(training.folder / RESULTS, rows.to_csv(index=False))
    info, read = find_score(primary), read_frame(training.folder / RESULTS)
    of_set = "" if info.level == "set" else "mean "
    return f"{training}: {of_set}{info.title} {value_of(read, metric_in(read, primary)) * info.factor:.1f}"


def score_development(training: ArmTraining) -> str:
    """Score a trained arm on the development cases; write ``development.csv`` and ``development/``."""
    rows = score(training, training.study.development, training.folder / "development")
    write_text(training.folder / DEVELOPMENT, rows.to_csv(index=False))
    info, value = find_score(training.study.plan.primary), development_score(training)
    assert value is not None
    steps = f"{training.steps} steps"
    return f"{training}: development {info.title} {value * info.factor:.1f} after {steps}"


def development_score(training: ArmTraining) -> float | None:
    """Return the mean primary score over the development subjects, or ``None`` if the arm has not been scored yet."""
    table = training.folder / DEVELOPMENT
    if not table.is_file():
        return None
    rows = read_frame(table)
    return value_of(rows, metric_in(rows, training.study.plan.primary))


def development_found_nothing(training: ArmTraining) -> bool:
    """Return whether a training that was scored on the development subjects finds nothing in them."""
    return found_nothing(read_frame(training.folder / DEVELOPMENT))


def score(training: ArmTraining, cohort: Cohort, keep: Path) -> pd.DataFrame:
    """Return a table with the scores of each case; write the predictions to ``keep``."""
    study: Arms = training.study
    task, rows = study.plan.task_class.load(training.folder, device=study.plan.training.device), []
    for case in cohort:
        with keeping_in(study.out):
            scan, prediction = load_scan(case, study.channels), task.predict_case(case, keep)
        scores = task.score_case(prediction, scan, cohort.labels, in_plane=study.plan.in_plane)
        rows.append({"case_id": case.case_id, "subject_id": case.subject_id, **scores})
    return pd.DataFrame(rows)
