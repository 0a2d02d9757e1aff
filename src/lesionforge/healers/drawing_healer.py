"""The base class of healers that also draw lesions, with a network that is shown an image and a mask."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from lesionforge.cohort.scan import FloatArray, LabelArray
from lesionforge.healers.base import Healer
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.synthesizers.base import Synthesizer
from lesionforge.synthesizers.translation.conditions import one_hot
from lesionforge.training.inference import in_windows


class DrawingHealer(Healer, Synthesizer):
    """Base class of healers that also draw lesions.

    Attributes:
        drawer: name of the network that draws lesions into an image at a mask.
    """

    drawer: ClassVar[str]

    def synthesize(self, sample: Sample, mask: LabelArray, rng: np.random.Generator) -> Sample:
        """Return the sample with a lesion drawn at the mask; see :meth:`Synthesizer.synthesize`.

        The network has no randomness.
        """
        return sample.with_lesion(self.drawn(self.drawer, sample.image, mask), mask)

    def drawn(self, name: str, image: FloatArray, mask: LabelArray) -> FloatArray:
        """Return the image that a network draws from an image and a mask.

        Slices outside the mask stay unchanged; of a volume that a 3D network draws, the windows outside the mask do.

        Args:
            name: name of the network.
            image: ``(channel, x, y[, z])`` in the model's range.
            mask: ``(x, y[, z])`` lesion classes.
        """
        if self.config.spatial_dims == 3:
            return self._drawn_in_windows(name, image, mask)
        image = image.copy()
        place: Any = ...
        if mask.ndim > self.config.spatial_dims:
            place = (..., np.flatnonzero(mask.any(axis=(0, 1))))
        if mask.any():
            lesion = one_hot(mask[place], self.info.classes)
            inputs = np.concatenate([self.as_unit(image[place]), lesion])
            image[place] = self.from_unit(self.apply(name, inputs))
        return image

    def _drawn_in_windows(self, name: str, volume: FloatArray, mask: LabelArray) -> FloatArray:
        roi_size, unit = self.config.roi_size, self.as_unit(volume)
        assert roi_size is not None
        network = LesionChange(self.networks[name], len(unit))
        inputs = np.concatenate([unit, one_hot(mask, self.info.classes)])[None]
        change = in_windows(network, inputs, roi_size=roi_size, seamless=self.seamless)[0]
        return np.where(change.any(axis=0), self.from_unit(unit + change), volume)

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


class LesionChange(nn.Module):
    """What a network changes in windows that show a lesion; 0 in the others, which it does not see.

    Args:
        network: maps ``(batch, channel, x, y, z)`` images and masks to images.
        channels: number of channels of an image; those after them are masks.
    """

    def __init__(self, network: nn.Module, channels: int) -> None:
        super().__init__()
        self.network, self.channels = network, channels

    def forward(self, windows: Tensor) -> Tensor:
        """Return the change of each window, ``(batch, channel, x, y, z)``."""
        images, shown = windows[:, : self.channels], windows[:, self.channels :].flatten(1).any(1)
        change = torch.zeros_like(images)
        if shown.any():
            change[shown] = self.network(windows[shown]) - images[shown]
        return change
