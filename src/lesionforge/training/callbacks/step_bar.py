"""Progress of a run: a bar on a terminal, plain lines in a log; and the time budget that ends a run."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback, Timer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def steps_done(trainer: lightning.Trainer, batch_index: int, *, epoch_steps: int, batches: int) -> int:
    """Return the number of optimiser steps that a run has made after a batch.

    Args:
        trainer: the trainer of the run.
        batch_index: number of the batch, counted from 0 in each epoch.
        epoch_steps: optimiser steps per epoch.
        batches: batches per step.
    """
    return trainer.current_epoch * epoch_steps + (batch_index + 1) // batches


class PlainProgress(Callback):
    """Callback that prints the step and the losses to stderr, at most every ``seconds``.

    Args:
        name: name of the run, to tell several runs apart in one log.
        steps: total number of steps; ``None`` if a time budget ends the run.
        epoch_steps: optimiser steps per epoch.
        batches: batches per step.
        seconds: minimum time between two lines.
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
        """Print a line if one is due."""
        now = time.monotonic()
        if not trainer.is_global_zero or now - self.last < self.seconds:
            return
        self.last = now
        step = steps_done(trainer, batch_idx, epoch_steps=self.epoch_steps, batches=self.batches)
        done = f"step {step}" if self.steps is None else f"step {step} of {self.steps}"
        line = ", ".join([done, f"{(now - self.start) / 60:.1f} min", *_losses(trainer)])
        print(f"{self.name}: {line}", file=sys.stderr, flush=True)


class ProgressBar(Callback):
    """Callback that shows a progress bar of optimiser steps on the terminal.

    Args:
        name: name of the run.
        steps: total number of steps; ``None`` if a time budget ends the run.
        epoch_steps: optimiser steps per epoch.
        batches: batches per step.
    """

    def __init__(self, name: str, *, steps: int | None, epoch_steps: int, batches: int = 1) -> None:
        self.name, self.steps, self.epoch_steps, self.batches = name, steps, epoch_steps, batches
        self.progress: Progress | None = None

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Show the bar."""
        if not trainer.is_global_zero:
            return
        columns = TextColumn("{task.description}"), BarColumn(), TextColumn("step"), MofNCompleteColumn()
        times = TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[losses]}")
        self.progress = Progress(*columns, *times, console=Console(stderr=True))
        done = trainer.current_epoch * self.epoch_steps
        self.bar = self.progress.add_task(self.name, total=self.steps, completed=done, losses="")
        self.progress.start()

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Update the bar."""
        if self.progress is not None:
            step = steps_done(trainer, batch_idx, epoch_steps=self.epoch_steps, batches=self.batches)
            self.progress.update(self.bar, completed=step, losses=", ".join(_losses(trainer)))

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Stop the bar and leave it on the screen."""
        if self.progress is not None:
            self.progress.stop()

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Stop the bar before the error message is printed."""
        if self.progress is not None:
            self.progress.stop()


def _losses(trainer: lightning.Trainer) -> list[str]:
    return [f"{name.removeprefix('train/')} {float(value):.3g}" for name, value in trainer.callback_metrics.items()]


class TimeBudget(Timer):
    """Callback that ends a run at the last epoch that fits the budget; a resumed run gets the remaining time.

    Args:
        seconds: seconds of training.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(timedelta(seconds=seconds), interval="epoch", verbose=False)
        self.longest = self.began = 0.0

    def on_fit_start(self, trainer: lightning.Trainer, *args: Any, **kwargs: Any) -> None:
        """Stop at once if the earlier run left too little time."""
        self._end_if_spent(trainer)

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start timing an epoch."""
        self.began = self.time_elapsed()

    def on_train_epoch_end(self, trainer: lightning.Trainer, *args: Any, **kwargs: Any) -> None:
        """Stop the run if another epoch as long as the longest one would not fit."""
        self.longest = max(self.longest, self.time_elapsed() - self.began)
        self._end_if_spent(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Return the elapsed time and the duration of the longest epoch."""
        return {**super().state_dict(), "longest": self.longest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the times of the earlier run."""
        super().load_state_dict(state_dict)
        self.longest = float(state_dict["longest"])

    def _end_if_spent(self, trainer: lightning.Trainer) -> None:
        left = self.time_remaining()
        assert left is not None
        trainer.should_stop = trainer.should_stop or trainer.strategy.broadcast(left <= 0 or left < self.longest)
