"""Random small affine transforms of real scans, as in the stroke system.

Source: Platscher et al. 2020 (arXiv 2010.02745), which names rotation, translation, shear and flip; the ranges are
those of the authors' released code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from monai.transforms import Affined, Compose, Flipd, MapTransform, Randomizable

from lesionforge.augmentation.classical import BOTH, IMAGE, Shift

ROTATION_DEG, STRETCH, SHIFT, SHEAR, ZOOM = 5.0, 0.05, 0.02, 0.03, 0.05
MOST_MOVES, CUBIC = 6, 3


def affine_augmentation(*, background: float, maps: Sequence[str] = BOTH[1:]) -> Compose:
    """Return the transforms for ``{"image": (channel, x, y[, z]), "label": (1, x, y[, z])}``.

    Args:
        background: intensity of air in the model's range.
        maps: keys of the label maps that are transformed with the image.
    """
    return Compose([Shift(-background), RandSmallAffined((*IMAGE, *maps)), Shift(background)])


class RandSmallAffined(Randomizable, MapTransform):
    """Random affine transform of the image (first key, cubic) and label maps (other keys, nearest).

    At most six of these parameters are drawn at a time: per axis, a rotation by up to 5° (2D: one, about the centre), a
    stretch by up to 5 %, a shift by up to 2 % of the size and a shear of up to 0.03; for all axes, a zoom by up to 5 %;
    and a left-right flip. All but the flip are applied in one interpolation. Voxels from outside are 0.
    """

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the transformed item."""
        shape = data[self.first_key(dict(data))].shape[1:]
        dims = len(shape)
        rotation, stretch, shift, shear, zoom, flip = self._draw(1 if dims == 2 else 3, dims, dims, dims, 1, 1)
        moves = {
            "rotate_params": np.deg2rad(ROTATION_DEG * rotation).tolist(),
            "shear_params": [*SHEAR * shear, *[0.0] * (3 * dims - 6)],
            "translate_params": (SHIFT * shift * shape).tolist(),
            "scale_params": ((1 + STRETCH * stretch) * (1 + ZOOM * zoom)).tolist(),
        }
        modes = [CUBIC, *["nearest"] * (len(self.keys) - 1)]
        item = dict(data)
        if any(np.any(part) for part in (rotation, stretch, shift, shear, zoom)):
            item = dict(Affined(self.keys, **moves, mode=modes, padding_mode="zeros")(item))
        return dict(Flipd(self.keys, spatial_axis=0)(item)) if flip[0] > 0 else item

    def _draw(self, *sizes: int) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
        """Return groups of numbers from −1 to 1, of which at most :data:`MOST_MOVES` are not 0."""
        chosen = self.R.permutation(sum(sizes))[: self.R.randint(MOST_MOVES + 1)]
        values = np.zeros(sum(sizes))
        values[chosen] = self.R.uniform(-1, 1, len(chosen))
        return np.split(values, np.cumsum(sizes)[:-1])
