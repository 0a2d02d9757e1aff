"""The free-response receiver operating characteristic (FROC): sensitivity against false positives per patient."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lesionforge.scores.detections.detection_file import as_text
from lesionforge.scores.detections.hits import Hits

Values = NDArray[np.float64]

COLUMNS = ("n_lesions", "hit_confidences", "false_confidences")
"""Columns of a table with a row per case: the number of lesions, and the confidences of hits and of false detections,
separated by spaces."""
OPERATING_POINTS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives per patient whose sensitivities are averaged (LUNA16)."""


@dataclass(frozen=True)
class Froc:
    """FROC curves, one point for each confidence threshold, from the strictest to the one that keeps all detections.

    Each array is ``(threshold,)``; with several samples of the cases, all but the first are ``(sample, threshold)``.

    Attributes:
        thresholds: detections with at least this confidence count; the first point, without any detection, has ∞.
        sensitivity: share of lesions that are hit, 0 to 1; NaN without lesions.
        false_positives: false detections per patient, in all cases of subjects with a lesion; NaN without patients.
        false_positives_healthy: false detections per subject without a lesion; NaN if there is none.
    """

    thresholds: Values
    sensitivity: Values
    false_positives: Values
    false_positives_healthy: Values

    def sensitivity_at(self, false_positives: float) -> Values:
        """Return the largest sensitivity with at most this number of false positives per patient."""
        return self._at_limit(self.sensitivity, false_positives)

    def false_positives_at(self, sensitivity: float) -> Values:
        """Return the fewest false positives per patient with at least this sensitivity; NaN if it is not reached."""
        reached = np.where(self.sensitivity >= sensitivity, self.false_positives, np.inf).min(-1)
        return np.where(np.isfinite(reached), reached, np.nan)

    def in_healthy_at(self, false_positives: float) -> Values:
        """Return those per subject without a lesion, at the loosest threshold with this many per patient."""
        return self._at_limit(self.false_positives_healthy, false_positives)

    def mean_sensitivity(self) -> Values:
        """Return the mean of the sensitivities at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives per patient."""
        return np.asarray(np.mean([self.sensitivity_at(point) for point in OPERATING_POINTS], axis=0))

    def _at_limit(self, values: Values, false_positives: float) -> Values:
        """Return the values at the loosest threshold with at most this number per patient; NaN without patients."""
        last = np.maximum(np.count_nonzero(self.false_positives <= false_positives, axis=-1) - 1, 0)
        found = np.take_along_axis(values, last[..., None], -1)[..., 0]
        return np.where(np.isnan(self.false_positives[..., 0]), np.nan, found)


def row_of(hits: Hits) -> dict[str, int | str]:
    """Return the :data:`COLUMNS` of one case."""
    found = hits.of_lesions[np.isfinite(hits.of_lesions)]
    values = (len(hits.of_lesions), _text(found), _text(hits.false))
    return dict(zip(COLUMNS, values, strict=True))


def froc(table: pd.DataFrame, weights: Values | None = None) -> Froc:
    """Return the curve over all cases of a table, or the curves of several samples of them.

    Args:
        table: a row per case with ``subject_id`` and :data:`COLUMNS`.
        weights: ``(sample, case)`` how often each case is in each sample, as in a bootstrap over subjects: the same for
            all cases of a subject.
    """
    lesions = table["n_lesions"].to_numpy(np.float64)
    hits, false = (
        [_numbers_of(str(cell)) for cell in table[name]] for name in ("hit_confidences", "false_confidences")
    )
    thresholds = np.concatenate([[np.inf], np.unique(np.concatenate([np.empty(0), *hits, *false]))[::-1]])
    n_hits, n_false = (np.array([_at_least(of, thresholds) for of in cases]) for cases in (hits, false))
    count = np.ones(len(table)) if weights is None else weights
    by_subject = pd.Series(lesions).groupby(table["subject_id"].to_numpy())
    ill = by_subject.transform("sum").to_numpy() > 0
    per_case = 1 / by_subject.transform("size").to_numpy()
    with np.errstate(invalid="ignore"):
        patients, healthy = ((count * of) @ n_false / (count @ (of * per_case))[..., None] for of in (ill, ~ill))
        return Froc(
            thresholds=thresholds,
            sensitivity=count @ n_hits / (count @ lesions)[..., None],
            false_positives=patients,
            false_positives_healthy=healthy,
        )


def _at_least(values: Values, thresholds: Values) -> Values:
    """Return how many values are at least as large as each threshold."""
    return (len(values) - np.searchsorted(np.sort(values), thresholds, side="left")).astype(np.float64)


def _text(confidences: Values) -> str:
    return " ".join(map(as_text, sorted(confidences, reverse=True)))


@lru_cache(maxsize=4096)
def _numbers_of(text: str) -> Values:
    """Return the numbers of a cell: a text, a single number, or NaN for none; every score reads the same cells."""
    return np.array([float(value) for value in text.split() if value != "nan"], np.float64)
