"""Variance components of an arm's scores: test subjects, random training sets, and training itself."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from lesionforge.scores.statistics.intervals import components


def spread_table(results: pd.DataFrame, *, metric: str) -> pd.DataFrame:
    """Return standard deviations for each arm and train_size, by analysis of variance.

    Training noise can be separated from the effect of the training set if several seeds share a training set, or if
    there is only one training set.

    Args:
        results: content of ``results.csv`` or ``reference.csv``, with the column ``training_set``.
        metric: the score.

    Returns:
        A row per arm × train_size: ``n_seeds, n_training_sets``; and the standard deviations
        ``subjects``: between test subjects; ``training_sets``: between training sets, NaN if they cannot be separated
        from training; ``trainings``: between training runs on the same subjects; ``both``: of training sets and
        training runs together. A value is NaN if there is only one of its kind.
    """
    rows = []
    for (arm, train_size), part in results.groupby(["arm", "train_size"], sort=False):
        table = part.pivot_table(values=metric, index="subject_id", columns="seed", aggfunc="mean")
        training_sets = part.groupby("seed")["training_set"].first().reindex(table.columns)
        row = {"arm": arm, "train_size": train_size, "metric": metric}
        row |= {"n_seeds": table.shape[1], "n_training_sets": training_sets.nunique()}
        rows.append(row | _deviations(table, training_sets))
    return pd.DataFrame(rows)


def _deviations(table: pd.DataFrame, training_sets: pd.Series[int]) -> dict[str, float]:
    nothing = dict.fromkeys(("subjects", "training_sets", "trainings", "both"), math.nan)
    subjects, seeds = table.shape
    if subjects < 2:
        return nothing
    parts = components(table.to_numpy())
    found = nothing | {"subjects": _root(subjects * float(parts.of_subjects - parts.rest))}
    if seeds < 2:
        return found
    rest = seeds * float(parts.rest)
    means = table.mean()
    found["both"] = _root(float(means.var(ddof=1)) - rest)
    groups = [group for _, group in means.groupby(training_sets.to_numpy())]
    if len(groups) == 1:
        return found | {"trainings": found["both"]}
    if max(map(len, groups)) == 1:
        return found
    repeated = [group for group in groups if len(group) > 1]
    degrees = sum(len(group) - 1 for group in repeated)
    within = sum(float(group.var(ddof=1)) * (len(group) - 1) for group in repeated) / degrees
    between = float(np.var([group.mean() for group in groups], ddof=1))
    per_set = float(np.mean([1 / len(group) for group in groups]))
    return found | {"trainings": _root(within - rest), "training_sets": _root(between - within * per_set)}


def _root(variance: float) -> float:
    return math.sqrt(max(variance, 0.0))
