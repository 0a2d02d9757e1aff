"""The scores of detections. All but the first three are read from the FROC curve over all cases."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lesionforge.scores.curve import Curve
from lesionforge.scores.detections.froc import COLUMNS, Froc, Values, froc
from lesionforge.scores.detections.hits import Hits
from lesionforge.scores.score import Score, Scores, by_name

FALSE_POSITIVES, SENSITIVITY = 10.0, 0.9
"""The operating points of the paper on microbleeds: false positives per patient, and sensitivity."""
SHOWN = np.linspace(0, 30, 61)
"""False positives per patient at which the curve is shown."""
HIT_RULE = (
    "A lesion is a connected component of the annotation (26 neighbours in 3D, 8 in 2D). A detection hits the nearest "
    "lesion if it lies in it, or at most {tolerance_mm:g} mm from the centre of one of its voxels. Each lesion is hit "
    "once: further detections of it are neither hits nor false positives."
)


@dataclass(frozen=True, kw_only=True)
class Detected:
    """What the detections of one case hit, and how many lesions were candidates at all.

    Attributes:
        hits: what all detections hit, whatever their confidence.
        n_detections: number of detections.
    """

    hits: Hits
    n_detections: int

    @property
    def found(self) -> float:
        """Share of the lesions that any detection hits; NaN without lesions."""
        of_lesions = self.hits.of_lesions
        return float(np.isfinite(of_lesions).mean()) if of_lesions.size else math.nan

    def sensitivity_at(self, false_positives: float) -> float:
        """Return the share of lesions that are hit with at most this number of false positives in the case itself.

        NaN without lesions.
        """
        if not self.hits.of_lesions.size:
            return math.nan
        false = np.sort(self.hits.false)[::-1]
        limit = false[int(false_positives)] if len(false) > false_positives else -math.inf
        return float((self.hits.of_lesions > limit).mean())


def _froc_score(read: Callable[[Froc], Values], **reading: Any) -> Score[pd.DataFrame]:
    """Return a score that is read from the FROC curve."""
    return Score(
        level="set",
        function=lambda rows: float(read(froc(rows))),
        weighted=lambda rows, weights: read(froc(rows, weights)),
        made_of=COLUMNS,
        **reading,
    )


DETECTION_SCORES: Scores = by_name(
    Score(
        name="case_sensitivity",
        title="Sensitivity within each case",
        unit="points",
        better="higher",
        level="case",
        of_cases="with_lesions",
        description="share of a case's lesions that are hit with at most 10 false positives in this case",
        function=lambda case: case.sensitivity_at(FALSE_POSITIVES),
    ),
    Score(
        name="candidate_sensitivity",
        title="Lesions among the candidates",
        unit="points",
        better="higher",
        level="case",
        of_cases="with_lesions",
        description="share of a case's lesions that any candidate hits; the limit of what the network can find",
        function=lambda case: case.found,
    ),
    Score(
        name="candidates",
        title="Candidates",
        unit="per case",
        better="neither",
        level="case",
        range=(0, math.inf),
        description="number of candidates, hits and false ones together",
        function=lambda case: float(case.n_detections),
    ),
    _froc_score(
        lambda curve: curve.sensitivity_at(FALSE_POSITIVES),
        name="froc_sensitivity",
        title="Sensitivity at 10 false positives",
        unit="points",
        better="higher",
        description="share of all lesions that are hit, at the threshold with 10 false positives per patient",
    ),
    _froc_score(
        lambda curve: curve.mean_sensitivity(),
        name="froc_mean_sensitivity",
        title="Mean sensitivity of the FROC curve",
        unit="points",
        better="higher",
        description="mean of the sensitivities at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives per patient",
    ),
    _froc_score(
        lambda curve: curve.false_positives_at(SENSITIVITY),
        name="froc_false_positives",
        title="False positives at 90 % sensitivity",
        unit="per patient",
        better="lower",
        range=(0, math.inf),
        description="false positives per patient at the threshold that hits 90 % of all lesions; no value if none does",
    ),
    _froc_score(
        lambda curve: curve.in_healthy_at(FALSE_POSITIVES),
        name="froc_false_positives_healthy",
        title="False positives in subjects without lesions",
        unit="per subject",
        better="lower",
        range=(0, math.inf),
        description="false positives per subject without a lesion, at the threshold with 10 per patient",
    ),
)
"""Scores of detections, in the order of the tables."""


def _sensitivities(rows: pd.DataFrame, weights: Values) -> Values:
    curves = froc(rows, weights)
    return 100 * np.stack([curves.sensitivity_at(point) for point in SHOWN], axis=-1)


FROC_CURVE = Curve(
    name="froc",
    title="FROC",
    x_label="false positives per patient",
    y_label="sensitivity (%)",
    x=SHOWN,
    function=_sensitivities,
    made_of=COLUMNS,
    range=(0.0, 100.0),
)
