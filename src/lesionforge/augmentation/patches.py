"""Classical augmentation of patches around candidates, as in the paper on microbleeds.

Source: Faryna et al. 2021 (arXiv 2101.06468), which names flips in the axial plane, shear, scaling, rotation, and
scaling and shifting of intensities. It gives no ranges; those here are ours.
"""

from __future__ import annotations

import numpy as np
from monai.transforms import Compose, RandScaleIntensityd, RandShiftIntensityd

from lesionforge.augmentation.moves import RandMirrord, RandMoved

IMAGE, BOTH = ("image",), ("image", "label")
ROTATION, SHEAR, SCALE = np.pi, 0.1, 0.15
"""Largest rotation within slices in radians, shear, and relative change of size."""
FACTOR, OFFSET = 0.15, 0.1
"""Largest relative change and shift of intensities, in units of typical tissue."""


def patch_augmentation(spatial_dims: int) -> Compose:
    """Return the transforms for ``{"image": (channel, x, y[, z])}``, with intensities relative to typical tissue.

    Everything but the scaling acts within slices. Parts from outside the patch repeat its border. A ``"label"`` of
    the same size, if there is one, moves with the image.

    Args:
        spatial_dims: 2 or 3.
    """
    rotate = [ROTATION] if spatial_dims == 2 else [0.0, 0.0, ROTATION]
    shear = [SHEAR, SHEAR] if spatial_dims == 2 else [SHEAR, 0.0, SHEAR, 0.0, 0.0, 0.0]
    return Compose(
        [
            RandMirrord(BOTH, (0, 1)),
            RandMoved(BOTH, prob=0.75, rotate=rotate, shear=shear, scale=[SCALE] * spatial_dims),
            RandScaleIntensityd(IMAGE, factors=FACTOR, prob=0.75),
            RandShiftIntensityd(IMAGE, offsets=OFFSET, prob=0.75),
        ]
    )
