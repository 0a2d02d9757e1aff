"""Two processes on the CPU train; this file is run as a program by a test.

Usage: ddp_script.py OUT COHORT. Writes ``OUT/report.json``.
"""

import json
import os
import sys
from pathlib import Path

import torch
from lightning.pytorch.callbacks import Callback

from lesionforge.cohort.layouts import read_cohort
from lesionforge.training.loop import fit
from lesionforge.training.quiet import quiet
from tests.training.runs import Numbers, Recorder, fit_pix2pix, fit_segmentation, training


class KeepWeights(Callback):
    """Writes what each process has at the end."""

    def __init__(self, out):
        self.out = out

    def on_train_end(self, trainer, pl_module):
        content = {"weights": dict(pl_module.state_dict()), "batches": pl_module.batches}
        torch.save(content, self.out / f"rank{trainer.global_rank}.pt")


def main():
    """Train a single weight, pix2pix with a spectrally normalised critic, and a segmentation network."""
    quiet()
    out, cohort = Path(sys.argv[1]), read_cohort(Path(sys.argv[2]))
    module = Recorder()
    steps = fit(
        module,
        Numbers(),
        out=out / "plain",
        config=training(devices=2, accumulate=1, steps=3),
        callbacks=(KeepWeights(out),),
    )
    config = {"spectral_norm": True}
    model = fit_pix2pix(cohort, out / "pix2pix", 2, devices=2, steps=2, epoch_steps=1, config=config)
    fit_segmentation(cohort, out / "segmentation", 2, devices=2, steps=2)
    report = {
        "weight": module.weight.item(),
        "steps": steps,
        "model_steps": model.info.training["steps"],
        "process": os.getpid(),
    }
    with (out / "report.jsonl").open("a") as file:
        file.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
