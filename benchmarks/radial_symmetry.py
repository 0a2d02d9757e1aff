"""Is the radial symmetry transform fast enough for whole brains?

Compares the transform of a volume of noise, in which every voxel votes, with a plain Python loop over the voxels of a
small part of it, scaled to the same number of voxels; and its peak memory with 1 GiB.
"""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
from comparison import Comparison, alternate, show
from data import one_thread
from memory import own_peak_mib

from lesionforge.cohort.scan import FloatArray
from lesionforge.tasks.detection.radial_symmetry import radial_symmetry

SHAPE, PART, RADII, ROUNDS = (192, 192, 160), (24, 24, 20), (1.0, 2.0, 3.0, 4.0, 5.0), 2
SPACING = (1.0, 1.0, 1.0)


def measure() -> list[Comparison]:
    one_thread()
    volume, part = noise(SHAPE), noise(PART)
    times = volume.size / part.size
    pairs = alternate(ROUNDS, lambda: loop(part), lambda: radial_symmetry(volume, SPACING, radii_mm=RADII))
    return [
        Comparison(
            name=f"radial symmetry over {' × '.join(map(str, SHAPE))} voxels, radii 1 to 5",
            first="a loop over voxels",
            second="ours",
            pairs=[(slow * times, ours) for slow, ours in pairs],
            at_least=20,
        ),
        Comparison(
            name="its peak memory, beside that of the libraries",
            first="ours",
            second="1 GiB",
            pairs=[(peak_memory(), 1024.0)],
            at_most=1,
            unit="MiB",
        ),
    ]


def noise(shape: tuple[int, ...]) -> FloatArray:
    return np.random.default_rng(0).normal(100, 20, shape).astype(np.float32)


def loop(image: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Collect the votes of the formulas voxel by voxel; the sums over radii and the smoothing are left out."""
    gradient = np.stack(np.gradient(image))
    counts, magnitudes = np.zeros((len(RADII), *image.shape)), np.zeros((len(RADII), *image.shape))
    for place in itertools.product(*map(range, image.shape)):
        towards = gradient[(slice(None), *place)]
        strength = float(np.sqrt((towards**2).sum()))
        if strength == 0:
            continue
        for number, radius in enumerate(RADII):
            at = tuple(round(p - radius * g / strength) for p, g in zip(place, towards, strict=True))
            if all(0 <= p < n for p, n in zip(at, image.shape, strict=True)):
                counts[(number, *at)] += 1
                magnitudes[(number, *at)] += strength
    return counts, magnitudes


def peak_memory() -> float:
    """Return what transforming one volume adds to the peak memory of a process of its own, in MiB."""
    command = [sys.executable, __file__, "peak"]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    if sys.argv[1:] == ["peak"]:
        before = own_peak_mib()
        radial_symmetry(noise(SHAPE), SPACING, radii_mm=RADII)
        print(own_peak_mib() - before)
    else:
        show("Radial symmetry", measure())
