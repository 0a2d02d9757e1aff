"""The free-response receiver operating characteristic (FROC): sensitivity against false positives per patient."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lesionforge.scores.detections.hits import Hits

COLUMNS = ("n_lesions", "hit_confidences", "false_confidences")
"""Columns of a table with a row per case: the number of lesions, and the confidences of hits and of false detections,
separated by spaces."""
OPERATING_POINTS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives per patient whose sensitivities are averaged (LUNA16)."""


@dataclass(frozen=True)
class Froc:
    """A FROC curve, one point for each confidence threshold, from the strictest to the one that keeps all detections.

    Attributes:
        thresholds: detections with at least this confidence count; the first point, without any detection, has ∞.
        sensitivity: share of lesions that are hit, 0 to 1.
        false_positives: false detections per case with a lesion; a patient, if each has one case.
        false_positives_healthy: false detections per lesion-free case; NaN if there is none.
    """

    thresholds: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    false_positives: NDArray[np.float64]
    false_positives_healthy: NDArray[np.float64]

    def sensitivity_at(self, false_positives: float) -> float:
        """Return the largest sensitivity with at most this number of false positives per patient."""
        return float(self.sensitivity[self.false_positives <= false_positives].max())

    def false_positives_at(self, sensitivity: float) -> float:
        """Return the fewest false positives per patient with at least this sensitivity; NaN if it is not reached."""
        reached = self.false_positives[self.sensitivity >= sensitivity]
        return float(reached.min()) if reached.size else math.nan

    def mean_sensitivity(self) -> float:
        """Return the mean of the sensitivities at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives per patient."""
        return float(np.mean([self.sensitivity_at(point) for point in OPERATING_POINTS]))


def row_of(hits: Hits) -> dict[str, int | str]:
    """Return the :data:`COLUMNS` of one case."""
    found = hits.of_lesions[np.isfinite(hits.of_lesions)]
    values = (len(hits.of_lesions), _text(found), _text(hits.false))
    return dict(zip(COLUMNS, values, strict=True))


def froc(table: pd.DataFrame) -> Froc:
    """Return the curve over all cases of a table.

    Args:
        table: a row per case with :data:`COLUMNS`.

    Raises:
        ValueError: if no case has a lesion.
    """
    lesions = table["n_lesions"].to_numpy(int)
    ill = lesions > 0
    if not ill.any():
        raise ValueError("no case has a lesion, so there is no sensitivity")
    hits = _numbers(table["hit_confidences"])
    false, false_healthy = (_numbers(table.loc[which, "false_confidences"]) for which in (ill, ~ill))
    thresholds = np.unique(np.concatenate([hits, false, false_healthy]))[::-1]
    thresholds = np.concatenate([[np.inf], thresholds])
    healthy = np.count_nonzero(~ill)
    return Froc(
        thresholds=thresholds,
        sensitivity=_at_least(hits, thresholds) / lesions.sum(),
        false_positives=_at_least(false, thresholds) / np.count_nonzero(ill),
        false_positives_healthy=_at_least(false_healthy, thresholds) / healthy if healthy else thresholds * np.nan,
    )


def _at_least(values: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how many values are at least as large as each threshold."""
    return (len(values) - np.searchsorted(np.sort(values), thresholds, side="left")).astype(np.float64)


def _text(confidences: NDArray[np.float64]) -> str:
    return " ".join(f"{value:.6g}" for value in sorted(confidences, reverse=True))


def _numbers(cells: Iterable[object]) -> NDArray[np.float64]:
    """Return the numbers of all cells; a cell is a text, a single number, or NaN for none."""
    return np.concatenate([np.empty(0), *(_numbers_of(str(cell)) for cell in cells)])


@lru_cache(maxsize=4096)
def _numbers_of(text: str) -> NDArray[np.float64]:
    """Return the numbers of a text; a bootstrap reads the same cells thousands of times."""
    return np.array([float(value) for value in text.split() if value != "nan"], np.float64)
