"""Statistics over subjects: means and paired differences between arms, with bootstrap intervals and tests.

The subject is the unit. A subject's value is the mean over its cases (volumes or slices) and over the training
seeds. Intervals are percentile bootstraps over subjects; tests are Wilcoxon's signed-rank test with Holm's
correction over all comparisons of one score.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from lesionforge.errors import ConfigError
from lesionforge.seeding import generator

RESAMPLES = 10_000
CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with its 95 % interval.

    Attributes:
        mean: the mean over subjects; NaN if there is none.
        low: lower end; NaN if there are fewer than two subjects.
        high: upper end, likewise.
        n: number of subjects.
    """

    mean: float
    low: float
    high: float
    n: int


def bootstrap_mean(values: ArrayLike, rng: np.random.Generator, *, resamples: int = RESAMPLES) -> Interval:
    """Return the mean of the values, one per subject, with its percentile-bootstrap interval; NaN is left out."""
    array = np.asarray(values, np.float64)
    array = array[~np.isnan(array)]
    if array.size < 2:
        return Interval(mean=float(array[0]) if array.size else math.nan, low=math.nan, high=math.nan, n=array.size)
    interval = stats.bootstrap(
        (array,),
        np.mean,
        n_resamples=resamples,
        batch=1000,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=rng,
    ).confidence_interval
    return Interval(mean=float(array.mean()), low=float(interval.low), high=float(interval.high), n=array.size)


def bootstrap_ratio(
    numerators: ArrayLike, denominators: ArrayLike, rng: np.random.Generator, *, resamples: int = RESAMPLES
) -> Interval:
    """Return the ratio of the means of two values per subject, with its percentile-bootstrap interval.

    It is not the mean of the subjects' ratios: subjects with large denominators count for more.

    Args:
        numerators: one per subject.
        denominators: likewise, in the same order; their mean is not 0.
        rng: draws the resamples.
        resamples: how many.
    """
    pairs = tuple(np.asarray(values, np.float64) for values in (numerators, denominators))
    ratio = float(pairs[0].mean() / pairs[1].mean()) if pairs[0].size else math.nan
    if pairs[0].size < 2:
        return Interval(mean=ratio, low=math.nan, high=math.nan, n=pairs[0].size)
    interval = stats.bootstrap(
        pairs,
        lambda above, below, axis: above.mean(axis) / below.mean(axis),
        paired=True,
        vectorized=True,
        n_resamples=resamples,
        batch=1000,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=rng,
    ).confidence_interval
    return Interval(mean=ratio, low=float(interval.low), high=float(interval.high), n=pairs[0].size)


def paired_bootstrap(
    values: pd.Series[float], baseline: pd.Series[float], rng: np.random.Generator, *, resamples: int = RESAMPLES
) -> Interval:
    """Return the mean difference ``values − baseline`` over the subjects that both have, with its interval.

    Args:
        values: a value per subject, indexed by subject.
        baseline: likewise.
        rng: draws the resamples.
        resamples: how many.
    """
    return bootstrap_mean((values - baseline).dropna(), rng, resamples=resamples)


def signed_rank(differences: ArrayLike) -> tuple[float, float]:
    """Return Wilcoxon's two-sided p and the matched-pairs rank-biserial correlation (−1..1) as effect size.

    Differences of exactly 0 are left out, as Wilcoxon did; where nothing else is there, p is 1 and the effect 0.
    """
    array = np.asarray(differences, np.float64)
    array = array[~np.isnan(array)]
    nonzero = array[array != 0]
    if array.size == 0:
        return math.nan, math.nan
    if nonzero.size == 0:
        return 1.0, 0.0
    ranks = stats.rankdata(np.abs(nonzero))
    return float(stats.wilcoxon(nonzero).pvalue), float((ranks * np.sign(nonzero)).sum() / ranks.sum())


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


