"""Base module that averages the generator's weights over the training steps."""

from __future__ import annotations

from functools import partial
from typing import Any

import lightning
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class AveragingModule(lightning.LightningModule):
    """Lightning module with a generator and an exponential moving average (EMA) of its weights.

    After n steps the decay is at most (1 + n) / (10 + n), so that a short training forgets its first weights.

    The average is updated after every step of Lightning's automatic optimisation. A module with manual optimisation,
    such as :class:`~lesionforge.training.adversarial_step.AdversarialModule`, calls :meth:`update_average` after each
    step.

    Args:
        generator: the network or networks to average.
        ema_decay: decay of the average; 0 keeps the weights of the last step.
    """

    def __init__(self, generator: nn.Module, *, ema_decay: float) -> None:
        super().__init__()
        self.generator, self.ema_decay = generator, ema_decay
        self.averaged = AveragedModel(
            generator, multi_avg_fn=partial(_average, decay=ema_decay), use_buffers=True
        ).requires_grad_(False)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Update the weights, then the average."""
        super().optimizer_step(*args, **kwargs)
        self.update_average()

    def update_average(self) -> None:
        """Move the averaged weights towards the generator's current weights."""
        self.averaged.update_parameters(self.generator)

    @property
    def result(self) -> nn.Module:
        """The generator to keep: the averaged one, or the last one if ``ema_decay`` is 0."""
        return self.averaged.module if self.ema_decay > 0 else self.generator


def _average(averaged: list[Tensor], current: list[Tensor], count: Any, *, decay: float) -> None:
    """Move ``averaged`` towards ``current`` in place; defined at module level so that it can be pickled."""
    warm = (1 + int(count)) / (10 + int(count))
    get_ema_multi_avg_fn(min(decay, warm))(averaged, current, count)
