"""The threshold above which a case is called a copy, from held-out real scans alone.

Comparisons differ in scale: two heads correlate more than two lesions. Each similarity is therefore expressed as an
excess: its distance from the median of the held-out cases, in units of the distance from the median to their 90th
percentile, after Fisher's z-transformation. A case counts with its largest excess over all comparisons, and the
threshold is a quantile of that over the held-out subjects. So the rate of false alarms holds for all comparisons
together. The quantile is that of conformal prediction (Vovk et al. 2005): a further held-out subject exceeds it with at
most the given probability. So that this holds, the scale of a held-out case comes from other subjects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lesionforge.cohort.scan import BoolArray

Values = NDArray[np.float64]
UPPER, FOLDS = 0.9, 10
NARROWEST = 0.01
LARGEST = 0.999
"""Similarities are cut here, where Fisher's z is 3.8: two small masks may be equal by chance."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The scale of each comparison, and the common threshold.

    Attributes:
        centre: ``(comparison,)`` median of the held-out cases, as Fisher's z.
        spread: ``(comparison,)`` distance from the median to the 90th percentile, as Fisher's z.
        limit: largest excess of a case that is not called a copy.
        rate: the rate of false alarms that so many held-out subjects can assure.
        subjects: number of held-out subjects.
    """

    centre: Values
    spread: Values
    limit: float
    rate: float
    subjects: int

    @classmethod
    def fit(cls, similarity: Values, subjects: Sequence[str], *, false_alarms: float) -> Self:
        """Fit the scales and the threshold.

        Args:
            similarity: ``(case, comparison)`` of held-out cases to their nearest training case; NaN without a view.
            subjects: subject of each case.
            false_alarms: wanted rate of subjects with a case above the threshold. Fewer than 1/rate − 1 subjects cannot
                assure it; the threshold is then their largest excess.
        """
        z, names = fisher(similarity), np.asarray(subjects)
        excess = np.full_like(z, np.nan)
        for own in _folds(names):
            centre, spread = _scale(z[~own])
            excess[own] = (z[own] - centre) / spread
        centre, spread = _scale(z)
        largest = by_subject(_largest(excess), subjects)
        n = len(largest)
        rank = ceil((1 - false_alarms) * (n + 1))
        return cls(
            centre=centre,
            spread=spread,
            limit=float(np.sort(largest)[min(rank, n) - 1]),
            rate=false_alarms if rank <= n else 1 / (n + 1),
            subjects=n,
        )

    def excess(self, similarity: Values) -> Values:
        """Return the excess of ``(case, comparison)`` similarities."""
        return np.asarray((fisher(similarity) - self.centre) / self.spread)

    def flagged(self, similarity: Values) -> BoolArray:
        """Return which ``(case, comparison)`` similarities are those of copies."""
        return np.asarray(self.excess(similarity) > self.limit)

    @property
    def thresholds(self) -> Values:
        """The threshold of each comparison as a similarity."""
        return np.asarray(np.tanh(self.centre + self.limit * self.spread))


def fisher(similarity: Values) -> Values:
    """Return Fisher's z-transformation of similarities."""
    return np.asarray(np.arctanh(np.clip(similarity, -LARGEST, LARGEST)))


def by_subject(values: Values, subjects: Sequence[str]) -> Values:
    """Return the largest value of each subject."""
    names, number = np.unique(np.asarray(subjects), return_inverse=True)
    largest = np.full(len(names), -np.inf)
    np.maximum.at(largest, number, values)
    return largest


def false_alarms(similarity: Values, subjects: Sequence[str], *, rate: float) -> float:
    """Return the share of held-out subjects called copies by a threshold that was fitted on the others.

    Args:
        similarity: as in :meth:`Calibration.fit`.
        subjects: subject of each case; at least three subjects.
        rate: wanted rate of false alarms.
    """
    names, alarms = np.asarray(subjects), list[float]()
    for own in _folds(names):
        calibration = Calibration.fit(similarity[~own], names[~own].tolist(), false_alarms=rate)
        largest = _largest(calibration.excess(similarity[own]))
        alarms += (by_subject(largest, names[own].tolist()) > calibration.limit).tolist()
    return float(np.mean(alarms))


def _folds(names: NDArray[np.str_]) -> list[BoolArray]:
    """Return which cases are in each of at most ten folds of the subjects."""
    _, number = np.unique(names, return_inverse=True)
    return [number % FOLDS == fold for fold in range(min(FOLDS, int(number.max()) + 1))]


def _scale(z: Values) -> tuple[Values, Values]:
    """Return the median of each comparison, and the distance from it to the 90th percentile."""
    centre = np.nanmedian(z, 0)
    return centre, np.maximum(np.nanquantile(z, UPPER, axis=0) - centre, NARROWEST)


def _largest(excess: Values) -> Values:
    """Return the largest excess of each case, −inf for a case without any view."""
    return np.asarray(np.where(np.isnan(excess), -np.inf, excess).max(1, initial=-np.inf))
