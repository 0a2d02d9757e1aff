"""The training step of a segmentation network."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from monai.losses import DiceCELoss
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from lesionforge.errors import ConfigError
from lesionforge.training.log import is_logged
from lesionforge.training.rng import torch_seed

WARM_UP, CLIP_NORM = 0.1, 1.0
"""Share of the steps over which the rate rises, and the bound on the norm of the gradient."""


class SegmentationModule(lightning.LightningModule):
    """Cross-entropy plus Dice, Adam, and a rate that rises over the first tenth and falls to zero as (1 − t)^0.9.

    Dice is over the batch and over the lesion classes alone, as in nnU-Net. With the background among its classes, a
    network that finds nothing has solved a part of it, and some trainings on small lesions stay there.

    Args:
        network: ``(batch, channel, x, y[, z])`` to logits of every class.
        learning_rate: at the first step.
        steps: after which the rate is zero.
        seed: randomness of dropout comes from it and the step.
    """

    def __init__(self, network: nn.Module, *, learning_rate: float, steps: int, seed: int) -> None:
        super().__init__()
        self.network, self.learning_rate, self.steps, self.seed = network, learning_rate, steps, seed
        self.loss = DiceCELoss(to_onehot_y=True, softmax=True, batch=True, include_background=False)

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """Return the loss of a batch."""
        with torch_seed(self.seed, "step", self.current_epoch, batch_index, self.global_rank):
            loss = torch.as_tensor(self.loss(self.network(batch["image"]), batch["label"]))
        if is_logged(self.trainer):
            self.log("train/loss", loss.detach(), prog_bar=True)
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Bound the norm of the gradient: a few steep first steps can end where nothing is found."""
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), CLIP_NORM)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the length of the run, on which the rate depends."""
        checkpoint["steps"] = self.steps

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """See that the rate falls as the resumed run began to let it fall.

        Raises:
            ConfigError: if that run had another length.
        """
        before = checkpoint["steps"]
        if before != self.steps:
            what = f"was started for {before} steps, not {self.steps}, and its learning rate depends on that"
            raise ConfigError("the run to resume", what, "resume it as it was started, or name a new folder")

    def configure_optimizers(self) -> Any:
        """Adam with :meth:`rate` per step."""
        optimizer = torch.optim.Adam(self.network.parameters(), lr=self.learning_rate)
        schedule = LambdaLR(optimizer, self.rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def rate(self, step: int) -> float:
        """Return the share of the learning rate at a step, counted from 0."""
        left = max(0.0, 1 - step / self.steps)
        return float(min(1.0, (step + 1) / (WARM_UP * self.steps)) * left**0.9)
