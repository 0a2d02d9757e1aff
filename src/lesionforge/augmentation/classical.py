"""Classical augmentation: the transforms that nnU-Net v2 applies by default.

Probabilities and ranges are those that nnU-Net's trainer executes (batchgeneratorsv2); the transforms are MONAI's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from monai.transforms import (
    Affined,
    Compose,
    MapTransform,
    RandAdjustContrast,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmooth,
    Randomizable,
    RandomizableTransform,
    RandScaleIntensity,
    RandScaleIntensityFixedMean,
    RandSimulateLowResolution,
    Transform,
)
from torch import Tensor

BOTH = ("image", "label")
IMAGE = ("image",)
ELONGATED, THIN = 1.5, 3.0
"""Ratios of the longest side of a slice to its shortest, and of a volume's to its number of slices."""


def classical_augmentation(spatial_dims: int, *, background: float) -> Compose:
    """Return the transforms for ``{"image": (channel, x, y[, z]), "label": (1, x, y[, z])}``.

    Args:
        spatial_dims: 2 or 3.
        background: the model's intensity of air, subtracted for the time of the transforms, so that gamma and
            brightness act on intensities from 0.
    """
    steps = [RandTurnedScaledd(BOTH), *intensity_transforms(), *mirroring(spatial_dims)]
    return Compose([Shift(-background), *steps, Shift(background)])


def intensity_transforms() -> list[Transform]:
    """Return noise, blur, brightness, contrast, low resolution and gamma, for images in which air is 0.

    Noise has one strength for all channels; all others are drawn for each channel of its own. What nnU-Net calls the
    variance of noise it applies as the standard deviation, and so does this.
    """
    gamma = {"gamma": (0.7, 1.5), "retain_stats": True, "prob": 1.0}
    blur = RandGaussianSmooth(sigma_x=(0.5, 1), sigma_y=(0.5, 1), sigma_z=(0.5, 1), prob=1.0)
    contrast = RandScaleIntensityFixedMean(factors=0.25, preserve_range=True, prob=1.0)
    return [
        RandGaussianNoised(IMAGE, prob=0.1, std=0.1),
        RandChannelsd(IMAGE, blur, prob=0.2, channel_prob=0.5),
        RandChannelsd(IMAGE, RandScaleIntensity(factors=0.25, prob=1.0), prob=0.15),
        RandChannelsd(IMAGE, contrast, prob=0.15),
        RandChannelsd(IMAGE, RandLowResolution(zoom_range=(0.5, 1.0), prob=1.0), prob=0.25, channel_prob=0.5),
        RandChannelsd(IMAGE, RandGamma(**gamma, invert_image=True), prob=0.1),
        RandChannelsd(IMAGE, RandGamma(**gamma), prob=0.3),
    ]


def mirroring(spatial_dims: int, *, keys: Sequence[str] = BOTH) -> list[Transform]:
    """Return a flip along each axis, each with probability 0.5."""
    return [RandFlipd(keys, prob=0.5, spatial_axis=axis) for axis in range(spatial_dims)]


def is_thin(shape: Sequence[int]) -> bool:
    """Return whether a volume of this ``(x, y, z)`` shape has so few slices that it is only varied within them."""
    return len(shape) == 3 and max(shape) > THIN * shape[2]


