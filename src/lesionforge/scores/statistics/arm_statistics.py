"""Statistics over subjects and training seeds: means and paired differences between arms, with intervals and tests.

A subject's value in one training run is the mean over its cases (volumes or slices). Subjects and training runs are
both random samples; :mod:`lesionforge.scores.statistics.intervals` describes the consequences. P-values are corrected
by Holm's method over all comparisons of one score.

A score with a value per case is given by its column name. A score that exists only for a set of cases is given as its
:class:`~lesionforge.scores.score.Score`; :mod:`lesionforge.scores.statistics.resampling` describes its intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lesionforge.errors import ConfigError, choose_from
from lesionforge.scores.score import Score
from lesionforge.scores.statistics.intervals import Estimate, Interval, MeanOverSubjects, mean_interval
from lesionforge.scores.statistics.resampling import N_RESAMPLES
from lesionforge.scores.statistics.set_statistics import OfSet, SetStatistics, per_group

__all__ = [
    "Interval",
    "Metric",
    "compare_arms",
    "holm",
    "interval_of",
    "paired_differences",
    "possible",
    "seed_differences",
    "seed_means",
    "subject_means",
    "value_of",
]

Metric = str | Score[Any]
"""Name of a column with a value per case, or a score; a score of a set of cases has no column."""


def holm(p_values: Sequence[float]) -> NDArray[np.float64]:
    """Return p-values corrected by Holm's step-down method, in the given order; NaN stays NaN and is not counted."""
    p = np.asarray(p_values, np.float64)
    corrected = np.full_like(p, np.nan)
    order = [i for i in np.argsort(p, kind="stable") if not np.isnan(p[i])]
    steps = [(len(order) - rank) * p[i] for rank, i in enumerate(order)]
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if order else []
    return corrected


def subject_means(results: pd.DataFrame, metric: Metric) -> pd.Series[float]:
    """Return a value per (arm, train_size, subject_id): the mean over seeds of the mean over cases.

    For a score of a set, it is the mean over seeds of the score of the subject's own cases.
    """
    keys = ["arm", "train_size", "subject_id", "seed"]
    if (score := _of_set(metric)) is not None:
        per_seed = per_group(results, score, keys)
    else:
        per_seed = results.groupby(keys, sort=False)[_column(metric)].mean()
    return per_seed.groupby(["arm", "train_size", "subject_id"], sort=False).mean().dropna()


def seed_means(results: pd.DataFrame, metric: Metric) -> pd.Series[float]:
    """Return a value per (arm, train_size, seed): the mean over subjects of the mean over cases.

    For a score of a set, it is the score of all cases of the seed.
    """
    if (score := _of_set(metric)) is not None:
        return per_group(results, score, ["arm", "train_size", "seed"])
    metric = _column(metric)
    per_subject = results.groupby(["arm", "train_size", "seed", "subject_id"], sort=False)[metric].mean()
    return per_subject.groupby(["arm", "train_size", "seed"], sort=False).mean().dropna()


def paired_differences(results: pd.DataFrame, metric: str, *, baseline: str) -> pd.DataFrame:
    """Return arm minus baseline per ``arm, train_size, training, seed, subject_id``, in the column ``difference``.

    Values are paired by seed and case. A case without a value in one of the two arms is left out.
    """
    pairs = case_differences(results, metric, baseline=baseline)
    of_subject = ["arm", "train_size", "training", "seed", "subject_id"]
    return pairs.groupby(of_subject, sort=False)["difference"].mean().reset_index()


def case_differences(results: pd.DataFrame, metric: str, *, baseline: str) -> pd.DataFrame:
    """Return arm minus baseline per ``arm, train_size, training, seed, subject_id, case_id``, as ``difference``.

    A case without a value in one of the two arms is left out.
    """
    keys = ["train_size", "training", "seed", "subject_id", "case_id"]
    rows = results.assign(training=trainings(results))[["arm", *keys, metric]].dropna(subset=metric)
    is_baseline = rows["arm"] == baseline
    pairs = rows[~is_baseline].merge(
        rows[is_baseline].drop(columns="arm"), on=keys, suffixes=("", "_baseline"), how="inner"
    )
    pairs["difference"] = pairs[metric] - pairs[f"{metric}_baseline"]
    return pairs


