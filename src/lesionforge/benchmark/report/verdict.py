"""The verdict of a comparison: one sentence based on its confidence interval and p-value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pandas as pd

from lesionforge.benchmark.report.wording import amount, count, p_text, signed
from lesionforge.scores.registry import find_score
from lesionforge.scores.statistics.intervals import MIN_SUBJECTS, SIGNIFICANT, Interval


@dataclass(frozen=True, kw_only=True)
class Difference(Interval):
    """A difference ``arm − baseline`` over subjects, in the units of ``results.csv``.

    Attributes:
        p: p-value after Holm's correction over all comparisons of the score.
        detectable: smallest difference that would have been detected with 80 % power.
    """

    p: float
    detectable: float = math.nan


class Outcome(StrEnum):
    """The conclusion that a difference to the baseline allows."""

    GAIN = "gain"
    UNCONTROLLED = "baseline may be undertrained"
    LOSS = "loss"
    CHANGE = "change"
    NULL = "no difference shown"
    TOO_FEW = "too few subjects"


def outcome(difference: Difference, metric: str, *, undertrained: bool = False) -> Outcome:
    """Return the conclusion that ``arm − baseline`` allows.

    A gain or a loss needs an interval entirely on one side of 0 and p < 0.05 after Holm's correction. A change is the
    same for a score without a better direction. No gain is claimed over a baseline that may be undertrained.
    """
    if difference.n < MIN_SUBJECTS or math.isnan(difference.low):
        return Outcome.TOO_FEW
    if difference.low <= 0 <= difference.high or not difference.p < SIGNIFICANT:
        return Outcome.NULL
    better = find_score(metric).higher_is_better
    if better is None:
        return Outcome.CHANGE
    if (difference.low > 0) != better:
        return Outcome.LOSS
    return Outcome.UNCONTROLLED if undertrained else Outcome.GAIN


def verdict(
    difference: Difference,
    arm: str,
    baseline: str,
    metric: str,
    *,
    n_seeds: int | None = None,
    against: Sequence[str] = (),
    undertrained: str | None = None,
) -> str:
    """Return the sentence about one arm.

    Args:
        difference: ``arm − baseline``.
        arm: name of the arm.
        baseline: name of the baseline.
        metric: the score.
        n_seeds: number of seeds per arm, mentioned if given.
        against: seeds whose difference does not have the sign of the mean, as text.
        undertrained: why the baseline may be undertrained, or ``None``.
    """
    info = find_score(metric)
    low, high = signed(difference.low, info), signed(difference.high, info)
    sample = count(difference.n, "subject") + ("" if n_seeds is None else f", {count(n_seeds, 'seed')}")
    evidence = f"(95 % interval {low} to {high}, p {_p(difference.p)}, {sample})"
    size = f"{amount(abs(difference.mean), info)} {info.unit}"
    side = "higher" if difference.mean > 0 else "lower"
    exceptions = f" Not so in seed {', '.join(against)}." if against else ""
    match outcome(difference, metric, undertrained=undertrained is not None):
        case Outcome.GAIN:
            return f"{arm} did better than {baseline}: {info.title} was {size} {side} {evidence}.{exceptions}"
        case Outcome.UNCONTROLLED:
            return (
                f"{info.title} was {size} {side} with {arm} than with {baseline} {evidence}, but the baseline may be "
                f"undertrained: {undertrained}.{exceptions}"
            )
        case Outcome.LOSS:
            return f"{arm} did worse than {baseline}: {info.title} was {size} {side} {evidence}.{exceptions}"
        case Outcome.CHANGE:
            return f"{arm} differs from {baseline}: {info.title} was {size} {side} {evidence}.{exceptions}"
        case Outcome.NULL:
            return (
                f"No difference in {info.title} could be shown between {arm} and {baseline}: it lies between {low} and "
                f"{high} {info.unit} (95 % interval; mean {signed(difference.mean, info)}, p {_p(difference.p)}, "
                f"{sample}).{_unconfirmed(difference)}{_unseen(difference, metric)}"
            )
        case Outcome.TOO_FEW:
            mean = signed(difference.mean, info)
            measured = "" if math.isnan(difference.mean) else f" The mean difference was {mean} {info.unit}."
            return (
                f"Nothing can be said about {arm} against {baseline} in {info.title}: {count(difference.n, 'subject')} "
                f"compared, at least {MIN_SUBJECTS} are needed.{measured}"
            )


def _p(value: float) -> str:
    text = p_text(value)
    return text if text.startswith("<") else f"= {text}"


def _unconfirmed(difference: Difference) -> str:
    if difference.low <= 0 <= difference.high:
        return ""
    return " The interval lies on one side of 0, but p, corrected for the number of comparisons, does not confirm it."


def _unseen(difference: Difference, metric: str) -> str:
    info = find_score(metric)
    if math.isnan(difference.detectable):
        return ""
    smallest = f"{amount(difference.detectable, info)} {info.unit}"
    return f" The smallest difference that would have been seen with 80 % power is {smallest}."


def comparisons(summary: pd.DataFrame, *, baseline: str, metric: str) -> pd.DataFrame:
    """Return the rows of ``summary`` that compare an arm with the baseline in one score, best first at each size."""
    rows = summary[(summary["metric"] == metric) & (summary["arm"] != baseline)]
    less_is_better = find_score(metric).higher_is_better is False
    return rows.sort_values(["train_size", "difference"], ascending=[True, less_is_better], kind="stable")


def difference_of(row: Mapping[Any, Any] | pd.Series[Any]) -> Difference:
    """Return the difference from a row of ``summary.csv`` or ``over_sizes.csv``."""
    return Difference(
        mean=row["difference"],
        low=row["diff_low"],
        high=row["diff_high"],
        n=int(row["n_pairs"]),
        p=row["p_holm"],
        detectable=row["detectable"],
    )
