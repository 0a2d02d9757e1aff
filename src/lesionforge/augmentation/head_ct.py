"""Augmentation of head CT: as published with a lesion-conditional GAN, and with nnU-Net's list added.

Source: the paper on haemorrhage CT (LcGAN), section 4.3. How much is cropped, and over how many rows a shear is
counted, it does not say. The transforms are MONAI's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from monai.transforms import Affined, Compose, MapTransform, RandGaussianSmoothd, Randomizable, RandScaleIntensityd

from lesionforge.augmentation.classical import BOTH, IMAGE, Shift, intensity_transforms, mirroring

ROTATION_DEG, SCALE, SHEAR = 25.0, 0.15, 10 / 256
BLUR_MM, CONTRAST, PROBABILITY = 2.0, 0.5, 0.5


def ct_augmentation(spatial_dims: int, *, background: float, spacing: Sequence[float] | None) -> Compose:
    """Return the published transforms, and nnU-Net's list without its own turns and scalings.

    See :func:`published_ct_augmentation` and :func:`~lesionforge.augmentation.classical.classical_augmentation`.
    """
    published = published_ct_augmentation(spatial_dims, background=background, spacing=spacing)
    steps = [*intensity_transforms(), *mirroring(spatial_dims)]
    return Compose([published, Shift(-background), *steps, Shift(background)])


def published_ct_augmentation(
    spatial_dims: int, *, background: float, spacing: Sequence[float] | None, maps: Sequence[str] = BOTH[1:]
) -> Compose:
    """Return the transforms for ``{"image": (channel, x, y[, z]), "label": (1, x, y[, z])}``.

    Every item is turned, scaled, sheared and cropped, see :class:`RandHeadd`. Then, each with probability 0.5, its
    image is blurred (Gaussian, standard deviation 2 mm, which is 2 pixels of a head in 256×256) and made brighter:
    every pixel by the same share, 0 to 50 %, of its intensity above air. All of it is within slices, and the same in
    all slices of a volume.

    Args:
        spatial_dims: 2 or 3.
        background: the model's intensity of air.
        spacing: millimetres along each axis of the model's grid; 1 where it is not known.
        maps: keys of what moves with the image and holds labels.
    """
    x, y = (BLUR_MM / mm for mm in (spacing or (1.0, 1.0))[:2])
    return Compose(
        [
            Shift(-background),
            RandHeadd((*IMAGE, *maps)),
            RandGaussianSmoothd(IMAGE, prob=PROBABILITY, sigma_x=(x, x), sigma_y=(y, y), sigma_z=(0, 0)),
            RandScaleIntensityd(IMAGE, prob=PROBABILITY, factors=(0, CONTRAST)),
            Shift(background),
        ]
    )


class RandHeadd(Randomizable, MapTransform):
    """Turns, scales, shears and crops the first key (linear) and the others (nearest) alike; the size stays.

    A rotation by up to 25°, one scale of both axes by up to 15 %, and a shear along the second axis: over 256 rows by
    up to 10 pixels. What is larger afterwards is cropped at a random place; what comes in from outside is 0.
    """

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the item, moved."""
        sides = data[self.first_key(dict(data))].shape[1:]
        turn = np.deg2rad(self.R.uniform(-ROTATION_DEG, ROTATION_DEG))
        scale = 1 / self.R.uniform(1 - SCALE, 1 + SCALE)
        shear = self.R.uniform(-SHEAR, SHEAR)
        spare = max(0.0, 1 - scale) / 2
        shift = [self.R.uniform(-spare, spare) * n for n in sides[:2]]
        moves: dict[str, Any] = {
            "rotate_params": turn,
            "shear_params": (0, shear),
            "translate_params": shift,
            "scale_params": (scale, scale),
        }
        if len(sides) == 3:
            moves = {
                "rotate_params": (0, 0, turn),
                "shear_params": (0, 0, shear, 0, 0, 0),
                "translate_params": (*shift, 0),
                "scale_params": (scale, scale, 1),
            }
        modes = ["bilinear", *["nearest"] * (len(self.keys) - 1)]
        return dict(Affined(self.keys, **moves, mode=modes, padding_mode="zeros")(data))
