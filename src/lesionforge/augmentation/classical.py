"""Classical augmentation: the default transforms of nnU-Net v2.

Probabilities and ranges are those that nnU-Net's trainer applies (batchgeneratorsv2); the transforms of intensities are
MONAI's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from monai.transforms import (
    Compose,
    MapTransform,
    RandAdjustContrast,
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

from lesionforge.augmentation.moves import RandMirrord, affine_matrix, moved

BOTH = ("image", "label")
IMAGE = ("image",)
ELONGATED, THIN = 1.5, 3.0
"""Thresholds on longest side / shortest side of a slice, and on longest side / number of slices of a volume."""


def classical_augmentation(spatial_dims: int, *, background: float, mirror: bool = True) -> Compose:
    """Return the transforms for ``{"image": (channel, x, y[, z]), "label": (1, x, y[, z])}``.

    Args:
        spatial_dims: 2 or 3.
        background: intensity of air in the model's range. It is subtracted before the transforms and added again after
            them, so that gamma and brightness act on intensities that start at 0.
        mirror: whether to flip along each axis; classes such as the left and the right thalamus must not be mirrored.
    """
    mirroring = [RandMirrord(BOTH, range(spatial_dims))] if mirror else []
    steps = [RandTurnedScaledd(BOTH), *intensity_transforms(), *mirroring]
    return Compose([Shift(-background), *steps, Shift(background)])


def intensity_transforms() -> list[Transform]:
    """Return noise, blur, brightness, contrast, low resolution and gamma, for images in which air is 0.

    Noise has the same strength in all channels; the other transforms are drawn separately for each channel. nnU-Net
    applies its variance of the noise as the standard deviation, and so does this function.
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


def is_thin(shape: Sequence[int]) -> bool:
    """Return whether a volume of this ``(x, y, z)`` shape has so few slices that it is transformed only in plane."""
    return len(shape) == 3 and max(shape) > THIN * shape[2]


class RandTurnedScaledd(Randomizable, MapTransform):
    """Random rotation and scaling of the image (first key, linear) and label maps (other keys, nearest).

    Slices are rotated by any angle, elongated slices by up to 15°. Volumes are rotated by up to 30° about every axis,
    thin volumes by any angle in plane. All axes are scaled alike, in thin volumes only those in plane: a voxel of the
    result covers 0.7 to 1.4 voxels. Rotation and scaling are one interpolation. Voxels from outside are 0.

    Args:
        keys: key of the image, then keys of label maps.
        rotation_prob: probability of a rotation.
        scaling_prob: probability of a scaling.
    """

    def __init__(self, keys: Sequence[str], *, rotation_prob: float = 0.2, scaling_prob: float = 0.2) -> None:
        MapTransform.__init__(self, keys)
        self.rotation_prob, self.scaling_prob = rotation_prob, scaling_prob

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the transformed item."""
        turned, scaled = self.R.random() < self.rotation_prob, self.R.random() < self.scaling_prob
        if not (turned or scaled):
            return dict(data)
        shape = data[self.first_key(dict(data))].shape[1:]
        largest = np.array(_largest_turns(shape)) * turned
        angles = [float(self.R.uniform(-angle, angle)) for angle in largest]
        scale = float(self.R.uniform(0.7, 1.4)) if scaled else 1.0
        scales = (scale, scale, 1.0) if is_thin(shape) else (scale,) * len(shape)
        return moved(data, self.keys, affine_matrix(len(shape), rotate=angles, scale=scales))


def _largest_turns(shape: Sequence[int]) -> tuple[float, ...]:
    """Return the largest rotation of a slice, or of a volume about each axis, in radians."""
    if len(shape) == 2:
        return (np.deg2rad(15),) if max(shape) > ELONGATED * min(shape) else (np.pi,)
    return (0.0, 0.0, np.pi) if is_thin(shape) else (np.pi / 6,) * 3


class RandChannelsd(RandomizableTransform, MapTransform):
    """Applies a random single-channel transform to each channel separately.

    Args:
        keys: keys of images.
        transform: transform of a ``(1, x, y[, z])`` image; its own probability must be 1.
        prob: probability that an item is transformed.
        channel_prob: probability that a channel of this item is transformed.
    """

    def __init__(
        self, keys: Sequence[str], transform: RandomizableTransform, *, prob: float, channel_prob: float = 1.0
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.transform, self.channel_prob = transform, channel_prob

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> Self:
        """Seed this transform and the inner one, which share one generator."""
        super().set_random_state(seed, state)
        self.transform.set_random_state(state=self.R)
        return self

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the item with transformed channels."""
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
    """Random gamma, below and above 1 with equal probability."""

    def randomize(self, data: Any = None) -> None:
        """Draw gamma."""
        super().randomize(data)
        low, high = self.gamma
        self.gamma_value = float(self.R.uniform(low, 1) if self.R.random() < 0.5 else self.R.uniform(1, high))


class RandLowResolution(RandSimulateLowResolution):
    """Random low resolution of one channel; thin volumes are downsampled only in plane."""

    def __init__(self, *, zoom_range: tuple[float, float], prob: float) -> None:
        super().__init__(prob=prob, zoom_range=zoom_range, downsample_mode="nearest-exact")

    def __call__(self, img: Tensor, randomize: bool = True) -> Tensor:
        """Return the ``(1, x, y[, z])`` image, downsampled and interpolated back to its size."""
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
        """Return the item with the shifted image."""
        return {**data, "image": data["image"] + self.offset}
