"""Displacement: whether a reconstruction draws the lesion in its original place.

The healed slice alone does not contain this information (the one-to-many problem).

Source: Xia, Chartsias & Tsaftaris (2019), figure 2: a CycleGAN that reconstructs a scan from the healed slice draws the
lesion in another place.
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
        reconstruction: ``(channel, x, y[, z])`` from 0 to 1; differences are averaged over channels.
        healed: ``(channel, x, y[, z])`` from 0 to 1.

    Returns:
        ``(x, y[, z])`` mask; empty if no difference, smoothed by a Gaussian of one voxel, reaches 0.05.
    """
    change = ndimage.gaussian_filter(np.abs(reconstruction - healed).mean(0), SMOOTHING)
    return np.asarray(change >= max(LEAST_CHANGE, change.max() / 2))


def displacement(true: BoolArray, drawn: BoolArray, spacing: Sequence[float]) -> float:
    """Return the distance in mm between the centroids of two lesion masks; NaN if either is empty.

    Args:
        true: ``(x, y[, z])`` mask of the true lesion.
        drawn: ``(x, y[, z])`` mask of the lesion in the reconstruction.
        spacing: mm along each axis.
    """
    if not true.any() or not drawn.any():
        return math.nan
    steps = [here - there for here, there in zip(*map(ndimage.center_of_mass, (drawn, true)), strict=True)]
    return math.hypot(*(step * mm for step, mm in zip(steps, spacing, strict=True)))
