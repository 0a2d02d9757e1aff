"""Is a synthetic cohort searched for copies fast enough, and in bounded memory?

Compares the two searches for the nearest training volume of every synthetic volume with a loop over all pairs that
correlates one pair and flip at a time, over all small shifts at once by the fast Fourier transform: the search by
normalised cross-correlation over the same shifts and flips, and that by embeddings. The loop is measured on 20 × 20
pairs and scaled to all. Also compares all searches of an audit in one view with ten minutes, and what both searches add
to the peak memory of a process that holds the volumes with 1 GiB.

``python benchmarks/audit.py 200`` takes 200 volumes in place of 1000.
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
from lesionforge.audit.correlation import Nearest, best_correlation, flips, nearest_by_correlation
from lesionforge.audit.encoder import nearest_by_encoder
from lesionforge.audit.views import unit
from lesionforge.cohort.scan import FloatArray

VOLUMES, SIDE, MAX_SHIFT, CANDIDATES, LOOPED = 1000, 32, 4, 8, 20
SEARCHES = 8
"""Of an audit in one view, by each of the two measures."""


def measure(count: int = VOLUMES) -> list[Comparison]:
    one_thread()
    synthetic, training = volumes(count, seed=0), volumes(count, seed=1)
    slow = processor_ms(lambda: loop(synthetic[:LOOPED], training[:LOOPED])) * (count / LOOPED) ** 2
    ours = {
        "correlation": processor_ms(lambda: by_correlation(synthetic, training)),
        "embeddings": processor_ms(lambda: by_embeddings(synthetic, training)),
    }
    return [
        *(
            Comparison(
                name=f"the nearest of {count} volumes of {SIDE}³ for {count} others",
                first=f"a loop over {LOOPED} × {LOOPED} pairs, scaled to all",
                second=f"ours, by {means}",
                pairs=[(slow, took)],
                at_least=50,
            )
            for means, took in ours.items()
        ),
        Comparison(
            name="all searches of an audit in one view",
            first="ours",
            second="ten minutes",
            pairs=[(SEARCHES * sum(ours.values()) / 1000, 600.0)],
            at_most=1,
            unit="s",
        ),
        Comparison(
            name=f"the peak memory of both searches among {count} volumes, beside the volumes",
            first="ours",
            second="1 GiB",
            pairs=[(peak_memory(count), 1024.0)],
            at_most=1,
            unit="MiB",
        ),
    ]


def volumes(count: int, *, seed: int) -> FloatArray:
    rng, made = np.random.default_rng(seed), np.empty((count, 1, SIDE, SIDE, SIDE), np.float32)
    for volume in made:
        volume[:] = unit(ndimage.gaussian_filter(rng.standard_normal(volume.shape, np.float32), (0, 2, 2, 2)))
    return made


def by_correlation(queries: FloatArray, among: FloatArray) -> Nearest:
    return nearest_by_correlation(queries, among, max_shift=MAX_SHIFT, candidates=CANDIDATES)


def by_embeddings(queries: FloatArray, among: FloatArray) -> Nearest:
    """Search with an encoder of the default size; its weights say nothing about its speed."""
    config = EncoderConfig()
    strides = (2,) * len(config.channels)
    network = Regressor((1, SIDE, SIDE, SIDE), (config.features,), config.channels, strides, num_res_units=0)
    return nearest_by_encoder(queries, among, network=network.eval())


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


def peak_memory(count: int) -> float:
    """Return what the searches add to the peak memory of a process of its own, in MiB."""
    command = [sys.executable, __file__, "peak", str(count)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    if sys.argv[1:2] == ["peak"]:
        one_thread()
        synthetic, training = (volumes(int(sys.argv[2]), seed=seed) for seed in (0, 1))
        before = own_peak_mib()
        by_correlation(synthetic, training)
        by_embeddings(synthetic, training)
        print(own_peak_mib() - before)
    else:
        show("Audit", measure(int(sys.argv[1]) if len(sys.argv) > 1 else VOLUMES))