def subject_differences(results: pd.DataFrame, metric: str, *, baseline: str) -> pd.Series[float]:
    """Return arm minus baseline per (arm, fraction, subject_id), over the cases that both have a value for."""
    keys = ["fraction", "subject_id", "case_id"]
    per_case = results.groupby(["arm", *keys], sort=False)[metric].mean().dropna().reset_index()
    is_baseline = per_case["arm"] == baseline
    pairs = per_case[~is_baseline].merge(
        per_case[is_baseline].drop(columns="arm"), on=keys, suffixes=("", "_baseline"), how="inner"
    )
    pairs["difference"] = pairs[metric] - pairs[f"{metric}_baseline"]
    return pairs.groupby(["arm", "fraction", "subject_id"], sort=False)["difference"].mean()


def seed_differences(results: pd.DataFrame, metric: str, *, baseline: str) -> pd.Series[float]:
    """Return arm minus baseline per (arm, fraction, seed), for the seeds that both have."""
    means = seed_means(results, metric).reset_index()
    is_baseline = means["arm"] == baseline
    pairs = means[~is_baseline].merge(
        means[is_baseline].drop(columns="arm"), on=["fraction", "seed"], suffixes=("", "_baseline"), how="inner"
    )
    pairs["difference"] = pairs[metric] - pairs[f"{metric}_baseline"]
    return pairs.set_index(["arm", "fraction", "seed"])["difference"]


def compare_arms(results: pd.DataFrame, *, baseline: str, metric: str, seed: int = 0) -> pd.DataFrame:
    """Compare every arm with the baseline at the same fraction.

    Args:
        results: a row per arm × fraction × seed × case with ``arm, fraction, seed, case_id, subject_id``.
        baseline: the arm that the others are compared with.
        metric: the column to compare.
        seed: of the bootstrap; an arm's numbers do not depend on which other arms there are, Holm's p excepted.

    Returns:
        A row per arm × fraction, in the order of the results: ``mean, ci_low, ci_high, n_subjects, n_seeds,
        seed_low, seed_high`` (smallest and largest mean of one seed), and, NaN for the baseline itself,
        ``difference, diff_low, diff_high, n_pairs, diff_seed_low, diff_seed_high, effect, p_wilcoxon, p_holm``.

    Raises:
        ConfigError: if there is no such arm or metric.
    """
    if metric not in results:
        raise ConfigError(metric, "is not a column of the results", f"choose from {', '.join(results.columns)}")
    if baseline not in set(results["arm"]):
        arms = ", ".join(map(str, results["arm"].unique()))
        raise ConfigError(baseline, "the baseline is not an arm of the results", f"choose from {arms}")
    subjects, seeds = subject_means(results, metric), seed_means(results, metric)
    differences = subject_differences(results, metric, baseline=baseline)
    per_seed = seed_differences(results, metric, baseline=baseline)
    rows = []
    for arm, fraction in results[["arm", "fraction"]].drop_duplicates().itertuples(index=False):
        keys = (metric, str(arm), str(fraction))
        mean = bootstrap_mean(_part(subjects, arm, fraction), generator(seed, "mean", *keys))
        paired = _part(differences, arm, fraction)
        difference = bootstrap_mean(paired, generator(seed, "difference", *keys))
        p, effect = signed_rank(paired)
        of_seeds, diff_of_seeds = _part(seeds, arm, fraction), _part(per_seed, arm, fraction)
        row = {"arm": arm, "fraction": fraction, "metric": metric}
        row |= {"mean": mean.mean, "ci_low": mean.low, "ci_high": mean.high, "n_subjects": mean.n}
        row |= {"n_seeds": of_seeds.size, "seed_low": of_seeds.min(), "seed_high": of_seeds.max()}
        row |= {"difference": difference.mean, "diff_low": difference.low, "diff_high": difference.high}
        row |= {"n_pairs": difference.n, "diff_seed_low": diff_of_seeds.min(), "diff_seed_high": diff_of_seeds.max()}
        rows.append(row | {"effect": effect, "p_wilcoxon": p})
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(table["p_wilcoxon"].tolist())
    return table


def _part(values: pd.Series[float], arm: object, fraction: object) -> pd.Series[float]:
    levels = values.index
    return values[(levels.get_level_values("arm") == arm) & (levels.get_level_values("fraction") == fraction)]
