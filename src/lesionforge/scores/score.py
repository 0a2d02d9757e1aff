"""The ``Score`` class: name, unit, direction, level and function of a score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lesionforge.scores.statistics.intervals import Interval

Of = TypeVar("Of")
Better = Literal["higher", "lower", "as real", "neither"]
Level = Literal["case", "image", "cohort", "set"]


@dataclass(frozen=True, kw_only=True)
class Score(Generic[Of]):
    """A score that can be called like the function that computes it.

    The argument of the function depends on the level:

    - ``"case"``: one case, such as :class:`~lesionforge.scores.predictions.prediction.Prediction`.
    - ``"image"``: one image, or a case; the score is then the mean over its images.
    - ``"cohort"``: a drawn and a real cohort. The function returns two numbers, one for drawn and one for real cases,
      or ``None`` if these cohorts do not have the score; see :mod:`lesionforge.scores.cohorts.fidelity`.
    - ``"set"``: the rows of a set of cases. The score exists only for the whole set, such as a ratio of sums or a
      sensitivity read from a curve.

    Attributes:
        name: name of its column or row.
        title: name in tables and figures.
        unit: unit of the displayed value; ``"points"`` are hundredths of a score between 0 and 1.
        better: which values are better; ``"as real"`` if values close to those of real images are best.
        level: what the score is computed for.
        range: smallest and largest possible value, in the units of the tables.
        description: what it measures, in one line.
        function: computes the score; returns NaN if it is undefined.
        per_class: whether the score is also computed for each lesion class alone, as ``NAME_CLASS``, in the cases
            that have it.
        of_cases: cases that have the score: ``"with_lesions"`` and ``"lesion_free"`` leave out the others.
        without_lesion_free: name of the same score without the lesion-free cases, if there is one.
        spatial_dims: dimensions of the scans that have the score.
        made_of: scores of a set only: columns that the function reads, in addition to ``subject_id``.
        weighted: scores of a set only: computes the score of many samples at once, from the rows and the ``(sample,
            row)`` number of times that each row is in each sample; a quicker way to the same numbers as ``function``.
        interval: scores of a set only: computes the mean and its interval from the rows of one arm; a bootstrap over
            subjects unless given, see :mod:`lesionforge.scores.statistics.resampling`.
    """

    name: str
    title: str
    unit: str
    better: Better
    level: Level
    description: str
    function: Callable[[Of], Any]
    range: tuple[float, float] = (0.0, 1.0)
    per_class: bool = False
    of_cases: Literal["all", "with_lesions", "lesion_free"] = "all"
    without_lesion_free: str = ""
    spatial_dims: tuple[int, ...] = (2, 3)
    made_of: tuple[str, ...] = ()
    weighted: Callable[[pd.DataFrame, NDArray[np.float64]], NDArray[np.float64]] | None = None
    interval: Callable[[pd.DataFrame], Interval] | None = None

    def __call__(self, of: Of) -> Any:
        """Return the score of a case, an image, a pair of cohorts, or the rows of a set."""
        return self.function(of)

    @property
    def factor(self) -> float:
        """Factor that converts a value of a table to :attr:`unit`."""
        return 100.0 if self.unit == "points" else 1.0

    @property
    def higher_is_better(self) -> bool | None:
        """Whether higher values are better; ``None`` if neither direction is, as for a signed difference."""
        return {"higher": True, "lower": False}.get(self.better)

    def of_class(self, lesion_class: str) -> Score[Of]:
        """Return this score for one lesion class alone."""
        return replace(
            self,
            name=f"{self.name}_{lesion_class}",
            without_lesion_free="",
            title=f"{self.title} of {lesion_class}",
            description=f"{self.description}; {lesion_class} alone, in cases that have it",
        )


Scores = Mapping[str, Score[Any]]


def by_name(*scores: Score[Of]) -> Mapping[str, Score[Of]]:
    """Return a read-only dictionary of scores by name, in the given order."""
    return MappingProxyType({score.name: score for score in scores})
