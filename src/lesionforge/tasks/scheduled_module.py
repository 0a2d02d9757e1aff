"""The Lightning module that every task trains with: Adam with a warm-up and a decaying learning rate."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from lesionforge.errors import ConfigError
from lesionforge.training.loss_module import LossModule

WARM_UP, CLIP_NORM = 0.1, 1.0
"""Share of the steps over which the learning rate rises, and the upper bound on the gradient norm."""


class ScheduledModule(LossModule):
    """Lightning module that trains a network with Adam; a task implements ``loss_of``, see :class:`LossModule`.

    The learning rate rises over the first tenth of the steps and decays to zero as (1 − t)^0.9.

    Args:
        network: the network to train.
        learning_rate: peak learning rate.
        steps: number of steps after which the learning rate is zero.
        seed: seed of the dropout, which also depends on the step.
    """

    def __init__(self, network: nn.Module, *, learning_rate: float, steps: int, seed: int) -> None:
        super().__init__()
        self.network, self.learning_rate, self.steps, self.seed = network, learning_rate, steps, seed

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip the gradient norm; large first steps can lead to a network that finds nothing."""
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), CLIP_NORM)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the number of steps, which the learning rate depends on."""
        checkpoint["steps"] = self.steps

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the resumed run has the same number of steps, so that the learning rate follows the same schedule.

        Raises:
            ConfigError: if the number of steps differs.
        """
        before = checkpoint["steps"]
        if before != self.steps:
            what = f"was started for {before} steps, not {self.steps}, and its learning rate depends on that"
            raise ConfigError("the run to resume", what, "resume it as it was started, or name a new folder")

    def configure_optimizers(self) -> Any:
        """Return Adam with the schedule :meth:`rate`, updated every step."""
        optimizer = torch.optim.Adam(self.network.parameters(), lr=self.learning_rate)
        schedule = LambdaLR(optimizer, self.rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def rate(self, step: int) -> float:
        """Return the factor on the learning rate at a step, counted from 0."""
        left = max(0.0, 1 - step / self.steps)
        return float(min(1.0, (step + 1) / (WARM_UP * self.steps)) * left**0.9)
