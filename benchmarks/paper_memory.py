"""How much memory does a training step of mask_cyclegan take at the published size?

Trains one step at full width on a crop of 160 × 146 × 32 voxels and on one of half the depth, each in a process of its
own, and continues their peak memory, which grows with the number of voxels, to the published batch of four crops.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from comparison import Comparison, show
from data import one_thread
from memory import own_peak_mib

from lesionforge.benchmark.kinds import study_plan
from lesionforge.benchmark.plan_file import PRESETS
from lesionforge.healers.registry import HEALERS
from lesionforge.testing import tiny_cohort
from lesionforge.training.loop import TrainingConfig

BATCH, CARD_GIB = 4, 80


def measure() -> list[Comparison]:
    half, whole = peak_mib(0.5), peak_mib(1.0)
    return [
        Comparison(
            name=f"a step of {BATCH} crops, from {half / 1024:.1f} GiB for half a crop and {whole / 1024:.1f} for one",
            first="its peak memory",
            second=f"a GPU of {CARD_GIB} GiB",
            pairs=[(whole + (BATCH - 1) * 2 * (whole - half), 1024.0 * CARD_GIB)],
            at_most=1,
            unit="MiB",
        )
    ]


def peak_mib(crop: float) -> float:
    """Return the peak memory of a process of its own that trains one step on a crop of this share of the depth."""
    command = [sys.executable, __file__, str(crop)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def train(crop: float) -> float:
    """Train one step on a crop of this share of the depth and return the peak memory of this process in MiB."""
    one_thread()
    plan = study_plan(PRESETS["microbleeds"], scale="paper")
    options = dict(plan.synthesizers["cycle"].options)
    *plane, depth = options["roi_size"]
    options["roi_size"] = (*plane, round(crop * depth))
    with TemporaryDirectory() as name:
        folder = Path(name)
        cohort = tiny_cohort(
            folder / "cohort", spatial_dims=3, n_subjects=2, n_healthy=1, shape=options["roi_size"], channels=("SWI",)
        )
        training = TrainingConfig(steps=1, batch_size=1, epoch_steps=1, device="cpu", preview_minutes=None)
        HEALERS["mask_cyclegan"].fit(
            cohort, channels=cohort.channels, config=options, training=training, out=folder / "model"
        )
    return own_peak_mib()


if __name__ == "__main__":
    if len(sys.argv) == 2:
        print(train(float(sys.argv[1])))
    else:
        show("Memory of mask_cyclegan at the published size", measure())
