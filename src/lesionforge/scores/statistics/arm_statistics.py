"""Statistics over subjects and training seeds: means and paired differences between arms, with intervals and tests.

A subject's value in one training is the mean over its cases (volumes or slices). Subjects and trainings are both random
draws; :mod:`lesionforge.scores.statistics.intervals` says what follows from that. Tests have Holm's correction over all
comparisons of one score.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lesionforge.errors import ConfigError, choose_from
from lesionforge.scores.statistics.intervals import Interval, detectable, mean_interval, p_value

__all__ = ["Interval", "compare_arms", "holm", "paired_differences", "seed_differences", "seed_means", "subject_means"]


def holm(p_values: Sequence[float]) -> NDArray[np.float64]:
    """Return Holm's step-down corrected p-values, in the order given; NaN stays NaN and counts for nothing."""
    p = np.asarray(p_values, np.float64)
    corrected = np.full_like(p, np.nan)
    order = [i for i in np.argsort(p, kind="stable") if not np.isnan(p[i])]
    steps = [(len(order) - rank) * p[i] for rank, i in enumerate(order)]
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if order else []
    return corrected


def subject_means(results: pd.DataFrame, metric: str) -> pd.Series[float]:
    """Return a value per (arm, fraction, subject_id): the mean over seeds of the mean over cases."""
    per_seed = results.groupby(["arm", "fraction", "subject_id", "seed"], sort=False)[metric].mean()
    return per_seed.groupby(["arm", "fraction", "subject_id"], sort=False).mean().dropna()


def seed_means(results: pd.DataFrame, metric: str) -> pd.Series[float]:
    """Return a value per (arm, fraction, seed): the mean over subjects of the mean over cases."""
    per_subject = results.groupby(["arm", "fraction", "seed", "subject_id"], sort=False)[metric].mean()
    return per_subject.groupby(["arm", "fraction", "seed"], sort=False).mean().dropna()


def paired_differences(results: pd.DataFrame, metric: str, *, baseline: str) -> pd.DataFrame:
    """Return arm minus baseline per ``arm, fraction, training, seed, subject_id``, in the column ``difference``.

    Pairs are of the same seed and case; a case for which one of the two has no value is left out.
    """
    keys = ["fraction", "training", "seed", "subject_id", "case_id"]
    rows = results.assign(training=trainings(results))[["arm", *keys, metric]].dropna(subset=metric)
    is_baseline = rows["arm"] == baseline
    pairs = rows[~is_baseline].merge(
        rows[is_baseline].drop(columns="arm"), on=keys, suffixes=("", "_baseline"), how="inner"
    )
    pairs["difference"] = pairs[metric] - pairs[f"{metric}_baseline"]
    of_subject = ["arm", "fraction", "training", "seed", "subject_id"]
    return pairs.groupby(of_subject, sort=False)["difference"].mean().reset_index()


def trainings(results: pd.DataFrame) -> pd.Series[int]:
    """Return for each row which random draw of everything that is trained with it belongs to.

    It is the seed, or the draw of training subjects where results hold several draws (``draw``): seeds that share their
    training subjects are no independent repetitions.
    """
    return results["draw"] if "draw" in results and results["draw"].nunique() > 1 else results["seed"]


def seed_differences(results: pd.DataFrame, metric: str, *, baseline: str) -> pd.Series[float]:
    """Return arm minus baseline per (arm, fraction, seed), for the seeds that both have."""
    pairs = paired_differences(results, metric, baseline=baseline)
    return pairs.groupby(["arm", "fraction", "seed"], sort=False)["difference"].mean()


def compare_arms(results: pd.DataFrame, *, baseline: str, metric: str) -> pd.DataFrame:
    """Compare every arm with the baseline at the same fraction.

    Args:
        results: a row per arm × fraction × seed × case with ``arm, fraction, seed, case_id, subject_id`` and, where
            seeds share draws of training subjects, ``draw``.
        baseline: the arm that the others are compared with.
        metric: the column to compare.

    Returns:
        A row per arm × fraction, in the order of the results: ``mean, ci_low, ci_high, n_subjects, n_seeds,
        seed_low, seed_high`` (smallest and largest mean of one seed), and, NaN for the baseline itself,
        ``difference, diff_low, diff_high, n_pairs, diff_seed_low, diff_seed_high, detectable`` (the smallest difference
        that would have been seen with 80 % power), ``p, p_holm``. An arm's numbers do not depend on which other arms
        there are, except ``p_holm`` and ``detectable``.

    Raises:
        ConfigError: if there is no such arm or metric.
    """
    if metric not in results:
        raise ConfigError(metric, "is not a column of the results", choose_from(results.columns))
    if baseline not in set(results["arm"]):
        what = "the baseline is not an arm of the results"
        raise ConfigError(baseline, what, choose_from(results["arm"].unique()))
    values = results.assign(training=trainings(results))
    values = values.groupby(["arm", "fraction", "training", "subject_id"], sort=False)[metric].mean().reset_index()
    seeds, pairs = seed_means(results, metric), paired_differences(results, metric, baseline=baseline)
    per_seed = seed_differences(results, metric, baseline=baseline)
    n_comparisons = len(pairs[["arm", "fraction"]].drop_duplicates())
    rows = []
    for arm, fraction in results[["arm", "fraction"]].drop_duplicates().itertuples(index=False):
        mean = mean_interval(_table(values, metric, arm, fraction))
        paired = _table(pairs, "difference", arm, fraction)
        difference = mean_interval(paired)
        of_seeds, diff_of_seeds = _part(seeds, arm, fraction), _part(per_seed, arm, fraction)
        row = {"arm": arm, "fraction": fraction, "metric": metric}
        row |= {"mean": mean.mean, "ci_low": mean.low, "ci_high": mean.high, "n_subjects": mean.n}
        row |= {"n_seeds": of_seeds.size, "seed_low": of_seeds.min(), "seed_high": of_seeds.max()}
        row |= {"difference": difference.mean, "diff_low": difference.low, "diff_high": difference.high}
        row |= {"n_pairs": difference.n, "diff_seed_low": diff_of_seeds.min(), "diff_seed_high": diff_of_seeds.max()}
        rows.append(row | {"detectable": detectable(paired, comparisons=n_comparisons), "p": p_value(paired)})
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(table["p"].tolist())
    return table


def _table(values: pd.DataFrame, column: str, arm: object, fraction: object) -> NDArray[np.float64]:
    """Return ``(subject, training)``, in an order that does not depend on that of the rows."""
    part = values[(values["arm"] == arm) & (values["fraction"] == fraction)]
    return part.pivot_table(column, "subject_id", "training").to_numpy(np.float64)


def _part(values: pd.Series[float], arm: object, fraction: object) -> pd.Series[float]:
    levels = values.index
    return values[(levels.get_level_values("arm") == arm) & (levels.get_level_values("fraction") == fraction)]
