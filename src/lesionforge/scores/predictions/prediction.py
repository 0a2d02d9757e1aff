"""A predicted and a true label map, from which the scores of a case are computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lesionforge.cohort.scan import BoolArray, LabelArray
from lesionforge.scores.predictions.lesionwise import LesionWise, lesion_wise
from lesionforge.scores.predictions.overlap import dice


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Predicted and true label map of a case.

    Attributes:
        found: ``(x, y[, z])`` predicted lesion classes.
        truth: ``(x, y[, z])`` true lesion classes.
        spacing: mm along each axis.
        in_plane: whether HD95 is measured within slices.
    """

    found: LabelArray
    truth: LabelArray
    spacing: Sequence[float]
    in_plane: bool = False

    @cached_property
    def predicted(self) -> BoolArray:
        """``(x, y[, z])`` mask of predicted lesions of any class."""
        return np.asarray(self.found > 0)

    @cached_property
    def true(self) -> BoolArray:
        """``(x, y[, z])`` mask of true lesions of any class."""
        return np.asarray(self.truth > 0)

    @cached_property
    def has_lesion(self) -> bool:
        """Whether the case has a true lesion."""
        return bool(self.true.any())

    @cached_property
    def dice(self) -> float:
        """Dice of all lesion classes together."""
        return dice(self.predicted, self.true)

    @cached_property
    def lesions(self) -> LesionWise:
        """Lesion-wise counts of all lesion classes together."""
        return lesion_wise(self.predicted, self.true)

    def of_class(self, value: int) -> Prediction:
        """Return the prediction of one lesion class alone, with class value 1."""
        found, truth = ((label == value).astype(np.int16) for label in (self.found, self.truth))
        return Prediction(found=found, truth=truth, spacing=self.spacing, in_plane=self.in_plane)
