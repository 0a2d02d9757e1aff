"""Random brightness and gamma of a whole image, as if another scanner had taken it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from monai.transforms import MapTransform, Randomizable

GAMMA, SCALE = 0.3, 0.15


class RandScannerd(Randomizable, MapTransform):
    """Random gamma, e^±0.3, and scale, 0.85 to 1.15, of each channel; the ends of the range keep their meaning.

    MONAI's ``RandAdjustContrastd`` takes gamma between the darkest and the brightest voxel of an image. In a crop these
    are not air and the brightest tissue, so the same scanner would look different in each crop.

    Args:
        keys: keys of images ``(channel, x, y[, z])``.
        air: intensity of air, which stays air.
        brightest: greatest intensity; what becomes brighter is cut.
    """

    def __init__(self, keys: Sequence[Hashable], *, air: float, brightest: float) -> None:
        MapTransform.__init__(self, keys)
        self.air, self.range = air, brightest - air

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the item with images of another scanner."""
        item = dict(data)
        for key in self.key_iterator(item):
            image = np.asarray(item[key], np.float32)
            of_channel = (len(image), *[1] * (image.ndim - 1))
            gamma = np.exp(self.R.uniform(-GAMMA, GAMMA, of_channel))
            scale = self.R.uniform(1 - SCALE, 1 + SCALE, of_channel)
            share = np.clip((image - self.air) / self.range, 0, 1)
            item[key] = (np.clip(scale * share**gamma, 0, 1) * self.range + self.air).astype(np.float32)
        return item
