"""What a score is: its name, how it is read, what it belongs to, and the function that computes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Generic, Literal, TypeVar

import pandas as pd

from lesionforge.scores.statistics.intervals import Interval

Of = TypeVar("Of")
Better = Literal["higher", "lower", "as real", "neither"]
Level = Literal["case", "image", "cohort", "set"]


@dataclass(frozen=True, kw_only=True)
class Score(Generic[Of]):
    """A score, which is called like the function that computes it.

    What the function takes depends on the level:

    - ``"case"``: one case, such as :class:`~lesionforge.scores.predictions.prediction.Prediction`.
    - ``"image"``: one image, or a case of which it averages the images.
    - ``"cohort"``: a drawn and a real cohort. The function returns two numbers, of drawn and of real cases, or ``None``
      where these cohorts do not have the score, see :mod:`lesionforge.scores.cohorts.fidelity`.
    - ``"set"``: the rows of a set of cases. The score exists for all of them at once, such as a ratio of sums or a
      sensitivity that is read off a curve.

    Attributes:
        name: the name of its column, or of its row.
        title: its name in tables and figures.
        unit: the unit it is shown in; ``"points"`` are hundredths of a score between 0 and 1.
        better: which values are better; ``"as real"`` where those of real images are best.
        level: what it belongs to.
        range: its least and greatest value, in the units of the tables.
        description: what it measures, in one line.
        function: computes it; NaN where it has no value.
        per_class: whether it is also given for each lesion class alone, as ``NAME_CLASS``.
        spatial_dims: the dimensions of the scans that have it.
        made_of: of a set: the columns that the function reads, beside ``subject_id``.
        interval: of a set: its mean and interval from the rows of one arm; a bootstrap over subjects unless given, see
            :mod:`lesionforge.scores.statistics.resampling`.
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
    spatial_dims: tuple[int, ...] = (2, 3)
    made_of: tuple[str, ...] = ()
    interval: Callable[[pd.DataFrame], Interval] | None = None

    def __call__(self, of: Of) -> Any:
        """Return the score of a case, an image or the rows of a set, or the pair of two cohorts."""
        return self.function(of)

    @property
    def factor(self) -> float:
        """What a value of a table is multiplied with to be shown in :attr:`unit`."""
        return 100.0 if self.unit == "points" else 1.0

    @property
    def higher_is_better(self) -> bool | None:
        """``None`` where neither way is better, as for a signed difference."""
        return {"higher": True, "lower": False}.get(self.better)

    def of_class(self, lesion_class: str) -> Score[Of]:
        """Return the same score of one lesion class alone."""
        return replace(
            self,
            name=f"{self.name}_{lesion_class}",
            title=f"{self.title} of {lesion_class}",
            description=f"{self.description}; {lesion_class} alone",
        )


Scores = Mapping[str, Score[Any]]


def by_name(*scores: Score[Of]) -> Mapping[str, Score[Of]]:
    """Return scores by their names, in the order given."""
    return MappingProxyType({score.name: score for score in scores})
