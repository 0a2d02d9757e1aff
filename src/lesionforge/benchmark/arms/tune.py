"""The hyperparameter search for the baseline, on development subjects, before the arms are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from lesionforge.benchmark.arms.ahead import Ahead
from lesionforge.benchmark.arms.choice import Choice
from lesionforge.benchmark.arms.repeats import Arms, TrainSize
from lesionforge.benchmark.plan import Tune
from lesionforge.reading import read_frame
from lesionforge.scores.registry import find_score

TABLE = "tuning.csv"
OPTIONS = ("augment", "learning_rate", "batch_size")
"""The options, in the order in which they are tried."""


def tuned(ahead: Ahead) -> tuple[Arms, pd.DataFrame | None]:
    """Return the study with the best options found for its baseline at each size, and the table of all trials.

    Args:
        ahead: collects the jobs.

    Raises:
        NotYetError: if the scores of trials do not exist yet; their jobs have been added.
    """
    study, plan = ahead.study, ahead.study.plan
    if plan.tune is None:
        return study, None
    sizes = [plan.tune.number] if plan.tune.number is not None else study.sizes
    found = dict.fromkeys(sizes, Choice.of(plan))
    scores: dict[tuple[TrainSize, Choice], list[float]] = {}
    for option in OPTIONS:
        wanted = [
            (n, trial) for n in sizes for trial in trials(plan.tune, option, found[n]) if (n, trial) not in scores
        ]
        scores |= _scores(ahead, wanted, plan.seeds[: plan.tune.seeds])
        for size in sizes:
            of_size = {trial: scores[size, trial] for trial in trials(plan.tune, option, found[size])}
            found[size] = best(of_size, plan.primary)
    for size, choice in found.items():
        ahead.say(f"n = {size:g}: the best baseline found is {choice}")
    table = _table(plan.seeds, scores, found)
    if plan.tune.number is not None:
        found = dict.fromkeys(study.sizes, found[plan.tune.number])
    return replace(study, choices=found), table


def _scores(
    ahead: Ahead, wanted: Sequence[tuple[TrainSize, Choice]], seeds: Sequence[int]
) -> dict[tuple[TrainSize, Choice], list[float]]:
    """Return (size, trial) → its scores over the seeds."""
    study = ahead.study
    trainings = [
        replace(study, choices={size: trial})
        .repeat(size, seed)
        .training(study.plan.baseline, study.plan.training.steps)
        for size, trial in wanted
        for seed in seeds
    ]
    made = np.reshape(ahead.development_scores(trainings), (len(wanted), len(seeds)))
    return {key: list(map(float, of_seeds)) for key, of_seeds in zip(wanted, made, strict=True)}


def trials(tune: Tune, option: str, choice: Choice) -> list[Choice]:
    """Return ``choice``, then the choices that differ from it in one option."""
    if option == "augment":
        others = [replace(choice, augment=kind) for kind in tune.augment]
    elif option == "learning_rate":
        others = [replace(choice, learning_rate=choice.learning_rate * factor) for factor in tune.learning_rate]
    elif choice.batch_size is None:
        others = []
    else:
        others = [replace(choice, batch_size=max(1, round(choice.batch_size * f))) for f in tune.batch_size]
    return list(dict.fromkeys((choice, *others)))


def best(scores: Mapping[Choice, list[float]], primary: str) -> Choice:
    """Return the choice with the best mean over seeds; ties go to the first, and NaN counts as worst."""
    sign = -1 if find_score(primary).higher_is_better is False else 1
    return max(scores, key=lambda choice: float(np.nan_to_num(sign * np.mean(scores[choice]), nan=-np.inf)))


def describe_tuning(study: Arms) -> dict[str, str]:
    """Return the report's row on the options tried and the one kept."""
    if study.plan.tune is None:
        return {"Search for the best baseline": "not made"}
    table, info = read_frame(study.out / TABLE), find_score(study.plan.primary)
    parts = []
    for size, rows in table.groupby("train_size", sort=False):
        means = rows.groupby("options", sort=False)["score"].mean() * info.factor
        kept = rows.loc[rows["kept"], "options"].iloc[0]
        tried = ", ".join(f"{name} {value:.1f}" for name, value in means.items())
        parts.append(f"n = {size:g}: {kept}, of {tried}")
    return {"Search for the best baseline": f"development {info.title} ({info.unit}): " + "; ".join(parts)}


def _table(
    seeds: Sequence[int],
    scores: Mapping[tuple[TrainSize, Choice], list[float]],
    found: Mapping[TrainSize, Choice],
) -> pd.DataFrame:
    rows = [
        {
            "train_size": size,
            "options": str(choice),
            "augment": choice.augment,
            "learning_rate": choice.learning_rate,
            "batch_size": choice.batch_size,
            "seed": seed,
            "score": score,
            "kept": found[size] == choice,
        }
        for (size, choice), of_seeds in scores.items()
        for seed, score in zip(seeds, of_seeds, strict=False)
    ]
    return pd.DataFrame(rows).sort_values("train_size", kind="stable")
