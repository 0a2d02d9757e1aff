"""How far a run has come, in plain lines: for logs, and wherever no bar can be drawn."""

from __future__ import annotations

import sys
import time
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback


def steps_done(trainer: lightning.Trainer, batch_index: int, *, epoch_steps: int, batches: int) -> int:
    """Return how many optimiser steps a run has made after a batch of its epoch.

    Args:
        trainer: of the run.
        batch_index: counted from 0 in each epoch.
        epoch_steps: optimiser steps of an epoch.
        batches: of a step.
    """
    return trainer.current_epoch * epoch_steps + (batch_index + 1) // batches


class PlainProgress(Callback):
    """Prints step and losses to stderr, at most every ``seconds``.

    Args:
        name: of the run, for a log that several runs write to.
        steps: of the whole run; ``None`` where time ends it.
        epoch_steps: optimiser steps of an epoch.
        batches: of a step.
        seconds: between two lines.
    """

    def __init__(
        self, name: str, *, steps: int | None, epoch_steps: int, batches: int = 1, seconds: float = 30.0
    ) -> None:
        self.name, self.steps, self.seconds = name, steps, seconds
        self.epoch_steps, self.batches = epoch_steps, batches
        self.start = self.last = time.monotonic()

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start the clock."""
        self.start = self.last = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Print a line if it is time."""
        now = time.monotonic()
        if not trainer.is_global_zero or now - self.last < self.seconds:
            return
        self.last = now
        step = steps_done(trainer, batch_idx, epoch_steps=self.epoch_steps, batches=self.batches)
        done = f"step {step}" if self.steps is None else f"step {step} of {self.steps}"
        losses = [f"{name.removeprefix('train/')} {float(v):.3g}" for name, v in trainer.callback_metrics.items()]
        line = ", ".join([done, f"{(now - self.start) / 60:.1f} min", *losses])
        print(f"{self.name}: {line}", file=sys.stderr, flush=True)
