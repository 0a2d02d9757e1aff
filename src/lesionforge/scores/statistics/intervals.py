"""Intervals and tests of a mean over subjects and training seeds that hold for few of both.

A value belongs to a subject and a training: ``x = mean + subject + training + rest``. Subjects and trainings are random
draws, crossed, since every training is tested on every subject. So there are two variances of the mean, each with
limits of its own, put together by the method of variance estimates recovery (Zou & Donner 2008,
doi:10.1002/sim.3095): the squares of the distances to the mean are added.

- Of the subjects: the union of Student's t interval and the one by Hall's transformation for skewed values (Hall 1992,
  doi:10.1111/j.2517-6161.1992.tb01872.x). The t interval alone excludes the true mean of exponential values in 11 % of
  the samples of six, not in 5 %.
- Of the trainings: Student's t interval, as far as means of trainings differ by more than the rest explains. Where
  there is one training it is taken as given.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

CONFIDENCE, POWER = 0.95, 0.8
SKEWNESS_FACTOR = 1.5
"""Small samples show less skewness than there is; with this factor exponential differences stay within 5 %."""
SMALLEST_P = 1e-12

Values = NDArray[np.float64]


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


class Estimate(Protocol):
    """A mean or a difference, and what can be said about it."""

    def interval(self) -> Interval:
        """Return it with its 95 % interval."""

    def p_value(self) -> float:
        """Return the two-sided p of 0; NaN for fewer than two subjects."""

    def detectable(self, *, comparisons: int = 1) -> float:
        """Return the smallest true value that p < 0.05 would have shown with 80 % power, after Holm's correction."""


@dataclass(frozen=True)
class MeanOverSubjects:
    """The mean of a value that every subject has.

    Attributes:
        values: ``(subject, training)``; NaN is left out.
    """

    values: Values

    def interval(self) -> Interval:
        """Return :func:`mean_interval`."""
        return mean_interval(self.values)

    def p_value(self) -> float:
        """Return :func:`p_value`."""
        return p_value(self.values)

    def detectable(self, *, comparisons: int = 1) -> float:
        """Return :func:`detectable`."""
        return detectable(self.values, comparisons=comparisons)


@dataclass(frozen=True, kw_only=True)
class Components:
    """Where the variance of a mean comes from; every array has the leading axes of the values.

    Attributes:
        mean: over subjects, of each one's mean over trainings.
        of_subjects: variance of the mean by the choice of subjects, the rest included.
        of_trainings: variance of the mean by the choice of trainings; 0 for a single one.
        rest: variance of the mean by what neither explains, a part of ``of_subjects``; 0 for a single training.
        skewness: of the subjects, adjusted for the size of the sample (Joanes & Gill 1998, G₁).
        n: number of subjects.
        k: number of trainings.
    """

    mean: Values
    of_subjects: Values
    of_trainings: Values
    rest: Values
    skewness: Values
    n: int
    k: int


def components(values: Values) -> Components:
    """Take the variance of a mean apart.

    Args:
        values: ``(..., subject, training)``, two subjects at least; NaN where a value is missing, but not for all
            values of a subject or a training.
    """
    n, k = values.shape[-2:]
    subjects = np.nanmean(values, -1)
    mean = subjects.mean(-1)
    trainings = np.nanmean(values - subjects[..., None], -2)
    cells = np.isfinite(values).sum((-2, -1))
    degrees = cells - n - k + 1
    rests = np.square(values - subjects[..., None] - trainings[..., None, :])
    rest = np.where(degrees > 0, np.nansum(rests, (-2, -1)) / np.maximum(degrees, 1) / cells, 0.0)
    between = trainings.var(-1, ddof=1) / k if k > 1 else np.zeros_like(mean)
    spread = subjects.var(-1)
    moment = np.square(subjects - mean[..., None]) * (subjects - mean[..., None])
    flat = spread <= np.square(1e-9 * np.abs(subjects).max(-1))
    skewness = np.where(flat, 0.0, moment.mean(-1) / np.where(flat, 1.0, spread) ** 1.5)
    return Components(
        mean=mean,
        of_subjects=np.maximum(spread / (n - 1), rest),
        of_trainings=np.maximum(between - rest, 0),
        rest=rest,
        skewness=skewness * (math.sqrt(n * (n - 1)) / (n - 2) if n > 2 else 0.0),
        n=n,
        k=k,
    )


def limits(parts: Components, *, confidence: float = CONFIDENCE) -> tuple[Values, Values]:
    """Return the lower and the upper ends of the intervals of the means."""
    below, above = _subject_distances(parts, confidence)
    trainings = t_quantile((1 + confidence) / 2, parts.k) ** 2 * parts.of_trainings
    return parts.mean - np.sqrt(below**2 + trainings), parts.mean + np.sqrt(above**2 + trainings)


