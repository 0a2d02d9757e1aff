"""Summary of the scores of healed scans per method: mean, spread, interval, and a test against the baselines."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from lesionforge.errors import ConfigError, choose_from
from lesionforge.scores.healed_scans.healed import REFERENCES
from lesionforge.scores.healed_scans.healed_scores import HEALED_SCORES
from lesionforge.scores.healed_scans.healthiness import is_valid
from lesionforge.scores.registry import metric_in
from lesionforge.scores.score import Score
from lesionforge.scores.statistics.arm_statistics import compare_arms, interval_of, seed_differences, subject_means
from lesionforge.scores.statistics.intervals import MIN_SUBJECTS, SIGNIFICANT, linearised_ratio


def summarize_healed(scores: pd.DataFrame, *, baselines: Collection[str] = ()) -> pd.DataFrame:
    """Summarize the scores of healed scans, from one training seed or several.

    See :func:`~lesionforge.scores.healed_scans.healed.score_healed` for the input table.

    Means, intervals and tests use the subject as the unit. Healthiness and its differences are ratios of the mean
    numbers of voxels over all subjects.

    Args:
        scores: a row per method, seed and case.
        baselines: methods to compare with; for each score, all other methods are tested against the better one.

    Returns:
        A row per score and method: ``score, method, mean, sd`` (over cases), ``ci_low, ci_high, n_subjects``,
        ``seed_low, seed_high`` (smallest and largest mean of one seed), ``baseline`` (the better one), ``difference,
        diff_low, diff_high, n_pairs, detectable`` (smallest difference that would have been detected with 80 % power),
        ``p, p_holm``, ``seeds_against`` (seeds in which the difference does not have the sign of the mean), ``star``
        (better than the baseline in 6 subjects or more, with an interval that excludes 0 and p < 0.05 after Holm's
        correction), ``f_pre_dice`` (mean over subjects) and ``valid``, which is False for healthiness if ``f_pre_dice``
        is below 0.6.

    Raises:
        ConfigError: if a baseline is not among the methods.
    """
    methods = list(dict.fromkeys(scores["method"]))
    for name in baselines:
        if name not in methods or name in REFERENCES:
            raise ConfigError(name, "is not a method that was scored", choose_from(methods))
    results = scores.rename(columns={"method": "arm"}).assign(train_size=1.0)
    parts = []
    for name, score in HEALED_SCORES.items():
        if results[name].notna().any():
            part = pd.DataFrame([_row(results, score, method) for method in methods]).dropna(subset="mean")
            parts.append(_tested(part, results, score, baselines))
    table = pd.concat(parts, ignore_index=True)
    table["f_pre_dice"] = results.groupby("subject_id")["f_pre_dice"].mean().mean()
    table["valid"] = (table["score"] != "healthiness") | table["f_pre_dice"].map(is_valid)
    return table


def _row(results: pd.DataFrame, score: Score[Any], method: str) -> dict[str, object]:
    of_method = results[results["arm"] == method]
    interval = interval_of(of_method, score)
    of_seeds = [_mean(part, score) for _, part in of_method.groupby("seed")]
    of_cases = of_method.groupby("case_id")[score.name].mean().dropna()
    row: dict[str, object] = {"score": score.name, "method": method, "mean": interval.mean, "sd": of_cases.std(ddof=1)}
    row |= {"ci_low": interval.low, "ci_high": interval.high, "n_subjects": interval.n}
    return row | {"seed_low": min(of_seeds), "seed_high": max(of_seeds)}


def _mean(of_seed: pd.DataFrame, score: Score[Any]) -> float:
    return score(of_seed) if score.level == "set" else float(subject_means(of_seed, score).mean())


def _tested(part: pd.DataFrame, results: pd.DataFrame, score: Score[Any], baselines: Collection[str]) -> pd.DataFrame:
    """Return the rows of a score with a test of each method against the better baseline."""
    columns = ["difference", "diff_low", "diff_high", "n_pairs", "detectable", "p", "p_holm"]
    candidates = part[part["method"].isin(baselines)]
    if candidates.empty:
        return part.assign(baseline="", **dict.fromkeys(columns, np.nan), seeds_against="", star=False)
    sign = 1 if score.higher_is_better else -1
    baseline = str(candidates["method"].iloc[int((sign * candidates["mean"]).argmax())])
    compared = set(part["method"]) - set(REFERENCES) - (set(baselines) - {baseline})
    rows = results[results["arm"].isin(compared)]
    rows = _pooled(rows, baseline) if score.level == "set" else rows
    metric = metric_in(rows, score.name)
    tests = compare_arms(rows, baseline=baseline, metric=metric)
    merged = part.merge(tests.set_index("arm")[columns], left_on="method", right_index=True, how="left")
    per_seed = seed_differences(rows, metric, baseline=baseline)
    against = [_seeds_against(per_seed, *of) for of in zip(merged["method"], merged["difference"], strict=True)]
    shown = (merged["p_holm"] < SIGNIFICANT) & (merged["n_pairs"] >= MIN_SUBJECTS)
    nearest = merged["diff_low"] if sign > 0 else -merged["diff_high"]
    return merged.assign(baseline=baseline, seeds_against=against, star=shown & (nearest > 0))


def _pooled(results: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return a row per method, seed and subject whose mean ``healthiness`` is its difference to the baseline.

    The difference is a ratio of means, as healthiness is.
    """
    keys = ["arm", "train_size", "seed", "subject_id"]
    counts = results.groupby(keys, sort=False)[["found", "true"]].sum().reset_index()
    counts = counts[counts["true"] > 0]
    of_baseline = counts.loc[counts["arm"] == baseline, ["seed", "subject_id", "found"]]
    pairs = counts.merge(of_baseline, on=["seed", "subject_id"], suffixes=("", "_baseline"))
    for _, rows in pairs.groupby("arm"):
        gained, true = (rows["found_baseline"] - rows["found"]).to_numpy(float), rows["true"].to_numpy(float)
        pairs.loc[rows.index, "healthiness"] = linearised_ratio(gained, true)
    return pairs[[*keys, "healthiness"]].assign(case_id=pairs["subject_id"])


def _seeds_against(per_seed: pd.Series[float], method: str, difference: float) -> str:
    """Return the seeds in which a method's difference to the baseline does not have the sign of the mean."""
    of_method = per_seed[per_seed.index.get_level_values("arm") == method]
    seeds = of_method.index.get_level_values("seed")[of_method * difference <= 0]
    return ", ".join(map(str, sorted(seeds)))
