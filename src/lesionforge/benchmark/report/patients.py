"""The worth of an arm in patients: with how many real subjects the baseline alone reaches the arm's score."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lesionforge.benchmark.report.collapse import without_collapsed
from lesionforge.benchmark.report.gap import aligned
from lesionforge.scores.registry import find_score
from lesionforge.scores.score import Score
from lesionforge.scores.statistics.arm_statistics import trainings
from lesionforge.scores.statistics.intervals import components, limits
from lesionforge.scores.statistics.resampling import N_RESAMPLES, TOUCHES
from lesionforge.scores.statistics.set_statistics import SetStatistics

WEIGHTS = np.linspace(0, 1, 101)
"""Positions between two sizes of the baseline's training set at which the curve is read, on a logarithmic scale."""

Values = NDArray[np.float64]
Key = tuple[str, float]
"""An arm and the size of its training set."""
Curves = tuple[Values, Values, Values]
"""Mean lead between two sizes of the baseline, and the lower and upper ends of its intervals."""
Leads = Callable[[Key, Key, Key], Curves | None]
"""Function of an arm and of the baseline at two sizes; ``None`` without values."""


class ReadOff(NamedTuple):
    """A number of real subjects with its 95 % interval.

    0 stands for fewer than the smallest training set of the baseline, infinity for more than the whole pool, NaN for
    an unknown number.
    """

    patients: float
    low: float
    high: float


UNKNOWN = ReadOff(math.nan, math.nan, math.nan)


class Lead(NamedTuple):
    """The lead of an arm over the baseline's curve, in the score's better direction.

    Attributes:
        sizes: numbers of real subjects of the baseline, ascending.
        mean: mean lead at each of them.
        low: lower ends of the 95 % intervals; NaN for fewer than two subjects.
        high: upper ends.
        n_seeds: number of seeds.
    """

    sizes: Values
    mean: Values
    low: Values
    high: Values
    n_seeds: int


def patients_table(
    results: pd.DataFrame,
    reference: pd.DataFrame,
    *,
    baseline: str,
    metric: str,
    n_resamples: int = N_RESAMPLES,
) -> pd.DataFrame:
    """Return, for each arm and size, the number of real subjects with which the baseline reaches the arm's score.

    The curve of the baseline is straight between two sizes on a logarithmic scale. Between two sizes, seeds in which
    the arm or one of the baseline's two training runs collapsed are left out.

    Args:
        results: content of ``results.csv``.
        reference: content of ``reference.csv``: the baseline, trained on every subject of the pool.
        baseline: name of the baseline.
        metric: the score.
        n_resamples: number of bootstrap samples, for a score of a set.

    Returns:
        A row per arm × train_size, without the baseline: ``patients, patients_low, patients_high``, see
        :class:`ReadOff`; the ends of the curve, ``smallest, largest``; and ``n_seeds``, the smallest number of seeds
        between two sizes. It has no rows if the baseline was trained at one size only.
    """
    curve = baseline_curve(results, reference, baseline=baseline)
    of_arms = results[results["arm"] != baseline]
    if len(curve) < 2 or of_arms.empty:
        return pd.DataFrame()
    rows = pd.concat([of_arms, *(part.assign(train_size=size) for size, part in curve.items())], ignore_index=True)
    rows = without_collapsed(rows)
    rows = rows.assign(training=trainings(rows))
    seeds = {key: set(part["seed"]) for key, part in rows.groupby(["arm", "train_size"])}
    leads = _set_leads(rows, metric, n_resamples) if find_score(metric).level == "set" else _case_leads(rows, metric)
    table = []
    for arm, train_size in of_arms[["arm", "train_size"]].drop_duplicates().itertuples(index=False):
        found = []
        for ends in pairwise(curve):
            keys = ((arm, train_size), *((baseline, end) for end in ends))
            n_seeds = len(set.intersection(*(seeds.get(key, set()) for key in keys)))
            found.append(_lead(leads(*keys) if n_seeds else None, ends, n_seeds, find_score(metric)))
        table.append({"arm": arm, "train_size": train_size, "metric": metric} | _row(found))
    return pd.DataFrame(table)


def _row(leads: Sequence[Lead]) -> dict[str, float]:
    known = [lead for lead in leads if lead.n_seeds]
    found = read_off(known)
    return {
        **{"patients": found.patients, "patients_low": found.low, "patients_high": found.high},
        "smallest": known[0].sizes[0] if known else math.nan,
        "largest": known[-1].sizes[-1] if known else math.nan,
        "n_seeds": min(lead.n_seeds for lead in leads),
    }


