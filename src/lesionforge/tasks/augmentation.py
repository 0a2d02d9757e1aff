"""Classical augmentation: the transforms that nnU-Net v2 applies by default.

Probabilities and ranges are those of nnU-Net's trainer; the transforms are MONAI's.
"""

from __future__ import annotations

import numpy as np
from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandAffined,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandScaleIntensityd,
    RandScaleIntensityFixedMeand,
    RandSimulateLowResolutiond,
)

BOTH = ("image", "label")
IMAGE = ("image",)


def classical_augmentation(spatial_dims: int, *, background: float) -> Compose:
    """Return the transforms for ``{"image": (channel, x, y[, z]), "label": (1, x, y[, z])}``.

    Args:
        spatial_dims: 2 or 3; volumes are turned by up to 30° in-plane, slices by any angle.
        background: the model's intensity of air, subtracted for the time of the transforms, so that gamma and
            brightness act on intensities from 0.
    """
    turn = (np.pi,) if spatial_dims == 2 else (0.0, 0.0, np.pi / 6)
    smallest, largest = 0.7, 1.4
    smooth = "bilinear" if spatial_dims == 2 else "trilinear"
    return Compose(
        [
            Shift(-background),
            RandAffined(BOTH, prob=0.2, rotate_range=turn, mode=("bilinear", "nearest"), padding_mode="zeros"),
            RandAffined(
                BOTH,
                prob=0.2,
                scale_range=tuple((1 / largest - 1, 1 / smallest - 1) for _ in range(spatial_dims)),
                mode=("bilinear", "nearest"),
                padding_mode="zeros",
            ),
            RandGaussianNoised(IMAGE, prob=0.1, std=0.1),
            RandGaussianSmoothd(IMAGE, prob=0.2, sigma_x=(0.5, 1), sigma_y=(0.5, 1), sigma_z=(0.5, 1)),
            RandScaleIntensityd(IMAGE, prob=0.15, factors=0.25),
            RandScaleIntensityFixedMeand(IMAGE, prob=0.15, factors=0.25, preserve_range=True),
            RandSimulateLowResolutiond(IMAGE, prob=0.25, zoom_range=(0.5, 1.0), upsample_mode=smooth),
            RandAdjustContrastd(IMAGE, prob=0.1, gamma=(0.7, 1.5), invert_image=True, retain_stats=True),
            RandAdjustContrastd(IMAGE, prob=0.3, gamma=(0.7, 1.5), retain_stats=True),
            *(RandFlipd(BOTH, prob=0.5, spatial_axis=axis) for axis in range(spatial_dims)),
            Shift(background),
        ]
    )


class Shift:
    """Adds ``offset`` to the image."""

    def __init__(self, offset: float) -> None:
        self.offset = offset

    def __call__(self, data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the item with another image."""
        return {**data, "image": data["image"] + self.offset}
