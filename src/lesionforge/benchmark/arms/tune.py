"""The hyperparameter search for the baseline, on development subjects, before the arms are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

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


@dataclass(frozen=True)
class Search:
    """The search at one size.

    Attributes:
        choice: the best options found.
        scores: trial → its scores over the seeds.
    """

    choice: Choice
    scores: Mapping[Choice, list[float]]


class Searches:
    """The searches of a study: one for each training-set size, or one for all of them.

    Args:
        ahead: collects the jobs.
    """

    def __init__(self, ahead: Ahead) -> None:
        self.ahead, self.study, self.tune = ahead, ahead.study, ahead.study.plan.tune
        self.found: dict[TrainSize, Search] = {}

    def arms(self, *sizes: TrainSize) -> Arms:
        """Return the study with the options found for sizes.

        Raises:
            NotYetError: if the scores of trials do not exist yet; their jobs have been added.
        """
        if self.tune is None:
            return self.study
        return replace(self.study, choices={size: self._search(self.tune.number or size).choice for size in sizes})

    def table(self) -> pd.DataFrame | None:
        """Return the content of ``tuning.csv``, a row per size, trial and seed; ``None`` without a search."""
        if self.tune is None:
            return None
        rows = [
            {
                "train_size": size,
                "options": str(choice),
                "augment": choice.augment,
                "learning_rate": choice.learning_rate,
                "batch_size": choice.batch_size,
                "seed": seed,
                "score": score,
                "kept": search.choice == choice,
            }
            for size, search in self.found.items()
            for choice, of_seeds in search.scores.items()
            for seed, score in zip(self.study.plan.seeds, of_seeds, strict=False)
        ]
        return pd.DataFrame(rows).sort_values("train_size", kind="stable")

    def _search(self, size: TrainSize) -> Search:
        if size not in self.found:
            self.found[size] = search(self.ahead, size)
        return self.found[size]


def search(ahead: Ahead, size: TrainSize) -> Search:
    """Return the best options found for the baseline at one size.

    Args:
        ahead: collects the jobs.
        size: the training-set size.

    Raises:
        NotYetError: if the scores of trials do not exist yet; their jobs have been added.
    """
    plan = ahead.study.plan
    assert plan.tune is not None
    choice, scores = Choice.of(plan), dict[Choice, list[float]]()
    for option in OPTIONS:
        tried = trials(plan.tune, option, choice)
        wanted = [trial for trial in tried if trial not in scores]
        scores |= _scores(ahead, size, wanted, plan.seeds[: plan.tune.seeds])
        choice = best({trial: scores[trial] for trial in tried}, plan.primary)
    ahead.say(f"n = {size:g}: the best baseline found is {choice}")
    return Search(choice, scores)


def _scores(ahead: Ahead, size: TrainSize, wanted: Sequence[Choice], seeds: Sequence[int]) -> dict[Choice, list[float]]:
    """Return trial → its scores over the seeds."""
    study = ahead.study
    trainings = [
        replace(study, choices={size: trial})
        .repeat(size, seed)
        .training(study.plan.baseline, study.plan.training.steps)
        for trial in wanted
        for seed in seeds
    ]
    made = np.reshape(ahead.development_scores(trainings), (len(wanted), len(seeds)))
    return {trial: list(map(float, of_seeds)) for trial, of_seeds in zip(wanted, made, strict=True)}


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