def trainings(results: pd.DataFrame) -> pd.Series[int]:
    """Return the training repetition that each row belongs to.

    It is the seed, or the set of training subjects if the results contain several sets (``training_set``), because
    seeds with the same training subjects are not independent repetitions.
    """
    several = "training_set" in results and results["training_set"].nunique() > 1
    return results["training_set" if several else "seed"]


def seed_differences(results: pd.DataFrame, metric: Metric, *, baseline: str) -> pd.Series[float]:
    """Return arm minus baseline per (arm, train_size, seed), for the seeds that both have."""
    if (score := _of_set(metric)) is not None:
        return _set_seed_differences(results, score, baseline)
    return _mean_per_seed(paired_differences(results, _column(metric), baseline=baseline))


def value_of(rows: pd.DataFrame, metric: Metric) -> float:
    """Return the score of one training run: the mean over subjects of the mean over cases, or the score of the set.

    Args:
        rows: a row per case, with ``subject_id``.
        metric: the score.
    """
    if (score := _of_set(metric)) is not None:
        return score(rows)
    return float(rows.groupby("subject_id")[_column(metric)].mean().mean())


def interval_of(rows: pd.DataFrame, metric: Metric, *, seed: int = 0, n_resamples: int = N_RESAMPLES) -> Interval:
    """Return the mean of one arm with its confidence interval, by the score's own function if it has one.

    Args:
        rows: rows of one arm, with ``subject_id, seed``.
        metric: the score.
        seed: seed of the bootstrap, if one is needed.
        n_resamples: number of bootstrap samples.
    """
    score = _of_set(metric)
    if score is None:
        interval = mean_interval(rows.pivot_table(_column(metric), "subject_id", "seed"))
    else:
        alone = rows.assign(arm="", train_size=1.0, training=rows["seed"])
        interval = SetStatistics(alone, score, baseline="", seed=seed, n_resamples=n_resamples).mean("", 1.0)
    return possible(interval, metric)


def compare_arms(
    results: pd.DataFrame, *, baseline: str, metric: Metric, seed: int = 0, n_resamples: int = N_RESAMPLES
) -> pd.DataFrame:
    """Compare every arm with the baseline at the same training set size.

    Args:
        results: a row per arm × train_size × seed × case with ``arm, train_size, seed, case_id, subject_id`` and, if
            seeds share sets of training subjects, ``training_set``.
        baseline: arm that the others are compared with.
        metric: column to compare, or a score of a set.
        seed: seed of the bootstrap over subjects, for a score of a set.
        n_resamples: number of bootstrap samples.

    Returns:
        A row per arm × train_size, in the order of the results: ``mean, ci_low, ci_high, n_subjects, n_seeds, seed_low,
        seed_high`` (smallest and largest mean of one seed), and, NaN for the baseline itself, ``difference, diff_low,
        diff_high, n_pairs, diff_seed_low, diff_seed_high, detectable`` (the smallest difference that would have been
        detected with 80 % power), ``p, p_holm``. An arm's values do not depend on the other arms, except for ``p_holm``
        and ``detectable``.

    Raises:
        ConfigError: if there is no such arm or metric.
    """
    score = _of_set(metric)
    for column in (_column(metric),) if score is None else score.made_of:
        if column not in results:
            raise ConfigError(column, "is not a column of the results", choose_from(results.columns))
    if baseline not in set(results["arm"]):
        what = "the baseline is not an arm of the results"
        raise ConfigError(baseline, what, choose_from(results["arm"].unique()))
    values = results.assign(training=trainings(results))
    arms: _Arms
    if score is None:
        arms = _CaseStatistics(values, _column(metric), baseline=baseline)
    else:
        arms = SetStatistics(values, score, baseline=baseline, seed=seed, n_resamples=n_resamples)
    seeds = seed_means(results, metric)
    keys = list(results[["arm", "train_size"]].drop_duplicates().itertuples(index=False, name=None))
    differences = [arms.difference(*key) for key in keys]
    intervals = [possible(difference.interval(), metric, of_difference=True) for difference in differences]
    rows, n_comparisons = [], sum(interval.n > 0 for interval in intervals)
    for key, estimate, difference in zip(keys, differences, intervals, strict=True):
        mean = possible(arms.mean(*key), metric)
        of_seeds, diff_of_seeds = _part(seeds, *key), arms.seed_differences(*key)
        row = {"arm": key[0], "train_size": key[1], "metric": _column(metric)}
        row |= {"mean": mean.mean, "ci_low": mean.low, "ci_high": mean.high, "n_subjects": mean.n}
        row |= {"n_seeds": of_seeds.size, "seed_low": of_seeds.min(), "seed_high": of_seeds.max()}
        row |= {"difference": difference.mean, "diff_low": difference.low, "diff_high": difference.high}
        row |= {"n_pairs": difference.n, "diff_seed_low": diff_of_seeds.min(), "diff_seed_high": diff_of_seeds.max()}
        rows.append(row | {"detectable": estimate.detectable(comparisons=n_comparisons), "p": estimate.p_value()})
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(table["p"].tolist())
    return table


