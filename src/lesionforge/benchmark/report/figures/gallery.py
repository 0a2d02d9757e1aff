"""The figures of a finished run beyond its scores, drawn from the files in its folder.

Nothing is trained; figures whose files are missing are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from lesionforge.benchmark.arms.finished import FinishedRun
from lesionforge.benchmark.arms.repeats import Arms
from lesionforge.benchmark.report.channels import COLUMNS, measure_channels
from lesionforge.benchmark.report.figures.channels import channel_fit
from lesionforge.benchmark.report.figures.charts import Illustration, group_plot
from lesionforge.benchmark.report.figures.curves import (
    CRITIC_LOSS,
    GENERATOR_LOSS,
    LOSS,
    curve_sheet,
    learning_curves,
    read_log,
)
from lesionforge.benchmark.report.figures.drawn import histograms, placement, side_by_side
from lesionforge.benchmark.report.figures.predicted import extremes
from lesionforge.benchmark.report.figures.scheme import choice, scheme
from lesionforge.benchmark.report.figures.set_curves import set_curve
from lesionforge.benchmark.report.figures.varied import augmentations
from lesionforge.benchmark.report.page import read_results
from lesionforge.cohort.splits import take_subjects
from lesionforge.errors import LesionforgeError
from lesionforge.scores.registry import find_score


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """The figures of a run, and the errors of those that could not be drawn.

    Attributes:
        figures: the figures.
        problems: the errors.
        channels: whether channels belong together, see :func:`~lesionforge.benchmark.report.channels.measure_channels`.
    """

    figures: tuple[Illustration, ...]
    problems: tuple[LesionforgeError, ...]
    channels: pd.DataFrame


def gallery(study: Arms, *, steps: int) -> Gallery:
    """Draw all figures for which a run's folder has the data.

    Args:
        study: the study that was run.
        steps: optimiser steps of its arms.
    """
    run, problems = FinishedRun(study, steps), list[LesionforgeError]()
    channels = pd.DataFrame(columns=list(COLUMNS))
    try:
        channels = measure_channels(run)
    except LesionforgeError as error:
        problems.append(error)
    makers: list[Callable[[], Illustration | None]] = [
        partial(scheme, run),
        partial(_groups, run),
        partial(extremes, run),
        *(partial(set_curve, run, curve) for curve in study.plan.task_class.curves),
        *(partial(placement, run, name) for name in run.cohorts),
        partial(side_by_side, run, problems.append),
        partial(histograms, run),
        partial(channel_fit, channels, run),
        partial(augmentations, run),
        *(partial(choice, run, name) for name in run.choices),
        partial(_learning_curves, run),
        partial(_score_curves, run),
    ]
    figures: list[Illustration] = []
    for make in makers:
        try:
            made = make()
        except LesionforgeError as error:
            problems.append(error)
            continue
        if made is not None:
            figures.append(made)
    return Gallery(figures=tuple(figures), problems=tuple(problems), channels=channels)


def _groups(run: FinishedRun) -> Illustration | None:
    """Draw the scores of the arms with few real subjects or fine-tuning, grouped by number of real subjects."""
    plan = run.study.plan
    shown = [name for name, arm in run.repeat.arms.items() if arm.real is not None or arm.finetune is not None]
    if not shown:
        return None
    groups: dict[int, list[str]] = {}
    for name in dict.fromkeys((plan.baseline, *shown)):
        real = plan.arms[name].real
        cases = run.train if real is None else take_subjects(run.train, real, run.repeat.subjects_seed)
        groups.setdefault(len(cases.subjects), []).append(name)
    titles = {f"{count} real subject{'s' * (count != 1)}": groups[count] for count in sorted(groups)}
    results = read_results(run.study.out / "results.csv")
    caption = (
        f"{find_score(plan.primary).title} of the arms with few real subjects or with fine-tuning, and of the baseline "
        f"{plan.baseline}, by the number of real subjects that they were trained or fine-tuned on."
    )
    return Illustration(
        "groups.svg", caption, group_plot(results, plan.primary, titles, train_size=run.repeat.train_size)
    )


def _learning_curves(run: FinishedRun) -> Illustration | None:
    """Draw the losses of all seeds whose logs exist."""
    arms, many = _arm_logs(run), len(run.repeats) > 1
    synthesizers = {
        name: [read_log(repeat.model_folder(name) / "metrics.csv") for repeat in run.repeats]
        for name in run.synthesizers
        if run.study.plan.fitted_as(name) == name
    }
    of_arms = _with(arms, LOSS)
    if not of_arms:
        return None
    caption = "Training losses, as moving averages over a twentieth of the steps"
    caption += ": the mean over seeds thick, single seeds thin." if many else "."
    caption += " They say whether training settled, not which arm is better: each arm has other training data."
    shown = learning_curves(of_arms, _with(synthesizers, GENERATOR_LOSS, CRITIC_LOSS), run.colours)
    return Illustration("learning_curves.svg", caption, shown)


def _score_curves(run: FinishedRun) -> Illustration | None:
    """Draw the score on training and test cases against the step, if the plan logged it."""
    name = run.study.plan.task_class.watched_score
    title, columns = find_score(name).title, {where: f"{name}/{where}" for where in ("training", "test")}
    logs = _with(_arm_logs(run), *columns.values())
    if not logs:
        return None
    panels = {
        f"{title} on the {where} cases": {arm: [log[column].dropna() for log in of_arm] for arm, of_arm in logs.items()}
        for where, column in columns.items()
    }
    caption = f"Mean {title} of the cases with lesions while the arms were trained; nothing was chosen by it."
    return Illustration(f"{name}_curves.svg", caption, curve_sheet(panels, run.colours))


def _arm_logs(run: FinishedRun) -> dict[str, list[pd.DataFrame | None]]:
    """Return arm → one log per seed."""
    return {
        name: [arm_log(repeat.training(name, run.steps).folder) for repeat in run.repeats] for name in run.repeat.arms
    }


def arm_log(folder: Path) -> pd.DataFrame | None:
    """Return the log of an arm, with the fine-tuning steps after those of the pretraining."""
    log, first = read_log(folder / "metrics.csv"), read_log(folder / "pretraining" / "metrics.csv")
    if log is None or first is None or first.empty:
        return log
    return pd.concat([first, log.set_axis(log.index + first.index.max() + 1)])


def _with(runs: dict[str, list[pd.DataFrame | None]], *columns: str) -> dict[str, list[pd.DataFrame]]:
    """Return the existing logs that have all ``columns``, without the runs that have none."""
    kept = {
        name: [log for log in logs if log is not None and {*columns} <= {*log.columns}] for name, logs in runs.items()
    }
    return {name: logs for name, logs in kept.items() if logs}
