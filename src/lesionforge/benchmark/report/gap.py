"""The worth of a gain: its share of the gap between a small training set and the whole pool."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lesionforge.benchmark.report.collapse import collapsed_trainings, without_repeats
from lesionforge.benchmark.report.wording import amount, signed, size_names
from lesionforge.scores.registry import find_score
from lesionforge.scores.score import Score
from lesionforge.scores.statistics.arm_statistics import trainings
from lesionforge.scores.statistics.intervals import components, limits, mean_interval
from lesionforge.scores.statistics.resampling import N_RESAMPLES, TOUCHES, Resampled
from lesionforge.scores.statistics.set_statistics import SetStatistics

WIDEST = 5.0
"""Interval ends beyond ± 500 % are reported as infinite."""
SHARES = np.linspace(-WIDEST, WIDEST, 4001)
COARSE_SHARES = np.linspace(-WIDEST, WIDEST, 401)
"""Shares that are tried for a score of a set, whose intervals take longer."""


NO_GAP = dict.fromkeys(
    ("baseline_mean", "reference_mean", "gap", "gap_low", "gap_high", "gain", "share", "share_low", "share_high"),
    math.nan,
)


class Share(NamedTuple):
    """A share of the gap with its 95 % interval; an infinite end is unknown, and all values are NaN without a gap."""

    share: float
    low: float
    high: float


NO_SHARE = Share(math.nan, math.nan, math.nan)


def gap_table(
    results: pd.DataFrame,
    reference: pd.DataFrame,
    *,
    baseline: str,
    metric: str,
    n_resamples: int = N_RESAMPLES,
) -> pd.DataFrame:
    """Return, for each arm and size, the share of the gap to the whole pool that the arm closes.

    Seeds in which the arm, the baseline or the reference collapsed are left out, since a collapsed training run is no
    gap; in a cross-validation only in the fold in which one collapsed.

    Args:
        results: content of ``results.csv``.
        reference: content of ``reference.csv``: the baseline, trained on every subject of the pool.
        baseline: name of the arm from which gains and gaps are measured.
        metric: the score.
        n_resamples: number of bootstrap samples, for a score of a set.

    Returns:
        A row per arm × train_size, without the baseline: ``baseline_mean, reference_mean``; their difference ``gap``
        with ``gap_low, gap_high``; the arm's ``gain`` over the baseline; its ``share`` of the gap with ``share_low,
        share_high``; and ``n_seeds``, the number of seeds used.
    """
    failed, lost, rows = collapsed_trainings(results), collapsed_trainings(reference), []
    for arm, train_size in results[["arm", "train_size"]].drop_duplicates().itertuples(index=False):
        if arm == baseline:
            continue
        both = failed["arm"].isin((arm, baseline)) & (failed["train_size"] == train_size)
        dropped = pd.concat([lost, failed[both]])
        part, whole = (without_repeats(table, dropped) for table in (results, reference))
        part = part[part["train_size"] == train_size]
        few, ours = (part[part["arm"] == name] for name in (baseline, arm))
        of_set = find_score(metric).level == "set"
        if of_set:
            found = _set_row(few, ours, whole, metric, n_resamples)
        else:
            found = _row(*(by_training(table, metric) for table in (few, ours, whole)))
        facts = {"arm": arm, "train_size": train_size, "metric": metric, "n_seeds": part["seed"].nunique()}
        rows.append(NO_GAP | facts | found)
    return pd.DataFrame(rows)


def _set_row(
    few: pd.DataFrame, arm: pd.DataFrame, whole: pd.DataFrame, metric: str, n_resamples: int
) -> dict[str, float]:
    """Return the gain, the gap and the share of a score of a set, from the same bootstrap samples of subjects."""
    if few.empty or arm.empty or whole.empty:
        return {}
    parts = {"few": few, "arm": arm, "whole": whole}
    arms = set_statistics({name: part.assign(train_size=1.0) for name, part in parts.items()}, metric, n_resamples)
    gain, gap = arms.difference("arm", 1.0), arms.difference("whole", 1.0)
    low, high = gap.limits()
    row = {
        **{"baseline_mean": arms.mean("few", 1.0).mean, "reference_mean": arms.mean("whole", 1.0).mean},
        **{"gap": gap.mean, "gap_low": low, "gap_high": high, "gain": gain.mean},
    }
    share = share_of_set_gap(
        gain, gap, lambda share: arms.combined({("arm", 1.0): 1, ("few", 1.0): share - 1, ("whole", 1.0): -share})
    )
    return row | {"share": share.share, "share_low": share.low, "share_high": share.high}


def set_statistics(parts: Mapping[str, pd.DataFrame], metric: str, n_resamples: int) -> SetStatistics:
    """Return the statistics of the rows of several arms, with ``few`` as their baseline.

    Args:
        parts: name → rows of the arm of that name.
        metric: a score of a set.
        n_resamples: number of bootstrap samples.
    """
    keyed = [part.assign(arm=name, training=trainings(part)) for name, part in parts.items()]
    rows = pd.concat(keyed, ignore_index=True)
    return SetStatistics(rows, find_score(metric), baseline="few", n_resamples=n_resamples)


def share_of_set_gap(gain: Resampled, gap: Resampled, left: Callable[[float], Resampled]) -> Share:
    """Return the share of the gap of a score of a set, in the way of :func:`share_of_gap`.

    Args:
        gain: the gain.
        gap: the gap.
        left: function that returns the gain less a share of the gap.
    """
    low, high = gap.limits()
    if math.isnan(low) or low <= 0 <= high:
        return NO_SHARE
    low, high = np.transpose([left(share).limits() for share in COARSE_SHARES])
    return _share(gain.mean / gap.mean, COARSE_SHARES[(low <= TOUCHES) & (high >= -TOUCHES)])


def by_training(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return a table of subjects × training runs with the mean over cases."""
    keyed = rows.assign(training=trainings(rows))
    return keyed.pivot_table(values=metric, index="subject_id", columns="training", aggfunc="mean")


