"""The search for the best baseline, on development subjects, before anything is compared with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lesionforge.benchmark.arms.choice import Choice
from lesionforge.benchmark.jobs import development_score
from lesionforge.benchmark.plan import Tune
from lesionforge.benchmark.setting import Number, Setting
from lesionforge.files import write_text
from lesionforge.reading import read_frame
from lesionforge.scores.registry import find_score

TABLE = "tuning.csv"
OPTIONS = ("augment", "learning_rate", "batch_size")
"""In the order in which they are tried."""


def tuned(setting: Setting, run: Callable[..., Iterator[Any]], say: Callable[[str], None]) -> Setting:
    """Return the setting with the best options found for its baseline at each size; ``tuning.csv`` holds all trials.

    Args:
        setting: of the run.
        run: runs jobs, several at a time.
        say: told what was found.
    """
    plan = setting.plan
    if plan.tune is None:
        return setting
    sizes = [plan.tune.number] if plan.tune.number is not None else sizes_of(setting)
    found = dict.fromkeys(sizes, Choice.of(plan))
    scores: dict[tuple[Number, Choice], list[float]] = {}
    for option in OPTIONS:
        wanted = [
            (n, trial) for n in sizes for trial in trials(plan.tune, option, found[n]) if (n, trial) not in scores
        ]
        seeds = plan.seeds[: plan.tune.seeds]
        jobs = [
            (replace(setting, choices={n: trial}), n, seed, plan.baseline, plan.training.steps)
            for n, trial in wanted
            for seed in seeds
        ]
        made = np.reshape(list(run(development_score, jobs)), (len(wanted), len(seeds)))
        scores |= {key: list(map(float, of_seeds)) for key, of_seeds in zip(wanted, made, strict=True)}
        for number in sizes:
            tried = trials(plan.tune, option, found[number])
            found[number] = best({trial: scores[number, trial] for trial in tried}, plan.primary)
    _write_table(setting.out / TABLE, setting, scores, found)
    for number, choice in found.items():
        say(f"n = {number:g}: the best baseline found is {choice}")
    if plan.tune.number is not None:
        found = dict.fromkeys(sizes_of(setting), found[plan.tune.number])
    return replace(setting, choices=found)


def sizes_of(setting: Setting) -> list[Number]:
    """Return the sizes of the training set at which the baseline is trained: the plan's, and the whole pool."""
    return list(dict.fromkeys((*setting.plan.subjects.numbers, setting.whole)))


def trials(tune: Tune, option: str, choice: Choice) -> list[Choice]:
    """Return the choices that differ from ``choice`` in one option, that choice first."""
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
    """Return the choice with the best mean over seeds; of equals the first, and none whose score has no value."""
    sign = -1 if find_score(primary).higher_is_better is False else 1
    return max(scores, key=lambda choice: float(np.nan_to_num(sign * np.mean(scores[choice]), nan=-np.inf)))


def describe_tuning(setting: Setting) -> dict[str, str]:
    """Return a row of the report that tells what was tried and what was kept."""
    if setting.plan.tune is None:
        return {"Search for the best baseline": "not made"}
    table, info = read_frame(setting.out / TABLE), find_score(setting.plan.primary)
    parts = []
    for number, rows in table.groupby("fraction", sort=False):
        means = rows.groupby("options", sort=False)["score"].mean() * info.factor
        kept = rows.loc[rows["kept"], "options"].iloc[0]
        tried = ", ".join(f"{name} {value:.1f}" for name, value in means.items())
        parts.append(f"n = {number:g}: {kept}, of {tried}")
    return {"Search for the best baseline": f"development {info.title} ({info.unit}): " + "; ".join(parts)}


def _write_table(
    path: Path, setting: Setting, scores: Mapping[tuple[Number, Choice], list[float]], found: Mapping[Number, Choice]
) -> None:
    rows = [
        {
            "fraction": number,
            "options": str(choice),
            "augment": choice.augment,
            "learning_rate": choice.learning_rate,
            "batch_size": choice.batch_size,
            "seed": seed,
            "score": score,
            "kept": found[number] == choice,
        }
        for (number, choice), of_seeds in scores.items()
        for seed, score in zip(setting.plan.seeds, of_seeds, strict=False)
    ]
    write_text(path, pd.DataFrame(rows).sort_values("fraction", kind="stable").to_csv(index=False))
