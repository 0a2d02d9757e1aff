"""The rule by which a training collapsed: its network finds nothing, or nothing of one lesion class."""

from __future__ import annotations

from typing import Any

import pandas as pd

from lesionforge.scores.predictions.prediction_scores import PREDICTION_SCORES
from lesionforge.scores.registry import find_score, scores_in
from lesionforge.scores.score import Score
from lesionforge.scores.statistics.arm_statistics import value_of

COLLAPSED_BELOW = 0.01
"""Mean score of the cases with lesions, 0 to 1, below which a training run counts as collapsed."""


def shows_collapse(results: pd.DataFrame) -> Score[Any] | None:
    """Return the score that is 0 if a network finds nothing: one of cases with lesions, if the results have one.

    There is none if the results have no case with a lesion.
    """
    scores = [find_score(name) for name in scores_in(results) if results.get(name, pd.Series()).notna().any()]
    shares = [score for score in scores if score.better == "higher" and score.range == (0.0, 1.0)]
    of_lesions = [score for score in shares if score.of_cases == "with_lesions"]
    of_all = [score for score in shares if score.without_lesion_free and score.without_lesion_free not in results]
    return next(iter([*of_lesions, *of_all]), None)


def found_nothing(rows: pd.DataFrame, shown_by: str | None = None) -> bool:
    """Return whether the network of one training run finds nothing in the cases of ``rows``, which have its scores.

    Args:
        rows: a row per case, with ``subject_id``.
        shown_by: column with the score that is 0 if nothing is found; by default that of :func:`shows_collapse`.
    """
    if shown_by is None:
        score = shows_collapse(rows)
        if score is None:
            return False
        shown_by = score.name
    return value_of(rows, shown_by) < COLLAPSED_BELOW


def missed_classes(rows: pd.DataFrame) -> list[str]:
    """Return the lesion classes of which the network of one training run finds nothing.

    Args:
        rows: a row per case, with ``subject_id`` and the scores of each class; classes that no case has are left out.
    """
    per_class = [s.name for s in PREDICTION_SCORES.values() if s.per_class and s.range == (0.0, 1.0)]
    columns = {name: [c for c in map(str, rows) if c.startswith(f"{name}_")] for name in per_class}
    shown_by = next((name for name in per_class if columns[name]), "")
    return [
        column.removeprefix(f"{shown_by}_")
        for column in columns.get(shown_by, [])
        if rows[column].notna().any() and value_of(rows, column) < COLLAPSED_BELOW
    ]
