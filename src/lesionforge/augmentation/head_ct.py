"""Augmentation of head CT: as published with a lesion-conditional GAN, or combined with nnU-Net's transforms.

Source: the paper on haemorrhage CT (LcGAN), section 4.3. The paper does not say how much is cropped, or to how many
rows a shear in pixels refers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from monai.transforms import Compose, MapTransform, RandGaussianSmoothd, Randomizable, RandScaleIntensityd

from lesionforge.augmentation.classical import BOTH, IMAGE, Shift, intensity_transforms
from lesionforge.augmentation.moves import RandMirrord, affine_matrix, moved

ROTATION_DEG, SCALE, SHEAR = 25.0, 0.15, 10 / 256
BLUR_MM, CONTRAST, PROBABILITY = 2.0, 0.5, 0.5


def ct_augmentation(spatial_dims: int, *, background: float, spacing: Sequence[float] | None) -> Compose:
    """Return the published transforms, followed by nnU-Net's transforms without rotation and scaling.

    See :func:`published_ct_augmentation` and :func:`~lesionforge.augmentation.classical.classical_augmentation`.
    """
    published = published_ct_augmentation(spatial_dims, background=background, spacing=spacing)
    steps = [*intensity_transforms(), RandMirrord(BOTH, range(spatial_dims))]
    return Compose([published, Shift(-background), *steps, Shift(background)])


def published_ct_augmentation(
    spatial_dims: int, *, background: float, spacing: Sequence[float] | None, maps: Sequence[str] = BOTH[1:]
) -> Compose:
    """Return the transforms for ``{"image": (channel, x, y[, z]), "label": (1, x, y[, z])}``.

    Every item is rotated, scaled, sheared and cropped, see :class:`RandHeadd`. Then the image is blurred with
    probability 0.5 (Gaussian, standard deviation 2 mm, which is 2 pixels of a head in 256×256) and brightened with
    probability 0.5 (every intensity above air is raised by the same 0 to 50 %). All transforms are in plane and equal
    for all slices of a volume.

    Args:
        spatial_dims: 2 or 3.
        background: intensity of air in the model's range.
        spacing: voxel spacing in millimetres per axis; ``None`` if unknown, which counts as 1 mm.
        maps: keys of the label maps that are transformed with the image.
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
    """Random rotation, scaling, shear and crop of the image (first key, linear) and label maps (other keys, nearest).

    The rotation is up to 25°, the scale of both in-plane axes up to 15 %, and the shear along the second axis up to 10
    pixels over 256 rows. An enlarged image is cropped at a random position, so the size stays. Voxels from outside are
    0.
    """

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the transformed item."""
        sides = data[self.first_key(dict(data))].shape[1:]
        turn = np.deg2rad(self.R.uniform(-ROTATION_DEG, ROTATION_DEG))
        scale = 1 / self.R.uniform(1 - SCALE, 1 + SCALE)
        shear = self.R.uniform(-SHEAR, SHEAR)
        spare = max(0.0, 1 - scale) / 2
        shift = [self.R.uniform(-spare, spare) * n for n in sides[:2]]
        if len(sides) == 2:
            matrix = affine_matrix(2, rotate=(turn,), shear=(0, shear), translate=shift, scale=(scale, scale))
        else:
            turns, shears, scales = (0, 0, turn), (0, 0, shear, 0, 0, 0), (scale, scale, 1)
            matrix = affine_matrix(3, rotate=turns, shear=shears, translate=(*shift, 0), scale=scales)
        return moved(data, self.keys, matrix)
