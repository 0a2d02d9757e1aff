"""Registry of all scores. To add a score, write a function and add a line to the dictionary of its family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from lesionforge.errors import ConfigError
from lesionforge.scores.cohorts.fidelity import COHORT_SCORES
from lesionforge.scores.cohorts.mask_shapes import MASK_SCORES
from lesionforge.scores.detections.detection_scores import DETECTION_SCORES
from lesionforge.scores.drawn_images.quality import QUALITY_SCORES
from lesionforge.scores.healed_scans.healed_scores import HEALED_SCORES
from lesionforge.scores.predictions.prediction_scores import PREDICTION_SCORES
from lesionforge.scores.score import Score, Scores
from lesionforge.scores.statistics.arm_statistics import Metric

FAMILIES: Mapping[str, Scores] = {
    "predictions": PREDICTION_SCORES,
    "detections": DETECTION_SCORES,
    "healed scans": HEALED_SCORES,
    "drawn images": QUALITY_SCORES,
    "cohorts": COHORT_SCORES,
    "masks": MASK_SCORES,
}
TASK_SCORES: Scores = {**PREDICTION_SCORES, **DETECTION_SCORES}
"""The scores of what tasks predict, which are the columns of ``results.csv``, or are computed from its columns."""


def find_score(name: str) -> Score[Any]:
    """Return a score by name; a name such as ``dice_oedema`` selects the score of one lesion class.

    Raises:
        ConfigError: if there is no such score.
    """
    for family in FAMILIES.values():
        if name in family:
            return family[name]
    for score in PREDICTION_SCORES.values():
        if score.per_class and name.startswith(f"{score.name}_"):
            return score.of_class(name.removeprefix(f"{score.name}_"))
    raise ConfigError(name, "is not a score", f"choose from {', '.join(TASK_SCORES)}")


def is_score(column: str) -> bool:
    """Return whether a column of ``results.csv`` is a score of what a task predicts."""
    per_class = tuple(f"{name}_" for name, score in PREDICTION_SCORES.items() if score.per_class)
    return column in TASK_SCORES or column.startswith(per_class)


def scores_in(results: pd.DataFrame) -> list[str]:
    """Return the names of the scores of predictions in a table of results.

    Scores with their own column come first, then scores of a set whose input columns are present.
    """
    columns = list(map(str, results.columns))
    of_sets = [
        name
        for name, score in TASK_SCORES.items()
        if score.level == "set" and name not in columns and set(score.made_of) <= set(columns)
    ]
    return [*filter(is_score, columns), *of_sets]


def metric_in(results: pd.DataFrame, name: str) -> Metric:
    """Return the metric to pass to the statistics: the score, or, if a score of a set has a column, that column."""
    score = find_score(name)
    return name if score.level == "set" and name in results else score
