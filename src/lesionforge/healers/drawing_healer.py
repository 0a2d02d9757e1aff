"""The base class of healers that also draw lesions, with a network that is shown an image and a mask."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from lesionforge.cohort.scan import FloatArray, LabelArray
from lesionforge.healers.base import Healer
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.synthesizers.base import Synthesizer
from lesionforge.synthesizers.translation.conditions import one_hot


class DrawingHealer(Healer, Synthesizer):
    """Base class of healers that also draw lesions.

    Attributes:
        drawer: name of the network that draws lesions into an image at a mask.
    """

    drawer: ClassVar[str]

    def synthesize(self, sample: Sample, mask: LabelArray, rng: np.random.Generator) -> Sample:
        """Return the sample with a lesion drawn at the mask; see :meth:`Synthesizer.synthesize`.

        The network has no randomness. Slices outside the mask stay unchanged.
        """
        return sample.with_lesion(self.drawn(self.drawer, sample.image, mask), mask)

    def drawn(self, name: str, image: FloatArray, mask: LabelArray) -> FloatArray:
        """Return the image that a network draws from an image and a mask; slices outside the mask stay unchanged.

        Args:
            name: name of the network.
            image: ``(channel, x, y[, z])`` in the model's range.
            mask: ``(x, y[, z])`` lesion classes.
        """
        image = image.copy()
        place: Any = ...
        if mask.ndim > self.config.spatial_dims:
            place = (..., np.flatnonzero(mask.any(axis=(0, 1))))
        if mask.any():
            lesion = one_hot(mask[place], self.info.classes)
            inputs = np.concatenate([self.as_unit(image[place]), lesion])
            image[place] = self.from_unit(self.apply(name, inputs))
        return image

    @property
    def draws_whole_image(self) -> bool:
        """Always true: the network draws the whole image."""
        return True

    @property
    def sees_lesions(self) -> bool:
        """Always true: the network sees the scan within the mask."""
        return True

    def margin_mm(self) -> float:
        """Return how far beyond the mask the drawn lesion is blended into the scan, in mm."""
        return self.config.margin_mm
