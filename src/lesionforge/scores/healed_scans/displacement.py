"""Does a reconstruction draw the lesion where it was? A healed slice alone does not tell (the one-to-many problem).

Source: Xia, Chartsias & Tsaftaris (2019), figure 2: CycleGAN, asked for the scan that a healed slice was made from,
draws a lesion in another place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from lesionforge.cohort.scan import BoolArray, FloatArray

LEAST_CHANGE, SMOOTHING = 0.05, 1.0


def drawn_lesion(reconstruction: FloatArray, healed: FloatArray) -> BoolArray:
    """Return where a reconstruction differs from the healed image by at least half of the largest difference.

    Args:
        reconstruction: ``(channel, x, y[, z])`` from 0 to 1; differences are means over channels.
        healed: likewise.

    Returns:
        ``(x, y[, z])``; empty where nothing, smoothed by one voxel, differs by 0.05.
    """
    change = ndimage.gaussian_filter(np.abs(reconstruction - healed).mean(0), SMOOTHING)
    return np.asarray(change >= max(LEAST_CHANGE, change.max() / 2))


def displacement(true: BoolArray, drawn: BoolArray, spacing: Sequence[float]) -> float:
    """Return the distance in mm between the centroids of two lesions ``(x, y[, z])``; NaN if one of them is empty.

    Args:
        true: where the lesion is.
        drawn: where the reconstruction has it.
        spacing: mm along each axis.
    """
    if not true.any() or not drawn.any():
        return math.nan
    steps = [here - there for here, there in zip(*map(ndimage.center_of_mass, (drawn, true)), strict=True)]
    return math.hypot(*(step * mm for step, mm in zip(steps, spacing, strict=True)))
