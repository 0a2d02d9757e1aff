"""The base of every method that trains a generator against a critic."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from lesionforge.config import Options
from lesionforge.training.averaging import AveragingModule
from lesionforge.training.log import is_logged
from lesionforge.training.rng import torch_seed

Batch = dict[str, Tensor]
Logs = dict[str, Tensor]


class AdversarialConfig(Options):
    """Optimisation of two networks against each other.

    Attributes:
        learning_rate: of both Adam optimisers.
        critic_learning_rate: of the critic's alone (two time scales, Heusel et al. 2017); the same unless given.
        beta1: first-moment decay of Adam.
        beta2: second-moment decay of Adam.
        ema_decay: decay of the averaged generator that synthesizes; 0 takes the last weights.
        pool_size: earlier fakes kept to show the critic (Shrivastava et al. 2017); 0 shows only new ones.
        clip_norm: bound on the norm of each network's gradient, or ``None``.
        n_critic: critic steps for each of the generator's; each takes whole batches of its own.
    """

    learning_rate: float = Field(default=2e-4, gt=0)
    critic_learning_rate: float | None = Field(default=None, gt=0)
    beta1: float = Field(default=0.5, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    ema_decay: float = Field(default=0.995, ge=0, lt=1)
    pool_size: int = Field(default=50, ge=0)
    clip_norm: float | None = None
    n_critic: int = Field(default=1, ge=1)


class ImagePool(nn.Module):
    """Earlier fakes; half of what the critic sees comes from here once it is full.

    Its content is a buffer, so checkpoints hold it.
    """

    images: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("images", torch.empty(0))

    def exchange(self, fakes: Tensor) -> Tensor:
        """Return ``(batch, channel, x, y[, z])`` fakes, each swapped for an earlier one with probability ½."""
        if self.size == 0:
            return fakes
        shown = []
        for fake in fakes.detach():
            if len(self.images) < self.size:
                self.images = torch.cat([self.images, fake[None]]) if len(self.images) else fake[None].clone()
            elif torch.rand(()) < 0.5:
                slot = int(torch.randint(self.size, ()))
                earlier = self.images[slot].clone()
                self.images[slot] = fake
                fake = earlier
            shown.append(fake)
        return torch.stack(shown)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        self.images = torch.empty_like(state_dict[f"{prefix}images"], device=self.images.device)
        super()._load_from_state_dict(state_dict, prefix, *args)


class AdversarialModule(AveragingModule):
    """One step: the generator against the critic, then the critic on real and pooled fakes, once or several times.

    A step takes ``n_critic · accumulate`` batches. The generator and the critic's first step share the first
    ``accumulate`` of them, and the fakes; each further step of the critic takes the next ones, with new fakes.
    A method says what its two losses are; the order, accumulation, clipping, averaging and randomness are here.
    All randomness of a step comes from (seed, epoch, batch), so a resumed run repeats an uninterrupted one.
    """

    def __init__(
        self, generator: nn.Module, critic: nn.Module, *, config: AdversarialConfig, seed: int, accumulate: int = 1
    ) -> None:
        super().__init__(generator, ema_decay=config.ema_decay)
        self.automatic_optimization = False
        self.critic, self.pool = critic, ImagePool(config.pool_size)
        self.config, self.seed, self.accumulate = config, seed, accumulate

    @abstractmethod
    def generator_loss(self, batch: Batch) -> tuple[Tensor, Tensor, Logs]:
        """Return the generator's loss, the fakes that the critic shall see, and numbers to log."""

    @abstractmethod
    def critic_loss(self, batch: Batch, fakes: Tensor) -> tuple[Tensor, Logs]:
        """Return the critic's loss on the batch's real images and on ``fakes``, and numbers to log."""

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Two Adam optimisers, the generator's first."""
        config = self.config
        rates = (config.learning_rate, config.critic_learning_rate or config.learning_rate)
        return [
            torch.optim.Adam(network.parameters(), lr=rate, betas=(config.beta1, config.beta2))
            for network, rate in zip((self.generator, self.critic), rates, strict=True)
        ]

    @property
    def batches_per_step(self) -> int:
        """Batches of an optimiser step of the generator: ``accumulate`` for each step of the critic."""
        return self.accumulate * self.config.n_critic

    def training_step(self, batch: Batch, batch_index: int) -> None:
        """Take one batch of a step: of the generator and the critic's first step, or of one of its further steps.

        A network's gradient is the mean over the ``accumulate`` batches of its step.
        """
        critic_step, part = divmod(batch_index % self.batches_per_step, self.accumulate)
        ends = {"first": part == 0, "last": part == self.accumulate - 1}
        of_generator, of_critic = self.optimizers()
        with torch_seed(self.seed, "step", self.current_epoch, batch_index, self.global_rank):
            if critic_step == 0:
                self.toggle_optimizer(of_generator)
                loss_g, fakes, logs_g = self.generator_loss(batch)
                self._descend(of_generator, loss_g, self.generator.parameters(), **ends)
                self.untoggle_optimizer(of_generator)
            else:
                with torch.no_grad():
                    loss_g, fakes, logs_g = self.generator_loss(batch)
            self.toggle_optimizer(of_critic)
            loss_d, logs_d = self.critic_loss(batch, self.pool.exchange(fakes))
            self._descend(of_critic, loss_d, self.critic.parameters(), **ends)
            self.untoggle_optimizer(of_critic)
        if (batch_index + 1) % self.batches_per_step == 0:
            self.update_average()
        if is_logged(self.trainer):
            losses = {"loss_g": loss_g, "loss_d": loss_d, **logs_g, **logs_d}
            self.log_dict({f"train/{name}": value.detach() for name, value in losses.items()}, prog_bar=True)

    def _descend(
        self, optimizer: Any, loss: Tensor, weights: Iterable[nn.Parameter], *, first: bool, last: bool
    ) -> None:
        if first:
            optimizer.zero_grad()
        self.manual_backward(loss / self.accumulate)
        if last:
            if self.config.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(weights, self.config.clip_norm)
            optimizer.step()
