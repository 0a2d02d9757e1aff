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
class Trial:
    """The trainings with the same options, one for each seed.

    Attributes:
        scores: development scores.
        nothing: whether a training found nothing.
    """

    scores: list[float]
    nothing: list[bool]


@dataclass(frozen=True)
class Search:
    """The search at one size.

    Attributes:
        choice: the best options found.
        trials: trial → its trainings, one for each seed.
    """

    choice: Choice
    trials: Mapping[Choice, Trial]


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
                "found_nothing": nothing,
                "kept": search.choice == choice,
            }
            for size, search in self.found.items()
            for choice, trial in search.trials.items()
            for seed, score, nothing in zip(self.study.plan.seeds, trial.scores, trial.nothing, strict=False)
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
    choice, made = Choice.of(plan), dict[Choice, Trial]()
    for option in OPTIONS:
        tried = trials(plan.tune, option, choice)
        for _ in range(1 + plan.tune.further):
            made |= _trained(ahead, size, [trial for trial in tried if trial not in made])
            choice = best({trial: made[trial].scores for trial in tried}, plan.primary)
            tried += beyond(tried, choice, option)
    ahead.say(f"n = {size:g}: the best baseline found is {choice}")
    return Search(choice, made)


def _trained(ahead: Ahead, size: TrainSize, wanted: Sequence[Choice]) -> dict[Choice, Trial]:
    """Return the trainings with the options that are wanted."""
    study = ahead.study
    plan, found = study.plan, dict[Choice, Trial]()
    assert plan.tune is not None
    trainings = {
        trial: [
            replace(study, choices={size: trial}).repeat(size, seed).training(plan.baseline, plan.training.steps)
            for seed in plan.seeds[: plan.tune.seeds]
        ]
        for trial in wanted
    }
    scores = iter(ahead.development_scores([one for of_trial in trainings.values() for one in of_trial]))
    for trial, of_trial in trainings.items():
        found[trial] = Trial([next(scores) for _ in of_trial], list(map(ahead.found_nothing, of_trial)))
    return found


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


def beyond(tried: Sequence[Choice], choice: Choice, option: str) -> list[Choice]:
    """Return the next choice if the best one, which is not the first, has the largest or the smallest value tried."""
    values = sorted({getattr(trial, option) for trial in tried}) if option != "augment" else []
    value = getattr(choice, option)
    if len(values) < 2 or choice == tried[0] or value not in (values[0], values[-1]):
        return []
    following = value * value / (values[1] if value == values[0] else values[-2])
    if option == "batch_size":
        following = max(1, round(following))
    farther = replace(choice, **{option: following})
    return [] if farther in tried else [farther]


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
        kept = rows.loc[rows["kept"], "options"].iloc[0]
        tried = ", ".join(
            _in_words(str(name), trial, info.factor) for name, trial in rows.groupby("options", sort=False)
        )
        edge = _at_the_edge(rows)
        parts.append(f"n = {size:g}: {kept}, of {tried}" + (f" ({edge})" if edge else ""))
    return {"Search for the best baseline": f"development {info.title} ({info.unit}): " + "; ".join(parts)}


def search_doubts(study: Arms) -> list[str]:
    """Return why other options may make a better baseline: none were tried, or the best lies at the edge."""
    if study.plan.tune is None:
        return ["No other options of the baseline were tried, so a better baseline is possible."]
    table = read_frame(study.out / TABLE)
    edges = {f"n = {size:g}": _at_the_edge(rows) for size, rows in table.groupby("train_size", sort=False)}
    return [
        f"Search for the best baseline, {size}: {edge}, so a better baseline is possible."
        for size, edge in edges.items()
        if edge
    ]


def _in_words(name: str, trial: pd.DataFrame, factor: float) -> str:
    """Return a trial's name and mean score, and how many of its trainings found nothing if any did."""
    nothing = int(trial["found_nothing"].sum())
    collapsed = f" ({nothing} of {len(trial)} found nothing)" if nothing else ""
    return f"{name} {trial['score'].mean() * factor:.1f}{collapsed}"


def _at_the_edge(rows: pd.DataFrame) -> str:
    """Return a remark if a larger or smaller value than those tried might be better still."""
    kept, said = rows[rows["kept"]].iloc[0], []
    for option in ("learning_rate", "batch_size"):
        values = rows[option].dropna()
        if values.nunique() > 1 and kept[option] in (values.min(), values.max()):
            said.append(option.replace("_", " "))
    if not said:
        return ""
    return f"the best {' and '.join(said)} {'lie' if len(said) > 1 else 'lies'} at the edge of what was tried"
