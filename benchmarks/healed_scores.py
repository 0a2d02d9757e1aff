"""Is MS-SSIM of a whole cohort as fast as MONAI's metric, called slice by slice?

Compares the masked MS-SSIM of 32 slices of 208 × 160 pixels, padded to 208 × 176, with MONAI's
``MultiScaleSSIMMetric`` on each of the same slices, and prints how far the values are apart.
"""

from __future__ import annotations

import numpy as np
import torch
from comparison import Comparison, alternate, show
from data import one_thread
from monai.metrics import MultiScaleSSIMMetric
from numpy.typing import NDArray
from scipy import ndimage

from lesionforge.cohort.scan import FloatArray
from lesionforge.scores.healed_scans.identity import ms_ssim

SLICES, SHAPE, PADDED, ROUNDS, TOLERANCE = 32, (208, 160), (208, 176), 5, 1e-5


def measure() -> list[Comparison]:
    one_thread()
    original = texture()
    healed = np.clip(original + np.random.default_rng(1).normal(0, 0.05, original.shape), 0, 1).astype(np.float32)
    apart = float(np.abs(ms_ssim(healed, original) - one_by_one(healed, original)).max())
    if apart > TOLERANCE:
        raise ValueError(f"MS-SSIM is {apart:.1g} from MONAI's")
    pairs = alternate(ROUNDS, lambda: ms_ssim(healed, original), lambda: one_by_one(healed, original))
    return [
        Comparison(
            name=f"MS-SSIM of {SLICES} slices, {apart:.0e} apart",
            first="all at once",
            second="MONAI's metric on each slice",
            pairs=[(ours, theirs) for ours, theirs in pairs],
            at_most=1,
        )
    ]


def texture() -> FloatArray:
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(SLICES, *SHAPE)), (0, 2, 2))
    return np.clip(0.5 + 0.15 * noise / noise.std(), 0, 1).astype(np.float32)


def one_by_one(first: FloatArray, second: FloatArray) -> NDArray[np.float64]:
    metric = MultiScaleSSIMMetric(spatial_dims=2, reduction="none")
    missing = [(large - small) // 2 for large, small in zip(PADDED, SHAPE, strict=True)]
    widths = [(0, 0), *((n, n) for n in missing)]
    padded = [torch.from_numpy(np.pad(image, widths, mode="reflect")) for image in (first, second)]
    return np.array([float(metric(a[None, None], b[None, None])) for a, b in zip(*padded, strict=True)])


if __name__ == "__main__":
    show("Scores of healed scans", measure())
