"""What a synthesizer is: a fitted model that draws where a mask says."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.scan import LabelArray
from lesionforge.errors import CohortError
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.training.fitted_model import FittedModel


class Synthesizer(FittedModel):
    """Draws a lesion into a sample where a mask says.

    Attributes:
        needs_mask: whether it draws where the mask says; one that brings its own label (CarveMix) does not. If it
            draws the whole image, too, it replaces the scan altogether.
        draws_on_the_fly: whether it can draw into the items that a task trains on, rather than copy whole scans.
    """

    needs_mask: ClassVar[bool] = True
    draws_on_the_fly: ClassVar[bool] = True

    @classmethod
    def training_cases(cls, cohort: Cohort, channels: tuple[str, ...], options: Any) -> Cohort:
        """Return the cases with lesions."""
        return training_cohort(cohort, channels)

    @abstractmethod
    def synthesize(self, sample: Sample, mask: LabelArray, rng: np.random.Generator) -> Sample:
        """Return ``sample`` with a lesion where ``mask`` is not 0; its label is the union of old and new.

        Args:
            sample: in this synthesizer's model space.
            mask: ``(x, y[, z])`` lesion classes on the sample's grid.
            rng: all randomness comes from it.
        """

    @property
    def draws_whole_image(self) -> bool:
        """Whether :meth:`synthesize` changes the image everywhere, rather than around the mask alone."""
        return False

    @property
    def sees_lesions(self) -> bool:
        """Whether it is shown the scan within the mask, and so the very lesion if one is there already."""
        return False

    def margin_mm(self) -> float:
        """Return how far beyond the mask the method may change a scan, in mm."""
        return 0.0


def training_cohort(cohort: Cohort, channels: tuple[str, ...], *, lesion_free: bool = False) -> Cohort:
    """Return the cases that a synthesizer is fitted on: those with a lesion and every channel.

    Args:
        cohort: where they are taken from.
        channels: what they must have.
        lesion_free: take those annotated as lesion-free as well.

    Raises:
        CohortError: if none has a lesion.
    """
    cases = cohort.having(channels)
    if not len(cases.with_lesions()):
        raise CohortError(cohort.name, f"has no case with a lesion and the channels {', '.join(channels)}", "check it")
    return cases.annotated() if lesion_free else cases.with_lesions()
