"""Is a synthetic cohort searched for copies fast enough?

Compares the search for the nearest training volume of every synthetic volume, by normalised cross-correlation over
small shifts and flips, with a loop over all pairs that correlates one pair at a time, by the fast Fourier transform,
too; the loop is measured on some pairs and scaled to all. And all searches of an audit in one view with ten minutes.

``python benchmarks/audit.py 200`` takes 200 volumes in place of 1000.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from comparison import Comparison, processor_ms, show
from data import one_thread
from scipy import ndimage

from lesionforge.audit.correlation import best_correlation, flips, nearest_by_correlation
from lesionforge.audit.views import unit
from lesionforge.cohort.scan import FloatArray

VOLUMES, SIDE, MAX_SHIFT, CANDIDATES, LOOPED, SEARCHES = 1000, 32, 4, 8, 20, 8


def measure(count: int = VOLUMES) -> list[Comparison]:
    one_thread()
    synthetic, training = volumes(count, seed=0), volumes(count, seed=1)
    ours = processor_ms(lambda: nearest_by_correlation(synthetic, training, max_shift=MAX_SHIFT, candidates=CANDIDATES))
    slow = processor_ms(lambda: loop(synthetic[:LOOPED], training[:LOOPED])) * (count / LOOPED) ** 2
    return [
        Comparison(
            name=f"the nearest of {count} volumes of {SIDE}³ for {count} others",
            first="a loop over pairs",
            second="ours",
            pairs=[(slow, ours)],
            at_least=50,
        ),
        Comparison(
            name="all searches of an audit in one view",
            first="ours",
            second="ten minutes",
            pairs=[(SEARCHES * ours / 1000, 600.0)],
            at_most=1,
            unit="s",
        ),
    ]


def volumes(count: int, *, seed: int) -> FloatArray:
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((count, 1, SIDE, SIDE, SIDE), np.float32)
    return np.stack([unit(ndimage.gaussian_filter(volume, (0, 2, 2, 2))) for volume in noise])


def loop(queries: FloatArray, among: FloatArray) -> list[int]:
    """Return the nearest volume of each query, one pair and one flip at a time."""
    first, second = torch.from_numpy(queries), torch.from_numpy(among)
    turned = [[query[None].flip([axis + 2 for axis in axes]) for axes in flips(3)] for query in first]
    shifts = (MAX_SHIFT,) * 3
    found = [
        [max(float(best_correlation(query, image[None], shifts)) for query in of_query) for image in second]
        for of_query in turned
    ]
    return [int(np.argmax(row)) for row in found]


if __name__ == "__main__":
    show("Audit", measure(int(sys.argv[1]) if len(sys.argv) > 1 else VOLUMES))
