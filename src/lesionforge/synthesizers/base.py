"""The base class of synthesizers: fitted models that draw lesions at given masks."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.scan import LabelArray
from lesionforge.errors import CohortError, ConfigError
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.training.fitted_model import FittedModel


class Synthesizer(FittedModel):
    """Base class of methods that draw a lesion into a sample.

    Attributes:
        needs_mask: whether the lesion is drawn at the given mask. Methods such as CarveMix, which bring their own
            label, set it to False. A method that ignores the mask and draws the whole image replaces the scan.
        finds_place: whether a method that brings its own label chooses a place for it, in the region of the sample.
        needs_lesion: whether what is drawn is made from lesions of the same scan, so that the scan must have some.
        copies_scan: whether a drawing is the scan itself, transformed as a whole, with its own lesions.
        draws_on_the_fly: whether the method can draw into the training items of a task, instead of copying whole scans.
        least_cases: number of training cases with a lesion that the method needs to draw.
    """

    needs_mask: ClassVar[bool] = True
    finds_place: ClassVar[bool] = False
    needs_lesion: ClassVar[bool] = False
    copies_scan: ClassVar[bool] = False
    draws_on_the_fly: ClassVar[bool] = True
    least_cases: ClassVar[int] = 1

    @classmethod
    def training_cases(cls, cohort: Cohort, channels: tuple[str, ...], options: Any) -> Cohort:
        """Return the cases with lesions."""
        return training_cohort(cohort, channels)

    @abstractmethod
    def synthesize(self, sample: Sample, mask: LabelArray, rng: np.random.Generator) -> Sample:
        """Return ``sample`` with a lesion where ``mask`` is not 0; its label is the union of old label and mask.

        Args:
            sample: sample in this synthesizer's model space.
            mask: ``(x, y[, z])`` lesion classes on the sample's grid.
            rng: source of all randomness.
        """

    def redraw_healthy(self, sample: Sample, hole: LabelArray, rng: np.random.Generator) -> Sample:
        """Return ``sample`` with something else drawn where :meth:`synthesize` would draw a lesion; its label stays.

        That is healthy tissue, or a mimic that is too faint for a lesion.

        Args:
            sample: sample in this synthesizer's model space.
            hole: ``(x, y[, z])``, not 0 where the lesion would be.
            rng: source of all randomness.

        Raises:
            ConfigError: unless the method :attr:`draws_negatives`.
        """
        raise without_negatives(self.method)

    @property
    def draws_negatives(self) -> bool:
        """Whether the method can draw healthy tissue, or mimics, into a hole."""
        return False

    @property
    def draws_whole_image(self) -> bool:
        """Whether :meth:`synthesize` changes the whole image, and not only around the mask."""
        return False

    @property
    def sees_lesions(self) -> bool:
        """Whether the method sees the scan within the mask, including any lesion already there."""
        return False

    def margin_mm(self) -> float:
        """Return how far beyond the mask the method may change a scan, in mm."""
        return 0.0


def without_negatives(method: str) -> ConfigError:
    """Return the error of negatives that a method cannot draw."""
    what = f"this {method} has not learnt to fill holes with healthy tissue, or a mimic"
    return ConfigError("`negatives`", what, "train pix2pix with condition=inpaint and healthy_holes=0.2, or mimics=1")


def training_cohort(
    cohort: Cohort, channels: tuple[str, ...], *, lesion_free: bool = False, incomplete: bool = False
) -> Cohort:
    """Return the cases that a synthesizer is fitted on: those with a lesion and every channel.

    Args:
        cohort: cohort to select from.
        channels: channels that every case must have.
        lesion_free: whether to include cases annotated as lesion-free.
        incomplete: whether to include cases that have one of the channels at least.

    Raises:
        CohortError: if no case has a lesion.
    """
    cases = cohort.having_any(channels) if incomplete else cohort.having(channels)
    if not len(cases.with_lesions()):
        raise CohortError(
            cohort.name,
            f"has no case with a lesion and the channels {', '.join(channels)}",
            "add cases with lesions, or name other channels",
        )
    return cases.annotated() if lesion_free else cases.with_lesions()
