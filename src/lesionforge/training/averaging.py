"""The base of every module whose generator is kept: it averages the generator's weights over the steps of a run."""

from __future__ import annotations

from functools import partial
from typing import Any

import lightning
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class AveragingModule(lightning.LightningModule):
    """A module with a generator and the exponential moving average of its weights, one of which is kept.

    The average follows every step of Lightning's automatic optimisation. A module that takes its steps itself, such as
    :class:`~lesionforge.training.adversarial_step.AdversarialModule`, calls :meth:`update_average` after each.

    Args:
        generator: the network, or networks, to keep.
        ema_decay: of the average; 0 keeps the last weights.
    """

    def __init__(self, generator: nn.Module, *, ema_decay: float) -> None:
        super().__init__()
        self.generator, self.ema_decay = generator, ema_decay
        self.averaged = AveragedModel(
            generator, multi_avg_fn=partial(_average, decay=ema_decay), use_buffers=True
        ).requires_grad_(False)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then average."""
        super().optimizer_step(*args, **kwargs)
        self.update_average()

    def update_average(self) -> None:
        """Move the average towards the generator's weights."""
        self.averaged.update_parameters(self.generator)

    @property
    def result(self) -> nn.Module:
        """The generator to keep: the averaged one, or the last."""
        return self.averaged.module if self.ema_decay > 0 else self.generator


def _average(averaged: list[Tensor], current: list[Tensor], count: Any, *, decay: float) -> None:
    """Move ``averaged`` towards ``current`` in place; a function of the module, so that processes can be handed it."""
    get_ema_multi_avg_fn(decay)(averaged, current, count)
