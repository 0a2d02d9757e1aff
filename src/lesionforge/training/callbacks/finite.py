"""Callback that stops a run when a loss or a weight is no longer finite."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from lesionforge.errors import TrainingError
from lesionforge.training.callbacks.log import is_logged

REMEDY = "lower the learning rate, or train with precision=32-true, in a new folder"


class StopAtNonFinite(Callback):
    """Callback that stops a run if a logged loss is not finite, or if a weight is not finite at the end of an epoch.

    Only logged losses are checked, because reading each loss would make a GPU wait. This is enough: once a loss is not
    finite, all later ones are not finite either.

    Args:
        out: the run's folder.
        epoch_steps: optimiser steps per epoch.
        batches: batches per step.
    """

    def __init__(self, out: Path, *, epoch_steps: int, batches: int) -> None:
        self.out, self.epoch_steps, self.batches = out, epoch_steps, batches

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Check the losses if they were logged for this batch.

        Raises:
            TrainingError: if a loss is not finite; it names the losses and the step.
        """
        if not is_logged(trainer):
            return
        losses = {name: value for name, value in trainer.callback_metrics.items() if name.startswith("train/")}
        bad = [name.removeprefix("train/") for name, value in losses.items() if not torch.isfinite(value)]
        if bad:
            step = trainer.current_epoch * self.epoch_steps + batch_idx // self.batches + 1
            what = f"{', '.join(bad)} {'is' if len(bad) == 1 else 'are'} not finite at step {step}"
            raise TrainingError(self.out, what, REMEDY)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Check the weights before anything is saved.

        Raises:
            TrainingError: if a weight is not finite.
        """
        check_weights(dict(pl_module.named_parameters()), self.out)


def check_weights(weights: Mapping[str, Tensor], out: Path, *, remedy: str = REMEDY) -> None:
    """Check that all weights are finite.

    Args:
        weights: name → tensor.
        out: the run's folder.
        remedy: what to do if they are not.

    Raises:
        TrainingError: if a weight is not finite.
    """
    finite = torch.stack([weight.detach().isfinite().all() for weight in weights.values()])
    if not finite.all():
        names = [name for name, fine in zip(weights, finite.tolist(), strict=True) if not fine]
        raise TrainingError(out, f"{len(names)} weights are not finite, first {names[0]}", remedy)
