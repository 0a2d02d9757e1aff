"""What a comparison says, in one honest sentence that is made from its interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

import pandas as pd

from lesionforge.scores import ScoreInfo, score_info
from lesionforge.scores.statistics import Interval

MIN_SUBJECTS = 6
"""With fewer subjects a two-sided signed-rank test cannot reach p < 0.05 (2 / 2⁵ = 0.06), and no gain is claimed."""


class Outcome(StrEnum):
    """What an interval of a difference to the baseline allows to say."""

    GAIN = "gain"
    LOSS = "loss"
    CHANGE = "change"
    NULL = "no difference shown"
    TOO_FEW = "too few subjects"


def outcome(difference: Interval, metric: str) -> Outcome:
    """Return what the interval of ``arm − baseline`` allows to say.

    A gain or a loss is an interval that lies wholly on one side of 0; a change is the same for a score of which
    neither direction is better.
    """
    if difference.n < MIN_SUBJECTS or math.isnan(difference.low):
        return Outcome.TOO_FEW
    if difference.low <= 0 <= difference.high:
        return Outcome.NULL
    better = score_info(metric).higher_is_better
    if better is None:
        return Outcome.CHANGE
    return Outcome.GAIN if (difference.low > 0) == better else Outcome.LOSS


def verdict(difference: Interval, arm: str, baseline: str, metric: str, *, n_seeds: int | None = None) -> str:
    """Return the sentence about one arm.

    Args:
        difference: ``arm − baseline`` over subjects, in the units of ``results.csv``.
        arm: its name.
        baseline: the name of the arm it is compared with.
        metric: the score.
        n_seeds: trainings per arm, mentioned if given.
    """
    info = score_info(metric)
    low, high = signed(difference.low, info), signed(difference.high, info)
    sample = f"{difference.n} subjects" + ("" if n_seeds is None else f", {_count(n_seeds, 'seed')}")
    evidence = f"(95 % interval {low} to {high}, {sample})"
    size = f"{amount(abs(difference.mean), info)} {info.unit}"
    side = "higher" if difference.mean > 0 else "lower"
    match outcome(difference, metric):
        case Outcome.GAIN:
            return f"{arm} did better than {baseline}: {info.title} was {size} {side} {evidence}."
        case Outcome.LOSS:
            return f"{arm} did worse than {baseline}: {info.title} was {size} {side} {evidence}."
        case Outcome.CHANGE:
            return f"{arm} differs from {baseline}: {info.title} was {size} {side} {evidence}."
        case Outcome.NULL:
            return (
                f"No difference in {info.title} could be shown between {arm} and {baseline}: "
                f"it lies between {low} and {high} {info.unit} "
                f"(95 % interval; mean {signed(difference.mean, info)}, {sample})."
            )
        case Outcome.TOO_FEW:
            measured = "" if math.isnan(difference.mean) else f" The mean difference was {_mean(difference, info)}."
            return (
                f"Nothing can be said about {arm} against {baseline} in {info.title}: {_count(difference.n, 'subject')}"
                f" compared, at least {MIN_SUBJECTS} are needed.{measured}"
            )


def headline(summary: pd.DataFrame, *, baseline: str, metric: str, arm: str | None = None) -> str:
    """Return the sentence for the whole benchmark.

    Args:
        summary: as :func:`lesionforge.benchmark.report.summarize` makes it.
        baseline: the arm that the others are compared with.
        metric: the primary score.
        arm: the arm declared beforehand as the main comparison; without it all arms are listed, best first.

    Returns:
        The verdict of the one comparison that there is, or a list of all by outcome.
    """
    rows = comparisons(summary, baseline=baseline, metric=metric)
    if arm is not None:
        rows = rows[rows["arm"] == arm]
    if rows.empty:
        return f"There is nothing to compare with {baseline}."
    if len(rows) == 1:
        row = rows.iloc[0]
        return verdict(difference_of(row), str(row["arm"]), baseline, metric, n_seeds=int(row["n_seeds"]))
    parts = []
    for kind, words in _KINDS.items():
        of_kind = rows[[outcome(difference_of(row), metric) is kind for _, row in rows.iterrows()]]
        if len(of_kind):
            parts.append(f"{words} {_names(of_kind, fraction_names(rows['fraction']))}")
    return f"{score_info(metric).title} against {baseline}, by 95 % intervals: {'; '.join(parts)}."


_KINDS = {
    Outcome.GAIN: "better with",
    Outcome.LOSS: "worse with",
    Outcome.CHANGE: "different with",
    Outcome.NULL: "no difference could be shown for",
    Outcome.TOO_FEW: "too few subjects to tell for",
}


def comparisons(summary: pd.DataFrame, *, baseline: str, metric: str) -> pd.DataFrame:
    """Return the summary's rows of one score that compare an arm with the baseline, the best first at each fraction."""
    rows = summary[(summary["metric"] == metric) & (summary["arm"] != baseline)]
    less_is_better = score_info(metric).higher_is_better is False
    return rows.sort_values(["fraction", "difference"], ascending=[True, less_is_better], kind="stable")


def difference_of(row: pd.Series[Any]) -> Interval:
    """Return the difference to the baseline that a row of the summary holds."""
    return Interval(mean=row["difference"], low=row["diff_low"], high=row["diff_high"], n=int(row["n_pairs"]))


def fraction_names(fractions: Iterable[float]) -> dict[float, str]:
    """Return how the fractions of one study are called: numbers of subjects if any is above 1, else shares of them."""
    sizes = sorted(set(fractions))
    return {size: f"n = {size:g}" if sizes[-1] > 1 else f"{100 * size:g} %" for size in sizes}


def amount(value: float, info: ScoreInfo) -> str:
    """Return a value in the score's unit, without the unit: one decimal, two for small ones; – for NaN."""
    if math.isnan(value):
        return "–"
    shown = value * info.factor
    return f"{shown:.{_decimals(shown)}f}".replace("-", "−")


def signed(value: float, info: ScoreInfo) -> str:
    """Return :func:`amount` with its sign."""
    if math.isnan(value):
        return "–"
    shown = value * info.factor
    return f"{shown:+.{_decimals(shown)}f}".replace("-", "−")


def _decimals(shown: float) -> int:
    return 1 if abs(shown) >= 0.1 or shown == 0 else 2


def _mean(difference: Interval, info: ScoreInfo) -> str:
    return f"{signed(difference.mean, info)} {info.unit}"


def _names(rows: pd.DataFrame, sizes: Mapping[float, str]) -> str:
    names = []
    for arm in dict.fromkeys(rows["arm"]):
        at = ", ".join(sizes[f] for f in rows.loc[rows["arm"] == arm, "fraction"])
        names.append(f"{arm} ({at})" if len(sizes) > 1 else str(arm))
    return ", ".join(names)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
