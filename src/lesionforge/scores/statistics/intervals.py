"""Confidence intervals and tests of a mean over few subjects and few training runs.

A value belongs to a subject and a training run: ``x = mean + subject + training + residual``. Subjects and training
runs are crossed random factors, because every training run is tested on every subject. So the mean has two variance
components, each with its own limits. The limits are combined by the method of variance estimates recovery (Zou & Donner
2008, doi:10.1002/sim.3095): the squares of their distances to the mean are added.

- Subjects: the union of Student's t interval and the interval by Hall's transformation for skewed values (Hall 1992,
  doi:10.1111/j.2517-6161.1992.tb01872.x). The t interval alone misses the true mean of exponential values in 11 %
  instead of 5 % of the samples of six.
- Training runs: Student's t interval, for the whole variance between training runs. The residual explains a part of
  it, but few runs say too little about their variance to take that part away: equal arms would be called different in
  up to 12 % of the samples with two runs, and 8 % with three. A single training run is treated as fixed.
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
"""Small samples underestimate skewness; with this factor the error rate for exponential values stays within 5 %."""
SMALLEST_P = 1e-12
SIGNIFICANT = 0.05
MIN_SUBJECTS = 6
"""Minimum number of subjects for any claim; with fewer, an interval mostly reflects its assumptions."""

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Mean with its confidence interval, 95 % unless stated otherwise.

    Attributes:
        mean: mean over subjects; NaN if there are none.
        low: lower end; NaN if there are fewer than two subjects.
        high: upper end; NaN if there are fewer than two subjects.
        n: number of subjects.
    """

    mean: float
    low: float
    high: float
    n: int


class Estimate(Protocol):
    """Interface of an estimated mean or difference."""

    def interval(self) -> Interval:
        """Return the estimate with its 95 % confidence interval."""

    def p_value(self) -> float:
        """Return the two-sided p-value of the hypothesis that the true value is 0; NaN for fewer than two subjects."""

    def detectable(self, *, comparisons: int = 1) -> float:
        """Return the smallest true value detectable with 80 % power at p < 0.05 after Holm's correction."""


@dataclass(frozen=True)
class MeanOverSubjects:
    """Mean of a value that every subject has.

    Attributes:
        values: ``(subject, training)``; NaN is left out.
    """

    values: Values

    def interval(self) -> Interval:
        """Return the mean with its 95 % confidence interval; see :func:`mean_interval`."""
        return mean_interval(self.values)

    def p_value(self) -> float:
        """Return the two-sided p-value of a true mean of 0; see :func:`p_value`."""
        return p_value(self.values)

    def detectable(self, *, comparisons: int = 1) -> float:
        """Return the smallest detectable true mean; see :func:`detectable`."""
        return detectable(self.values, comparisons=comparisons)


@dataclass(frozen=True, kw_only=True)
class Components:
    """Variance components of a mean; every array has the leading axes of the values.

    Attributes:
        mean: mean over subjects of their means over training runs.
        of_subjects: variance of the mean due to the choice of subjects, including the residual.
        of_trainings: variance of the mean due to the choice of training runs, including the residual; 0 for one run.
        rest: variance of the mean due to the residual, which is a part of both; 0 for a single training run.
        skewness: skewness of the subjects' means, adjusted for the sample size (Joanes & Gill 1998, G₁).
        n: number of subjects.
        k: number of training runs.
    """

    mean: Values
    of_subjects: Values
    of_trainings: Values
    rest: Values
    skewness: Values
    n: int
    k: int