class _Arms(Protocol):
    """Means of arms and their differences from a baseline."""

    def mean(self, arm: str, train_size: float) -> Interval: ...

    def difference(self, arm: str, train_size: float) -> Estimate: ...

    def seed_differences(self, arm: str, train_size: float) -> pd.Series[float]: ...


class _CaseStatistics:
    """Statistics of a score with a value per case."""

    def __init__(self, results: pd.DataFrame, metric: str, *, baseline: str) -> None:
        keys = ["arm", "train_size", "training", "subject_id"]
        self.metric, self.values = metric, results.groupby(keys, sort=False)[metric].mean().reset_index()
        self.pairs = paired_differences(results, metric, baseline=baseline)
        self.per_seed = _mean_per_seed(self.pairs)

    def mean(self, arm: str, train_size: float) -> Interval:
        return mean_interval(_table(self.values, self.metric, arm, train_size))

    def difference(self, arm: str, train_size: float) -> MeanOverSubjects:
        return MeanOverSubjects(_table(self.pairs, "difference", arm, train_size))

    def seed_differences(self, arm: str, train_size: float) -> pd.Series[float]:
        return _part(self.per_seed, arm, train_size)


def _mean_per_seed(pairs: pd.DataFrame) -> pd.Series[float]:
    return pairs.groupby(["arm", "train_size", "seed"], sort=False)["difference"].mean()


def _set_seed_differences(results: pd.DataFrame, score: OfSet, baseline: str) -> pd.Series[float]:
    arms = SetStatistics(results.assign(training=trainings(results)), score, baseline=baseline, n_resamples=0)
    found = {
        (arm, train_size, seed): difference
        for arm, train_size in results[["arm", "train_size"]].drop_duplicates().itertuples(index=False)
        for seed, difference in arms.seed_differences(arm, train_size).items()
    }
    index = pd.MultiIndex.from_tuples(found, names=["arm", "train_size", "seed"])
    return pd.Series(list(found.values()), index=index, name="difference", dtype=float).dropna()


def _of_set(metric: Metric) -> OfSet | None:
    return metric if isinstance(metric, Score) and metric.level == "set" else None


def possible(interval: Interval, metric: Metric, *, of_difference: bool = False) -> Interval:
    """Return an interval without the values that its score cannot have."""
    if not isinstance(metric, Score):
        return interval
    least, most = metric.range
    if of_difference:
        least, most = least - most, most - least
    return replace(interval, low=max(interval.low, least), high=min(interval.high, most))


def _column(metric: Metric) -> str:
    return metric.name if isinstance(metric, Score) else metric


def _table(values: pd.DataFrame, column: str, arm: object, train_size: object) -> NDArray[np.float64]:
    """Return the ``(subject, training)`` values in an order that does not depend on the order of the rows."""
    part = values[(values["arm"] == arm) & (values["train_size"] == train_size)]
    return part.pivot_table(column, "subject_id", "training").to_numpy(np.float64)


def _part(values: pd.Series[float], arm: object, train_size: object) -> pd.Series[float]:
    levels = values.index
    return values[(levels.get_level_values("arm") == arm) & (levels.get_level_values("train_size") == train_size)]