def baseline_curve(results: pd.DataFrame, reference: pd.DataFrame, *, baseline: str) -> dict[float, pd.DataFrame]:
    """Return size → rows of the baseline, by size; the whole pool is the largest, in folds by its mean size."""
    whole = float(np.mean(reference["train_size"].unique()))
    of_baseline = results[results["arm"] == baseline]
    smaller = sorted(size for size in of_baseline["train_size"].unique() if size < whole)
    return {float(size): of_baseline[of_baseline["train_size"] == size] for size in smaller} | {whole: reference}


def _lead(lead: Curves | None, ends: tuple[float, float], n_seeds: int, info: Score[Any]) -> Lead:
    sizes = np.exp((1 - WEIGHTS) * np.log(ends[0]) + WEIGHTS * np.log(ends[1]))
    sizes[[0, -1]] = ends
    if lead is None:
        nothing = np.full(len(sizes), math.nan)
        return Lead(sizes, nothing, nothing, nothing, 0)
    mean, low, high = lead
    if info.higher_is_better is False:
        mean, low, high = -mean, -high, -low
    return Lead(sizes, mean, low, high, n_seeds)


def _case_leads(rows: pd.DataFrame, metric: str) -> Leads:
    """Return the function that gives the leads in a score with a value per case."""
    tables = {
        key: part.pivot_table(metric, "subject_id", ["training", "seed"])
        for key, part in rows.groupby(["arm", "train_size"])
    }

    def leads(ours: Key, few: Key, more: Key) -> Curves | None:
        arm, less, whole = aligned([tables[key] for key in (ours, few, more)])
        if arm.empty:
            return None
        gains, gaps = (table.T.groupby("training").mean().T.to_numpy() for table in (arm - less, whole - less))
        values = gains - WEIGHTS[:, None, None] * gaps
        if len(gains) < 2:
            unknown = np.full(len(WEIGHTS), math.nan)
            return np.nanmean(values, (-2, -1)), unknown, unknown
        found = components(values)
        return (found.mean, *limits(found))

    return leads


def _set_leads(rows: pd.DataFrame, metric: str, n_resamples: int) -> Leads:
    """Return the function that gives the leads in a score of a set."""
    arms = SetStatistics(rows, find_score(metric), baseline="", n_resamples=n_resamples)

    def leads(ours: Key, few: Key, more: Key) -> Curves | None:
        found = [arms.combined({ours: 1.0, few: weight - 1, more: -weight}) for weight in WEIGHTS]
        if math.isnan(found[0].mean):
            return None
        low, high = np.transpose([one.limits() for one in found])
        return np.array([one.mean for one in found]), low, high

    return leads


def read_off(leads: Sequence[Lead]) -> ReadOff:
    """Return the smallest number of real subjects at which an arm leads no more.

    The interval reaches from the smallest to the largest number at which the interval of the lead contains 0.

    Args:
        leads: leads between neighbouring sizes, in ascending order.
    """
    if not leads:
        return UNKNOWN
    sizes, mean, low, high = (np.concatenate([lead[index] for lead in leads]) for index in range(len(Lead._fields) - 1))
    patients = _first_reached(sizes, mean)
    if np.isnan(low).any():
        return ReadOff(patients, math.nan, math.nan)
    possible = sizes[(low <= TOUCHES) & (high >= -TOUCHES)]
    ends = [*possible, patients]
    least, most = min(ends), max(ends)
    return ReadOff(patients, 0.0 if least <= sizes[0] else least, math.inf if most >= sizes[-1] else most)


def _first_reached(sizes: Values, mean: Values) -> float:
    reached = np.flatnonzero(mean <= TOUCHES)
    if not reached.size:
        return math.inf
    first = int(reached[0])
    if first == 0:
        return float(sizes[0]) if mean[0] >= -TOUCHES else 0.0
    before, after = float(mean[first - 1]), min(float(mean[first]), 0.0)
    part = before / (before - after)
    logs = np.log(sizes[first - 1 : first + 1])
    return float(np.exp(logs[0] + part * (logs[1] - logs[0])))


def patients_text(row: Mapping[Any, Any]) -> str:
    """Return the number of real subjects of a row of :func:`patients_table` with its interval, as text."""
    names = ("patients", "patients_low", "patients_high")
    number, low, high = (_number(row[name], row["smallest"], row["largest"]) for name in names)
    return number if number == "–" else f"{number} [{low}, {high}]"


def _number(patients: float, smallest: float, largest: float) -> str:
    if math.isnan(patients):
        return "–"
    if patients == 0:
        return f"< {_amount(smallest, largest)}"
    if math.isinf(patients):
        return f"> {_amount(largest, largest)}"
    return _amount(patients, largest)


def _amount(patients: float, largest: float) -> str:
    """Return a number of subjects, or a share of the pool if the sizes are shares."""
    if largest <= 1:
        return f"{100 * patients:.3g} %"
    return f"{patients:.2g}" if patients < 10 else f"{patients:.0f}"
