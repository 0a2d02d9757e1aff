"""Base module of trainings with one loss."""

from __future__ import annotations

from abc import abstractmethod

import lightning
from torch import Tensor

from lesionforge.training.callbacks.log import is_logged
from lesionforge.training.rng import torch_seed


class LossModule(lightning.LightningModule):
    """Lightning module that minimises one loss; a subclass implements :meth:`loss_of`.

    Attributes:
        seed: seed of all randomness of a step, such as dropout, which also depends on the step.
    """

    seed: int

    @abstractmethod
    def loss_of(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the loss of a batch."""

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """Return the loss of a batch, and log it."""
        with torch_seed(self.seed, "step", self.current_epoch, batch_index, self.global_rank):
            loss = self.loss_of(batch)
        if is_logged(self.trainer):
            self.log("train/loss", loss.detach(), prog_bar=True)
        return loss