def aligned(tables: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """Return tables of subjects × training runs with only those values that all of them have."""
    there = reduce(add, tables).notna()
    return [table.where(there).dropna(how="all").dropna(axis=1, how="all") for table in tables]


def _row(few: pd.DataFrame, arm: pd.DataFrame, whole: pd.DataFrame) -> dict[str, float]:
    few, arm, whole = aligned((few, arm, whole))
    if few.empty:
        return {}
    gains, gaps = (arm - few).to_numpy(), (whole - few).to_numpy()
    gap, share = mean_interval(gaps), share_of_gap(gains, gaps)
    return {
        **{"baseline_mean": mean_interval(few).mean, "reference_mean": mean_interval(whole).mean},
        **{"gap": gap.mean, "gap_low": gap.low, "gap_high": gap.high, "gain": mean_interval(gains).mean},
        **{"share": share.share, "share_low": share.low, "share_high": share.high},
    }


def share_of_gap(gains: NDArray[np.float64], gaps: NDArray[np.float64]) -> Share:
    """Return mean gain over mean gap, with the interval of shares that the data do not exclude (Fieller 1954).

    A share is excluded if the interval of ``gain − share · gap`` does not contain 0. If the interval of the gap itself
    contains 0, there is no gap to close, and all values are NaN.

    Args:
        gains: ``(subject, training)``; NaN where a value is missing, but no row or column may be all NaN.
        gaps: same shape, with the same values missing.
    """
    gap = mean_interval(gaps)
    if math.isnan(gap.low) or gap.low <= 0 <= gap.high:
        return NO_SHARE
    low, high = limits(components(gains - SHARES[:, None, None] * gaps))
    return _share(mean_interval(gains).mean / gap.mean, SHARES[(low <= 0) & (high >= 0)])


def _share(share: float, possible: NDArray[np.float64]) -> Share:
    """Return a share with the interval of those that are not excluded, given in ascending order."""
    if not possible.size:
        return Share(share, math.nan, math.nan)
    return Share(share, _end(float(possible[0])), _end(float(possible[-1])))


def _end(share: float) -> float:
    """Return an end of an interval of shares; infinite beyond the widest interval that is reported."""
    return math.copysign(math.inf, share) if abs(share) >= WIDEST else share


def gap_sentences(table: pd.DataFrame, *, baseline: str, pool: str) -> list[str]:
    """Return a sentence for each arm and size.

    Args:
        table: output of :func:`gap_table`.
        baseline: name of the baseline.
        pool: text that describes the training subjects of the reference.
    """
    if table.empty:
        return []
    info, sizes = find_score(str(table["metric"].iloc[0])), size_names(table["train_size"])
    return [_sentence(row, info, sizes, baseline, pool) for row in table.to_dict("records")]


def _sentence(row: Mapping[Any, Any], info: Score[Any], sizes: Mapping[float, str], baseline: str, pool: str) -> str:
    place = f"{row['arm']}, {sizes[row['train_size']]}" if len(sizes) > 1 else str(row["arm"])
    if math.isnan(row["gap"]):
        return f"{place}: no gap can be given, since in no seed did all of its trainings find something."
    if row["gap"] == row["gap_low"] == row["gap_high"] == 0:
        return f"{place}: {baseline} already trains on {pool}, so there is no gap to close."
    few, whole = amount(row["baseline_mean"], info), amount(row["reference_mean"], info)
    between = f"{few} with these subjects, {whole} {info.unit} with {pool}"
    if math.isnan(row["share"]):
        ends = f"{signed(row['gap_low'], info)} to {signed(row['gap_high'], info)}"
        return f"{place}: no gap between {baseline} on these subjects and on {pool} could be shown ({between}; {ends})."
    gain = f"{signed(row['gain'], info)} {info.unit}"
    return f"{place}: {gain}, {percent_interval(row)} of the gap ({between})."


def percent_interval(row: Mapping[Any, Any], name: str = "share") -> str:
    """Return a share with its interval in percent; infinite or NaN ends read ``unknown``."""
    if math.isnan(row[name]):
        return "–"
    ends = ["unknown" if not math.isfinite(end) else _percent(end) for end in (row[f"{name}_low"], row[f"{name}_high"])]
    return f"{_percent(row[name])} [{ends[0]}, {ends[1]}]"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %".replace("-", "−")
