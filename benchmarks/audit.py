"""Is a synthetic cohort searched for copies fast enough, and in bounded memory?

Compares, in each view of an audit, the searches for the nearest training case of every synthetic case with a loop over
all pairs that correlates one pair and flip at a time, over all small shifts at once by the fast Fourier transform: the
search by normalised cross-correlation over the same shifts and flips, and, but for masks, that by embeddings. The loop
is measured on 20 × 20 pairs and scaled to all. Lesions and masks, one of each case, are boxes half as wide as the whole
images. Also compares all searches of an audit, in all views, with ten minutes, and what both searches of whole images
add to the peak memory of a process that holds them with 1 GiB.

``python benchmarks/audit.py 200`` takes 200 cases in place of 1000.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import torch
from comparison import Comparison, processor_ms, show
from data import one_thread
from memory import own_peak_mib
from monai.networks.nets import Regressor
from scipy import ndimage

from lesionforge.audit.audit_config import EncoderConfig
from lesionforge.audit.comparisons import CORRELATION, ENCODER, MEASURES
from lesionforge.audit.correlation import Nearest, best_correlation, flips, nearest_by_correlation
from lesionforge.audit.encoder import nearest_by_encoder
from lesionforge.audit.views import LESION, MASK, WHOLE, unit
from lesionforge.cohort.scan import FloatArray

CASES, MAX_SHIFT, CANDIDATES, LOOPED = 1000, 4, 8, 20
SIDES = {WHOLE: 32, LESION: 16, MASK: 16}
SEARCHES = 8
"""Of an audit, in each view and by each measure."""


def measure(count: int = CASES) -> list[Comparison]:
    one_thread()
    rows = [row for view in SIDES for row in in_view(view, count)]
    all_searches = SEARCHES * sum(took for row in rows for _, took in row.pairs) / 1000
    return [
        *rows,
        Comparison(
            name="all searches of an audit, in all views",
            first="ours",
            second="ten minutes",
            pairs=[(all_searches, 600.0)],
            at_most=1,
            unit="s",
        ),
        Comparison(
            name=f"the peak memory of both searches among {count} whole images, beside the images",
            first="ours",
            second="1 GiB",
            pairs=[(peak_memory(count), 1024.0)],
            at_most=1,
            unit="MiB",
        ),
    ]


def in_view(view: str, count: int) -> list[Comparison]:
    """Compare the searches of one view with the loop."""
    synthetic, training = (images(view, count, seed=seed) for seed in (0, 1))
    slow = processor_ms(lambda: loop(synthetic[:LOOPED], training[:LOOPED])) * (count / LOOPED) ** 2
    searches = {CORRELATION: by_correlation, ENCODER: by_embeddings}
    return [
        Comparison(
            name=f"{view}, {SIDES[view]}³: the nearest of {count} for {count} others",
            first=f"a loop over {LOOPED} × {LOOPED} pairs, scaled to all",
            second=f"ours, by {means}",
            pairs=[(slow, processor_ms(lambda search=searches[means]: search(synthetic, training)))],
            at_least=50,
        )
        for means in MEASURES[view]
    ]


def images(view: str, count: int, *, seed: int) -> FloatArray:
    side = SIDES[view]
    rng, made = np.random.default_rng(seed), np.empty((count, 1, side, side, side), np.float32)
    for image in made:
        smooth = ndimage.gaussian_filter(rng.standard_normal(image.shape, np.float32), (0, 2, 2, 2))
        image[:] = unit(smooth > 0) if view == MASK else unit(smooth)
    return made


def by_correlation(queries: FloatArray, among: FloatArray) -> Nearest:
    return nearest_by_correlation(queries, among, max_shift=MAX_SHIFT, candidates=CANDIDATES)


def by_embeddings(queries: FloatArray, among: FloatArray) -> Nearest:
    """Search with an encoder of the default size; its weights say nothing about its speed."""
    config = EncoderConfig()
    strides = (2,) * len(config.channels)
    network = Regressor(queries.shape[1:], (config.features,), config.channels, strides, num_res_units=0)
    return nearest_by_encoder(queries, among, network=network.eval())


def loop(queries: FloatArray, among: FloatArray) -> list[int]:
    """Return the nearest image of each query, one pair and one flip at a time."""
    first, second = torch.from_numpy(queries), torch.from_numpy(among)
    turned = [[query[None].flip([axis + 2 for axis in axes]) for axes in flips(3)] for query in first]
    shifts = (MAX_SHIFT,) * 3
    found = [
        [max(float(best_correlation(query, image[None], shifts)) for query in of_query) for image in second]
        for of_query in turned
    ]
    return [int(np.argmax(row)) for row in found]


def peak_memory(count: int) -> float:
    """Return what the searches add to the peak memory of a process of its own, in MiB."""
    command = [sys.executable, __file__, "peak", str(count)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    if sys.argv[1:2] == ["peak"]:
        one_thread()
        synthetic, training = (images(WHOLE, int(sys.argv[2]), seed=seed) for seed in (0, 1))
        before = own_peak_mib()
        by_correlation(synthetic, training)
        by_embeddings(synthetic, training)
        print(own_peak_mib() - before)
    else:
        show("Audit", measure(int(sys.argv[1]) if len(sys.argv) > 1 else CASES))