class RandTurnedScaledd(Randomizable, MapTransform):
    """Turns and scales the first key (linear) and the others (nearest) alike, in one interpolation.

    Slices are turned by any angle, elongated ones by up to 15°; volumes by up to 30° about every axis, thin ones by any
    angle within their slices. All axes are scaled alike, those of thin volumes within their slices: a voxel of the
    result takes 0.7 to 1.4 voxels. What comes in from outside is 0.

    Args:
        keys: the image, then label maps.
        rotation_prob: probability of a turn.
        scaling_prob: probability of a scaling.
    """

    def __init__(self, keys: Sequence[str], *, rotation_prob: float = 0.2, scaling_prob: float = 0.2) -> None:
        MapTransform.__init__(self, keys)
        self.rotation_prob, self.scaling_prob = rotation_prob, scaling_prob

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the item, moved."""
        turned, scaled = self.R.random() < self.rotation_prob, self.R.random() < self.scaling_prob
        if not (turned or scaled):
            return dict(data)
        shape = data[self.first_key(dict(data))].shape[1:]
        largest = np.array(_largest_turns(shape)) * turned
        angles = [float(self.R.uniform(-angle, angle)) for angle in largest]
        scale = float(self.R.uniform(0.7, 1.4)) if scaled else 1.0
        scales = (scale, scale, 1.0) if is_thin(shape) else (scale,) * len(shape)
        modes = ["bilinear", *["nearest"] * (len(self.keys) - 1)]
        move = Affined(self.keys, rotate_params=angles, scale_params=scales, mode=modes, padding_mode="zeros")
        return dict(move(data))


def _largest_turns(shape: Sequence[int]) -> tuple[float, ...]:
    """Return the largest angle about the centre of a slice, or about each axis of a volume, in radians."""
    if len(shape) == 2:
        return (np.deg2rad(15),) if max(shape) > ELONGATED * min(shape) else (np.pi,)
    return (0.0, 0.0, np.pi) if is_thin(shape) else (np.pi / 6,) * 3


class RandChannelsd(RandomizableTransform, MapTransform):
    """Applies a random transform of one image to single channels, each with draws of its own.

    Args:
        keys: images.
        transform: of a ``(1, x, y[, z])`` image; its own probability is to be 1.
        prob: probability of an item.
        channel_prob: probability of each of its channels then.
    """

    def __init__(
        self, keys: Sequence[str], transform: RandomizableTransform, *, prob: float, channel_prob: float = 1.0
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.transform, self.channel_prob = transform, channel_prob

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> Self:
        """Seed this transform, whose generator the inner one draws from, too."""
        super().set_random_state(seed, state)
        self.transform.set_random_state(state=self.R)
        return self

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the item with other channels."""
        item = dict(data)
        self.randomize(None)
        if self._do_transform:
            for key in self.key_iterator(item):
                channels = [torch.as_tensor(channel)[None] for channel in item[key]]
                item[key] = torch.cat([self._varied(channel) for channel in channels])
        return item

    def _varied(self, channel: Tensor) -> Tensor:
        return torch.as_tensor(self.transform(channel)) if self.R.random() < self.channel_prob else channel


class RandGamma(RandAdjustContrast):
    """Gamma that is equally often below and above 1."""

    def randomize(self, data: Any = None) -> None:
        """Draw gamma."""
        super().randomize(data)
        low, high = self.gamma
        self.gamma_value = float(self.R.uniform(low, 1) if self.R.random() < 0.5 else self.R.uniform(1, high))


class RandLowResolution(RandSimulateLowResolution):
    """Low resolution of one channel, of a thin volume within its slices."""

    def __init__(self, *, zoom_range: tuple[float, float], prob: float) -> None:
        super().__init__(prob=prob, zoom_range=zoom_range, downsample_mode="nearest-exact")

    def __call__(self, img: Tensor, randomize: bool = True) -> Tensor:
        """Return ``(1, x, y[, z])`` made coarser and interpolated again."""
        thin = is_thin(img.shape[1:])
        image = img[0].movedim(-1, 0) if thin else img
        self.upsample_mode = "bilinear" if image.ndim == 3 else "trilinear"
        found = torch.as_tensor(super().__call__(image, randomize))
        return found.movedim(0, -1)[None] if thin else found


class Shift:
    """Adds ``offset`` to the image."""

    def __init__(self, offset: float) -> None:
        self.offset = offset

    def __call__(self, data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the item with another image."""
        return {**data, "image": data["image"] + self.offset}
