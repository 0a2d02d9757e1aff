"""The declared arm over all training-set sizes together: its mean gain over other arms, and its share of the gap."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lesionforge.benchmark.report.collapse import collapsed_trainings, doubt_about, without_repeats
from lesionforge.benchmark.report.gap import (
    NO_SHARE,
    Share,
    aligned,
    by_training,
    percent_interval,
    set_statistics,
    share_of_gap,
    share_of_set_gap,
)
from lesionforge.benchmark.report.tables import css_class
from lesionforge.benchmark.report.verdict import difference_of, outcome, verdict
from lesionforge.benchmark.report.wording import amount, p_text, signed, size_names
from lesionforge.scores.registry import find_score, metric_in
from lesionforge.scores.statistics.arm_statistics import holm, possible
from lesionforge.scores.statistics.intervals import Interval, mean_interval
from lesionforge.scores.statistics.over_sizes import difference_over_sizes, seed_differences_over_sizes
from lesionforge.scores.statistics.resampling import N_RESAMPLES, Resampled


@dataclass(frozen=True, kw_only=True)
class OverSizes:
    """Content of the report's section on means over sizes.

    Attributes:
        arm: the primary arm.
        lines: a sentence for each comparison.
        rows: cells of the table.
        table: output of :func:`over_sizes_table`.
    """

    arm: str
    lines: Sequence[str]
    rows: Sequence[dict[str, Any]]
    table: pd.DataFrame


def over_sizes(
    results: pd.DataFrame,
    reference: pd.DataFrame | None,
    *,
    baseline: str,
    arm: str,
    against: Sequence[str] = (),
    primary: str,
    undertrained: str | None = None,
) -> OverSizes | None:
    """Compare the declared arm with the baseline and with others; ``None`` if the table of arms says as much.

    Args:
        results: content of ``results.csv``.
        reference: content of ``reference.csv``; without it there are no shares.
        baseline: name of the baseline.
        arm: the primary arm.
        against: further arms that it is compared with.
        primary: the primary score.
        undertrained: why the baseline may be undertrained, or ``None``.
    """
    sizes = size_names(results["train_size"])
    if len(sizes) < 2 and not against:
        return None
    others = (baseline, *against)
    table = over_sizes_table(results, reference, baseline=baseline, arm=arm, others=others, metric=primary)
    doubts = {other: doubt_about(other, results, undertrained) for other in others}
    lines = [
        f"Mean over {row['sizes']}: {line}" if len(sizes) > 1 else line
        for row in table.to_dict("records")
        if len(sizes) > 1 or row["against"] != baseline
        for line in [_sentence(row, doubts[row["against"]], results)]
    ]
    return OverSizes(
        arm=arm,
        lines=lines,
        rows=[_cells(row, doubts[row["against"]]) for row in table.to_dict("records")],
        table=table,
    )


def over_sizes_table(
    results: pd.DataFrame,
    reference: pd.DataFrame | None,
    *,
    baseline: str,
    arm: str,
    others: Sequence[str],
    metric: str,
    n_resamples: int = N_RESAMPLES,
) -> pd.DataFrame:
    """Return the means over sizes of an arm's gain over others, and of its share of the baseline's gap.

    All training runs count for the gain. For the share, a seed is left out if a training run of the arm, the other arm,
    the baseline or the reference collapsed at any size, in a cross-validation only in the fold in which one did.

    Args:
        results: content of ``results.csv``.
        reference: content of ``reference.csv``; without it there are no shares.
        baseline: name of the baseline, whose gap to the whole pool is that of every row.
        arm: the arm.
        others: names of the arms that it is compared with.
        metric: the score.
        n_resamples: number of bootstrap samples, for a score of a set.

    Returns:
        A row per other arm (``against``) over the ``sizes`` at which both and the baseline were trained:
        ``difference, diff_low, diff_high, n_pairs, n_seeds, detectable, p, p_holm`` as in ``summary.csv``, with Holm's
        correction over these rows; the mean over sizes of the share of the gap, ``share, share_low, share_high``, NaN
        if at one size no gap is shown; the mean gain as a share of the mean gap, ``of_mean_gap, of_mean_gap_low,
        of_mean_gap_high``; and ``share_seeds``, the number of seeds of the shares.
    """
    rows, score = [], metric_in(results, metric)
    for other in others:
        sizes = _shared_sizes(results, (baseline, arm, other))
        if not sizes:
            continue
        shared = results[results["train_size"].isin(sizes)]
        estimate = difference_over_sizes(shared, score, arm=arm, other=other, n_resamples=n_resamples)
        interval = possible(estimate.interval(), find_score(metric), of_difference=True)
        row = {"arm": arm, "against": other, "metric": metric, "difference": interval.mean}
        row |= {"diff_low": interval.low, "diff_high": interval.high, "n_pairs": interval.n}
        row["n_seeds"] = len(seed_differences_over_sizes(shared, score, arm=arm, other=other))
        row |= {"sizes": ", ".join(size_names(results["train_size"])[size] for size in sizes)}
        row |= {"detectable": estimate.detectable(comparisons=len(others))}
        row |= {"p": estimate.p_value(), "p_holm": math.nan}
        rows.append(row | _shares(shared, reference, baseline, arm, other, metric, n_resamples))
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(table["p"].tolist())
    return table


def _shared_sizes(results: pd.DataFrame, arms: Sequence[str]) -> list[float]:
    """Return the sizes at which all of these arms were trained, smallest first."""
    return sorted(set.intersection(*(set(results.loc[results["arm"] == arm, "train_size"]) for arm in arms)))


def _shares(
    results: pd.DataFrame,
    reference: pd.DataFrame | None,
    baseline: str,
    arm: str,
    other: str,
    metric: str,
    n_resamples: int,
) -> dict[str, float]:
    found, n_seeds = (NO_SHARE, NO_SHARE), 0
    if reference is not None:
        of_three = results[results["arm"].isin((baseline, arm, other))]
        failed = pd.concat([collapsed_trainings(table) for table in (of_three, reference)])
        rows, whole = (without_repeats(table, failed) for table in (of_three, reference))
        parts = {name: rows[rows["arm"] == of] for name, of in (("few", baseline), ("arm", arm), ("other", other))}
        n_seeds = len(set.intersection(*(set(part["seed"]) for part in (*parts.values(), whole))))
        of_set = find_score(metric).level == "set"
        if n_seeds:
            found = _of_set(parts, whole, metric, n_resamples) if of_set else _of_cases(parts, whole, metric)
    mean, of_mean = found
    return {
        **{"share": mean.share, "share_low": mean.low, "share_high": mean.high},
        **{"of_mean_gap": of_mean.share, "of_mean_gap_low": of_mean.low, "of_mean_gap_high": of_mean.high},
        "share_seeds": n_seeds,
    }


def _of_cases(parts: dict[str, pd.DataFrame], whole: pd.DataFrame, metric: str) -> tuple[Share, Share]:
    """Return the mean of the shares at each size, and the share of the mean gap."""
    sizes = sorted(parts["arm"]["train_size"].unique())
    at_sizes = [by_training(part[part["train_size"] == size], metric) for part in parts.values() for size in sizes]
    tables = [table.to_numpy() for table in aligned([by_training(whole, metric), *at_sizes])]
    if not tables[0].size:
        return NO_SHARE, NO_SHARE
    few, ours, theirs = np.reshape(tables[1:], (len(parts), len(sizes), *tables[0].shape))
    gains, gaps = ours - theirs, tables[0] - few
    return mean_share(gains, gaps), share_of_gap(gains.mean(0), gaps.mean(0))


def mean_share(gains: NDArray[np.float64], gaps: NDArray[np.float64]) -> Share:
    """Return the mean over sizes of the share of the gap, with its interval by linearisation (the delta method).

    It is NaN if at one size no gap is shown.

    Args:
        gains: ``(size, subject, training)``.
        gaps: same shape, with the same values missing, in all sizes alike.
    """
    intervals = [mean_interval(gap) for gap in gaps]
    if not all(map(_is_gap, intervals)):
        return NO_SHARE
    shares = [mean_interval(gain).mean / gap.mean for gain, gap in zip(gains, intervals, strict=True)]
    parts = zip(gains, gaps, shares, intervals, strict=True)
    rest = mean_interval(np.mean([(gain - share * gap) / interval.mean for gain, gap, share, interval in parts], 0))
    return _around(shares, rest.low, rest.high)


def _is_gap(gap: Interval) -> bool:
    """Return whether an interval lies wholly on one side of 0."""
    return gap.low > 0 or gap.high < 0


def _of_set(parts: dict[str, pd.DataFrame], whole: pd.DataFrame, metric: str, n_resamples: int) -> tuple[Share, Share]:
    """Return the same as :func:`_of_cases` for a score of a set."""
    sizes = sorted(parts["arm"]["train_size"].unique())
    repeated = pd.concat([whole.assign(train_size=size) for size in sizes])
    arms = set_statistics({**parts, "whole": repeated}, metric, n_resamples)

    def left(share: float, weights: Mapping[float, float]) -> Resampled:
        """Return the gain less a share of the gap."""
        terms = (("arm", 1.0), ("other", -1.0), ("few", share), ("whole", -share))
        return arms.combined({(name, at): weight * sign for at, weight in weights.items() for name, sign in terms})

    def gap(weights: Mapping[float, float]) -> Resampled:
        terms = (("whole", 1.0), ("few", -1.0))
        return arms.combined({(name, at): weight * sign for at, weight in weights.items() for name, sign in terms})

    together = dict.fromkeys(sizes, 1 / len(sizes))
    of_mean = share_of_set_gap(left(0.0, together), gap(together), lambda share: left(share, together))
    intervals = {size: gap({size: 1.0}).interval() for size in sizes}
    if not all(map(_is_gap, intervals.values())):
        return NO_SHARE, of_mean
    shares: list[float] = []
    terms: dict[tuple[str, float], float] = {}
    for size, interval in intervals.items():
        share, weight = left(0.0, {size: 1.0}).mean / interval.mean, 1 / (interval.mean * len(sizes))
        terms |= {("arm", size): weight, ("other", size): -weight}
        terms |= {("few", size): share * weight, ("whole", size): -share * weight}
        shares.append(share)
    return _around(shares, *arms.combined(terms).limits()), of_mean


def _around(shares: Sequence[float], low: float, high: float) -> Share:
    mean = float(np.mean(shares))
    return Share(mean, mean + low, mean + high)


def _sentence(row: dict[Any, Any], doubt: str | None, results: pd.DataFrame) -> str:
    arm, other, metric = row["arm"], row["against"], row["metric"]
    names = size_names(results["train_size"])
    shared = results[results["train_size"].map(names).isin(row["sizes"].split(", "))]
    per_seed = seed_differences_over_sizes(shared, metric_in(results, metric), arm=arm, other=other)
    opposed = [str(seed) for seed in sorted(per_seed[per_seed * row["difference"] <= 0].index)]
    sentence = verdict(
        difference_of(row), arm, other, metric, n_seeds=row["n_seeds"], against=opposed, undertrained=doubt
    )
    known = not math.isnan(row["share"])
    return f"{sentence} The mean share of the gap is {percent_interval(row)}." if known else sentence


def _cells(row: dict[Any, Any], doubt: str | None) -> dict[str, Any]:
    info, kind = find_score(row["metric"]), outcome(difference_of(row), row["metric"], undertrained=doubt is not None)
    mean, low, high = (signed(row[name], info) for name in ("difference", "diff_low", "diff_high"))
    return {
        **{
            "against": row["against"],
            "sizes": row["sizes"],
            "difference": f"{mean} [{low}, {high}]",
            "seeds": row["n_seeds"],
        },
        **{"outcome": kind.value, "css": css_class(kind), "detectable": amount(row["detectable"], info)},
        **{"p": p_text(row["p"]), "p_holm": p_text(row["p_holm"])},
        **{"share": percent_interval(row), "share_seeds": row["share_seeds"]},
        "of_mean_gap": percent_interval(row, "of_mean_gap"),
    }