def components(values: Values) -> Components:
    """Return the variance components of a mean.

    Args:
        values: ``(..., subject, training)`` with at least two subjects; NaN for a missing value. Every subject and
            every training run needs at least one value.
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
        of_trainings=between,
        rest=rest,
        skewness=skewness * (math.sqrt(n * (n - 1)) / (n - 2) if n > 2 else 0.0),
        n=n,
        k=k,
    )


def limits(parts: Components, *, confidence: float = CONFIDENCE) -> tuple[Values, Values]:
    """Return the lower and upper ends of the confidence intervals of the means."""
    below, above = _subject_distances(parts, confidence)
    trainings = t_quantile((1 + confidence) / 2, parts.k) ** 2 * parts.of_trainings
    return parts.mean - np.sqrt(below**2 + trainings), parts.mean + np.sqrt(above**2 + trainings)


def _subject_distances(parts: Components, confidence: float) -> tuple[Values, Values]:
    """Return the distances of the subjects' lower and upper limits from the mean, both 0 or more."""
    t = t_quantile((1 + confidence) / 2, parts.n)
    skew = SKEWNESS_FACTOR * parts.skewness / math.sqrt(parts.n)
    error = np.sqrt(parts.of_subjects)
    return error * np.maximum(t, _untransformed(t, skew)), error * np.maximum(t, -_untransformed(-t, skew))


def _untransformed(y: float, skew: Values) -> Values:
    """Return the t that Hall's transformation ``t + skew t²/3 + skew² t³/27 + skew/6`` maps to ``y``."""
    small = np.abs(skew) < 1e-6
    safe = np.where(small, 1.0, skew)
    return np.where(small, y, 3 / safe * (np.cbrt(1 + safe * (y - safe / 6)) - 1))


def t_quantile(probability: float, n: int) -> float:
    """Return a quantile of Student's t for a mean of ``n`` values; 0 for a single value, which is treated as fixed."""
    return float(stats.t.ppf(probability, n - 1)) if n > 1 else 0.0


def mean_interval(values: ArrayLike, *, confidence: float = CONFIDENCE) -> Interval:
    """Return the mean over subjects with its confidence interval.

    Args:
        values: ``(subject,)`` or ``(subject, training)``; NaN is left out.
        confidence: confidence level of the interval.
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

    This is not the mean of the subjects' ratios: subjects with large denominators have more weight.

    Args:
        numerators: ``(subject,)`` or ``(subject, training)``, without NaN.
        denominators: values in the same shape and order; their mean must not be 0.
    """
    above, below = (np.asarray(values, np.float64) for values in (numerators, denominators))
    return mean_interval(linearised_ratio(above, below) if above.size else above)


def linearised_ratio(numerators: Values, denominators: Values) -> Values:
    """Return values whose mean is the ratio of two means, and whose spread is that of the ratio (the delta method).

    Args:
        numerators: values of any shape.
        denominators: values in the same shape and order; their mean must not be 0.
    """
    ratio = numerators.mean() / denominators.mean()
    return np.asarray(ratio + (numerators - ratio * denominators) / denominators.mean())


def p_value(values: ArrayLike) -> float:
    """Return the two-sided p-value of a true mean of 0; the interval with confidence 1 − p just reaches 0.

    It is NaN for fewer than two subjects and at least 10⁻¹².
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
    """Return the p at which an interval with confidence 1 − p just reaches 0.

    Args:
        distance: function of log p that returns the distance of the interval from 0, negative if it contains 0.
        least: smallest p to return.
    """
    first, last = math.log(least), math.log1p(-1e-9)
    if distance(first) >= 0:
        return least
    return math.exp(optimize.brentq(distance, first, last)) if distance(last) > 0 else 1.0


def detectable(values: ArrayLike, *, comparisons: int = 1) -> float:
    """Return the smallest true mean detectable with 80 % power at p < 0.05, in a study with the same variance.

    Args:
        values: ``(subject,)`` or ``(subject, training)``; NaN is left out.
        comparisons: number of comparisons in Holm's correction; the power is that of the least favourable one.

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
    """Return ``(subject, training)`` values without the subjects and training runs that have none."""
    table = np.asarray(values, np.float64)
    table = table[:, None] if table.ndim == 1 else table
    there = ~np.isnan(table)
    return table[there.any(1)][:, there.any(0)]
