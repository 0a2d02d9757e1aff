"""Random rotation, translation and elastic deformation, the augmentation of the system that draws whole patients.

Source: Shin et al. 2018 (arXiv 1807.10225), which names crops, rotation, translation and elastic deformation without
their ranges; the ranges are ours. The crops are the random places of the training items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose, MapTransform, Rand2DElasticd, Rand3DElasticd, Randomizable
from torch import Tensor

from lesionforge.augmentation.classical import BOTH, Shift, is_thin

PROB = 0.5
ROTATION_DEG, SHIFT = 15.0, 0.05
CONTROL_POINTS, MAGNITUDE_2D = 16.0, (0.0, 2.0)
SIGMA_3D, MAGNITUDE_3D = (5.0, 8.0), (100.0, 300.0)
"""Standard deviation of the smoothing, and factor on the smoothed uniform noise, which comes to 0.4 to 2.3 voxels."""


def elastic_augmentation(*, background: float) -> Compose:
    """Return the transforms for ``{"image": (channel, x, y[, z]), "label": (1, x, y[, z])}``.

    Args:
        background: intensity of air in the model's range.
    """
    return Compose([Shift(-background), RandElasticd(BOTH), Shift(background)])


class RandElasticd(Randomizable, MapTransform):
    """Random deformation of the image (first key, linear) and label maps (other keys, nearest).

    Every other item is rotated by up to 15° about every axis, shifted by up to 5 % of its size along every axis and
    bent by a smooth random field of some voxels, all in one interpolation. Thin volumes are transformed only in plane,
    all slices alike. Voxels from outside are 0.
    """

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the transformed item."""
        shape = data[self.first_key(dict(data))].shape[1:]
        move = self._move(shape[:2] if is_thin(shape) else shape).set_random_state(state=self.R)
        if not is_thin(shape):
            return dict(move(dict(data)))
        planes = {key: torch.as_tensor(data[key]).movedim(-1, 1).flatten(0, 1) for key in self.keys}
        moved = move(planes)
        return {**data, **{key: _stacked(moved[key], shape[-1]) for key in self.keys}}

    def _move(self, shape: Sequence[int]) -> Rand2DElasticd | Rand3DElasticd:
        how: dict[str, Any] = {
            "prob": PROB,
            "rotate_range": [np.deg2rad(ROTATION_DEG)] * (1 if len(shape) == 2 else 3),
            "translate_range": [SHIFT * side for side in shape],
            "mode": ["bilinear", *["nearest"] * (len(self.keys) - 1)],
            "padding_mode": "zeros",
        }
        if len(shape) == 2:
            return Rand2DElasticd(self.keys, spacing=CONTROL_POINTS, magnitude_range=MAGNITUDE_2D, **how)
        return Rand3DElasticd(self.keys, sigma_range=SIGMA_3D, magnitude_range=MAGNITUDE_3D, **how)


def _stacked(planes: Tensor, slices: int) -> Tensor:
    """Return the ``(channel, x, y, z)`` volumes of ``(channel * z, x, y)`` slices."""
    return planes.reshape(-1, slices, *planes.shape[1:]).movedim(1, -1)