def _subject_distances(parts: Components, confidence: float) -> tuple[Values, Values]:
    """Return how far below and above the mean the limits by the choice of subjects lie, both 0 or more."""
    t = t_quantile((1 + confidence) / 2, parts.n)
    skew = SKEWNESS_FACTOR * parts.skewness / math.sqrt(parts.n)
    error = np.sqrt(parts.of_subjects)
    return error * np.maximum(t, _untransformed(t, skew)), error * np.maximum(t, -_untransformed(-t, skew))


def _untransformed(y: float, skew: Values) -> Values:
    """Return the t that Hall's transformation ``t + skew t²/3 + skew² t³/27 + skew/6`` takes to ``y``."""
    small = np.abs(skew) < 1e-6
    safe = np.where(small, 1.0, skew)
    return np.where(small, y, 3 / safe * (np.cbrt(1 + safe * (y - safe / 6)) - 1))


def t_quantile(probability: float, n: int) -> float:
    """Return a quantile of Student's t for a mean of ``n`` values; 0 for a single one, which is taken as given."""
    return float(stats.t.ppf(probability, n - 1)) if n > 1 else 0.0


def mean_interval(values: ArrayLike, *, confidence: float = CONFIDENCE) -> Interval:
    """Return the mean over subjects with its interval.

    Args:
        values: ``(subject,)`` or ``(subject, training)``; NaN is left out.
        confidence: of the interval.
    """
    table = _table(values)
    if len(table) < 2:
        mean = float(np.nanmean(table)) if table.size else math.nan
        return Interval(mean=mean, low=math.nan, high=math.nan, n=len(table))
    parts = components(table)
    low, high = limits(parts, confidence=confidence)
    return Interval(mean=float(parts.mean), low=float(low), high=float(high), n=parts.n)


def ratio_interval(numerators: ArrayLike, denominators: ArrayLike) -> Interval:
    """Return the ratio of the means of two values per subject with its interval, by linearisation (the delta method).

    It is not the mean of the subjects' ratios: subjects with large denominators count for more.

    Args:
        numerators: ``(subject,)`` or ``(subject, training)``, without NaN.
        denominators: likewise, in the same order; their mean is not 0.
    """
    above, below = (np.asarray(values, np.float64) for values in (numerators, denominators))
    if not above.size:
        return mean_interval(above)
    ratio = above.mean() / below.mean()
    return mean_interval(ratio + (above - ratio * below) / below.mean())


def p_value(values: ArrayLike) -> float:
    """Return the two-sided p of a mean of 0: the interval of confidence 1 − p just reaches it.

    NaN for fewer than two subjects; 10⁻¹² stands for all that is less.
    """
    table = _table(values)
    if len(table) < 2:
        return math.nan
    parts = components(table)

    def distance(log_p: float) -> float:
        low, high = limits(parts, confidence=-math.expm1(log_p))
        return float(low if parts.mean > 0 else -high)

    return 1.0 if parts.mean == 0 else smallest_p(distance)


def smallest_p(distance: Callable[[float], float], *, least: float = SMALLEST_P) -> float:
    """Return the p at which an interval of confidence 1 − p just reaches 0.

    Args:
        distance: from log p to how far the interval lies from 0, negative where it holds 0.
        least: stands for all that is less.
    """
    first, last = math.log(least), math.log1p(-1e-9)
    if distance(first) >= 0:
        return least
    return math.exp(optimize.brentq(distance, first, last)) if distance(last) > 0 else 1.0


def detectable(values: ArrayLike, *, comparisons: int = 1) -> float:
    """Return the smallest true mean that p < 0.05 would have shown with 80 % power, in a study of the same spread.

    Args:
        values: ``(subject,)`` or ``(subject, training)``; NaN is left out.
        comparisons: Holm's correction is over so many; the power is that of the least favourable one.

    Returns:
        0 or more; NaN for fewer than two subjects.
    """
    table = _table(values)
    if len(table) < 2:
        return math.nan
    parts, confidence = components(table), 1 - (1 - CONFIDENCE) / max(comparisons, 1)
    subjects = np.maximum(*_subject_distances(parts, confidence)) + t_quantile(POWER, parts.n) * np.sqrt(
        parts.of_subjects
    )
    factor = t_quantile((1 + confidence) / 2, parts.k) + t_quantile(POWER, parts.k)
    return float(np.sqrt(subjects**2 + factor**2 * parts.of_trainings))


def _table(values: ArrayLike) -> Values:
    """Return ``(subject, training)`` without the subjects and trainings that have no value."""
    table = np.asarray(values, np.float64)
    table = table[:, None] if table.ndim == 1 else table
    there = ~np.isnan(table)
    return table[there.any(1)][:, there.any(0)]
