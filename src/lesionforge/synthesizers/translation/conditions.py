"""The condition: what the generator sees, and which part of its output is used.

``label``: the label map alone, as in the papers; the whole image is drawn.
``scan``: the scan with its lesion smoothed away, and the mask; the whole image is drawn.
``inpaint``: the scan with the lesion and a margin erased, and the mask; only the erased hole is drawn.

With ``scan`` and ``inpaint``, the generator may also see the wanted intensity of the lesion: its mean, or quantiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from lesionforge.cohort.scan import BoolArray, FloatArray, LabelArray
from lesionforge.preprocessing.lesions.lesion_intensity import QUANTILES, Intensities, measure, paint
from lesionforge.preprocessing.lesions.merging import merge

ConditionName = Literal["label", "scan", "inpaint"]
LesionIntensity = bool | Literal["quantiles"]
"""What the networks see of the lesion's intensities: nothing, the mean, or three quantiles."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """The encoding of a crop as the generator's input.

    Attributes:
        name: ``label``, ``scan`` or ``inpaint``.
        image_channels: number of channels of the scan.
        classes: lesion classes.
        anatomy: values of the anatomy map that get one channel each (``label`` only); if empty, a single channel marks
            everything that is not lesion; see :func:`~lesionforge.preprocessing.lesions.merging.merge`.
        noise_channels: number of noise channels, which let the generator vary its output.
        lesion_intensity: whether the generator sees the lesion's mean intensity, in one channel per channel of the
            scan; ``quantiles`` shows the 10, 50 and 90 % quantiles instead, in three.
    """

    name: ConditionName
    image_channels: int
    classes: tuple[int, ...]
    anatomy: tuple[int, ...] = ()
    noise_channels: int = 1
    lesion_intensity: LesionIntensity = False

    @property
    def critic_channels(self) -> int:
        """Channels of the condition without noise, which the critic sees next to the image."""
        if self.name == "label":
            return max(1, len(self.anatomy)) + len(self.classes)
        intensities = len(QUANTILES) if self.lesion_intensity == "quantiles" else int(self.lesion_intensity)
        return self.image_channels * (1 + intensities) + len(self.classes) + (self.name == "inpaint")

    @property
    def in_channels(self) -> int:
        """Channels of the generator's input."""
        return self.critic_channels + self.noise_channels

    def encode(
        self,
        image: FloatArray,
        mask: LabelArray,
        anatomy: LabelArray | None,
        hole: BoolArray,
        noise: FloatArray,
        intensities: Intensities | None = None,
    ) -> FloatArray:
        """Return the ``(in_channels, x, y[, z])`` input; its last ``noise_channels`` channels are the noise.

        Args:
            image: ``(channel, x, y[, z])``, −1 to 1; for ``scan`` without the lesion that is to be drawn.
            mask: ``(x, y[, z])`` lesion classes.
            anatomy: ``(x, y[, z])``, used for ``label`` only.
            hole: ``(x, y[, z])``, erased from the image for ``inpaint``.
            noise: ``(noise_channels, x, y[, z])``.
            intensities: intensities of the lesion as of :meth:`measure`, −1 to 1; required with ``lesion_intensity``.
        """
        if self.name == "label":
            merged = merge(anatomy, mask, structures=self.anatomy, classes=self.classes)
            return np.concatenate([one_hot(merged, range(self.critic_channels)), noise])
        lesion = one_hot(mask, self.classes)
        shown = [image] if self.name == "scan" else [image * ~hole, hole[None].astype(np.float32)]
        if self.lesion_intensity:
            assert intensities is not None
            shown.append(paint(intensities, mask, self.classes))
        return np.concatenate([*shown, lesion, noise])

    def measure(self, image: FloatArray, mask: LabelArray) -> Intensities:
        """Return the intensities of a lesion that the generator is to see, ``(class, channel)``, or 3 a channel."""
        return measure(image, mask, self.classes, quantiles=self.lesion_intensity == "quantiles")


def one_hot(labels: LabelArray, values: Sequence[int]) -> FloatArray:
    """Return one 0/1 channel for each of ``values``."""
    return np.stack([labels == value for value in values]).astype(np.float32)


def without_lesion(
    image: FloatArray, mask: LabelArray, spacing: Sequence[float], rng: np.random.Generator
) -> FloatArray:
    """Return ``image`` with the lesion replaced by noise with the local mean and spread of its surroundings.

    The lesion's intensities have no influence on the result. Without any surroundings, the result is 0.

    Args:
        image: ``(channel, x, y[, z])``.
        mask: ``(x, y[, z])``.
        spacing: millimetres per axis.
        rng: random generator of the texture.
    """
    beyond = mask == 0
    if not beyond.any():
        return np.zeros_like(image)
    outside = beyond.astype(np.float32)
    sigma = [6.0 / step for step in spacing]
    total = ndimage.gaussian_filter(outside, sigma) + 1e-6
    filled = image.copy()
    for channel in filled:
        mean = ndimage.gaussian_filter(channel * outside, sigma) / total
        variance = ndimage.gaussian_filter(np.square(channel - mean) * outside, sigma) / total
        texture = ndimage.gaussian_filter(rng.standard_normal(mask.shape), 0.7)
        smooth = mean + np.sqrt(np.maximum(variance, 0)) * texture / texture.std()
        channel[mask > 0] = np.clip(smooth, channel[beyond].min(), channel[beyond].max())[mask > 0]
    return filled
