"""Scores of healed scans. To add one, write a function of a :class:`HealedCase` and add a line to the dictionary."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lesionforge.cohort.scan import Scan
from lesionforge.scores.healed_scans.healed_case import HealedCase, Values, true_lesion
from lesionforge.scores.healed_scans.healthiness import healthiness, positive
from lesionforge.scores.predictions.overlap import dice
from lesionforge.scores.score import Score, Scores, by_name
from lesionforge.scores.statistics.intervals import Interval, ratio_interval


def f_pre_dice(found: NDArray[np.generic], scan: Scan) -> float:
    """Return the Dice of a predicted lesion with the true one, 0 to 1; NaN without a true lesion."""
    lesion = true_lesion(scan)
    return dice(positive(found), lesion) if lesion.any() else math.nan


def mean_of_known(values: Sequence[Values]) -> float:
    """Return the mean over channels and slices, ignoring NaN; NaN if there are no values."""
    flat = np.concatenate(values) if values else np.array([])
    known = flat[~np.isnan(flat)]
    return float(known.mean()) if known.size else math.nan


def _map_dice(case: HealedCase) -> float:
    return math.nan if case.own_map is None else f_pre_dice(case.own_map, case.slices.scan)


def _healthiness(rows: pd.DataFrame) -> float:
    counts = _counts(rows).groupby("subject_id").mean()
    return healthiness(counts["found"].to_numpy(), counts["true"].to_numpy()) if len(counts) else math.nan


def _healthiness_interval(rows: pd.DataFrame) -> Interval:
    counts = _counts(rows).unstack("seed").dropna()
    left = ratio_interval(counts["found"], counts["true"])
    return Interval(mean=1 - left.mean, low=1 - left.high, high=1 - left.low, n=left.n)


def _counts(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the found and true voxels per (subject_id, seed), summed over cases, where there are true ones."""
    counts = rows.groupby(["subject_id", "seed"])[["found", "true"]].sum()
    return counts[counts["true"] > 0]


HEALED_SCORES: Scores = by_name(
    Score(
        name="identity_beside",
        title="Identity beside the lesion",
        unit="points",
        better="higher",
        level="case",
        description="MS-SSIM with 3 scales over windows that show the head and no part of the lesion",
        function=lambda case: mean_of_known([channel.beside for channel in case.identity]),
    ),
    Score(
        name="identity",
        title="Identity",
        unit="points",
        better="higher",
        level="case",
        description="masked MS-SSIM with 5 scales, as published; rises with the size of the lesion",
        function=lambda case: mean_of_known([channel.masked for channel in case.identity]),
    ),
    Score(
        name="identity_4",
        title="Identity, 4 scales",
        unit="points",
        better="higher",
        level="case",
        description="masked MS-SSIM with 4 scales",
        function=lambda case: mean_of_known([channel.masked_4 for channel in case.identity]),
    ),
    Score(
        name="healthiness",
        title="Healthiness",
        unit="points",
        better="higher",
        level="set",
        range=(-math.inf, 1),
        description="1 − lesion voxels that a segmentation network still finds / true lesion voxels",
        function=_healthiness,
        made_of=("seed", "found", "true"),
        interval=_healthiness_interval,
    ),
    Score(
        name="change_outside",
        title="Change outside the lesion",
        unit="points",
        better="lower",
        level="case",
        description="mean absolute difference in the head outside the lesion, share of the intensity range",
        function=lambda case: mean_of_known(case.changes(case.slices.pathological)),
    ),
    Score(
        name="change_lesion_free",
        title="Change of lesion-free slices",
        unit="points",
        better="lower",
        level="case",
        description="mean absolute difference in the head in lesion-free slices, share of the intensity range",
        function=lambda case: mean_of_known(case.changes(case.slices.lesion_free)),
    ),
    Score(
        name="displacement_mm",
        title="Displacement",
        unit="mm",
        better="lower",
        level="case",
        range=(0, math.inf),
        description="distance between the true lesion and the one that the reconstruction draws, within a slice",
        function=lambda case: mean_of_known([case.displacements]),
    ),
    Score(
        name="map_dice",
        title="Dice of the lesion map",
        unit="points",
        better="higher",
        level="case",
        description="Dice of the lesion that the method itself finds with the true one, per case",
        function=_map_dice,
    ),
)
"""Scores of healed scans, see :mod:`lesionforge.scores.healed_scans.healed`."""
