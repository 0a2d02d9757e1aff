"""The rule by which a training collapsed: its network finds nothing."""

from __future__ import annotations

from typing import Any

import pandas as pd

from lesionforge.scores.registry import find_score, scores_in
from lesionforge.scores.score import Score
from lesionforge.scores.statistics.arm_statistics import value_of

COLLAPSED_BELOW = 0.01
"""Mean score of the cases with lesions, 0 to 1, below which a training run counts as collapsed."""


def shows_collapse(results: pd.DataFrame) -> Score[Any] | None:
    """Return the score that is 0 if a network finds nothing: one of cases with lesions, if the results have one."""
    scores = [find_score(name) for name in scores_in(results) if results.get(name, pd.Series()).notna().any()]
    shares = [score for score in scores if score.better == "higher" and score.range == (0.0, 1.0)]
    of_lesions = [score for score in shares if score.of_cases == "with_lesions"]
    return next(iter([*of_lesions, *(score for score in shares if score.without_lesion_free)]), None)


def found_nothing(rows: pd.DataFrame) -> bool:
    """Return whether the network of one training run finds nothing in the cases of ``rows``, which have its scores."""
    score = shows_collapse(rows)
    return score is not None and value_of(rows, score.name) < COLLAPSED_BELOW
