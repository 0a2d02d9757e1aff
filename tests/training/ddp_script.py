"""Two processes on the CPU train pix2pix; a test runs this file as a program.

Usage: ddp_script.py OUT COHORT. Writes ``rank0.pt``, ``rank1.pt``, ``report.jsonl`` and ``model`` into OUT.
"""

import json
import sys
from pathlib import Path

import torch
from lightning.pytorch.callbacks import Callback

from lesionforge.cohort.layouts import read_cohort
from lesionforge.training import loop
from lesionforge.training.quiet import quiet
from tests.training.runs import fit_pix2pix, with_callback


class Keep(Callback):
    """Writes what each process was given and has at the end."""

    def __init__(self, out):
        self.out, self.noise = out, []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.noise.extend(batch["condition"][:, -1].sum((1, 2)).tolist())

    def on_train_end(self, trainer, pl_module):
        torch.save({"state": pl_module.state_dict(), "items": self.noise}, self.out / f"rank{trainer.global_rank}.pt")


def main():
    """Train with all that is hard to hand to other processes: spectral norm, EMA, pool, critic steps, previews."""
    quiet()
    out = Path(sys.argv[1])
    loop._callbacks = with_callback(loop._callbacks, Keep(out))
    optimiser = {"pool_size": 5, "ema_decay": 0.9, "clip_norm": 0.5, "learning_rate": 0.01, "n_critic": 2}
    config = {"spectral_norm": True, "optimiser": optimiser}
    model = fit_pix2pix(read_cohort(Path(sys.argv[2])), out / "model", 2, devices=2, steps=3, config=config)
    weights = sum(float(tensor.abs().sum()) for tensor in model.tensors().values())
    with (out / "report.jsonl").open("a") as file:
        file.write(json.dumps({"steps": model.info.training["steps"], "weights": weights}) + "\n")


if __name__ == "__main__":
    main()
