"""Base module of every method that trains a generator against a critic."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from lesionforge.config import Options
from lesionforge.training.averaging import AveragingModule
from lesionforge.training.callbacks.log import is_logged
from lesionforge.training.rng import torch_seed

Batch = dict[str, Tensor]
Logs = dict[str, Tensor]


class AdversarialConfig(Options):
    """Options of adversarial training.

    Attributes:
        learning_rate: learning rate of both Adam optimisers.
        critic_learning_rate: learning rate of the critic, if it differs (two time scales, Heusel et al. 2017).
        beta1: first-moment decay of Adam.
        beta2: second-moment decay of Adam.
        ema_decay: decay of the moving average of the generator's weights; after n steps it is at most
            (1 + n) / (10 + n). 0 keeps the weights of the last step.
        pool_size: number of earlier fakes kept to show the critic (Shrivastava et al. 2017); 0 shows only new ones.
        clip_norm: upper bound on the norm of each network's gradient, or ``None`` for no bound.
        n_critic: critic steps per generator step; each uses its own batches.
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
    """Pool of earlier fakes; once it is full, about half of the fakes shown to the critic come from it.

    The fakes are stored in a buffer, so checkpoints contain them.
    """

    images: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("images", torch.empty(0))

    def exchange(self, fakes: Tensor) -> Tensor:
        """Add fakes to the pool; once it is full, swap each fake for an earlier one with probability ½.

        Args:
            fakes: ``(batch, channel, x, y[, z])``.

        Returns:
            The fakes to show the critic, in the same shape.
        """
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
    """Lightning module that trains a generator and a critic in turn.

    One training step updates the generator once and then the critic ``n_critic`` times on real images and pooled fakes.
    It uses ``n_critic · accumulate`` batches. The generator and the first critic step share the first ``accumulate``
    batches and their fakes; each further critic step uses the next ``accumulate`` batches with new fakes.

    A method implements the two losses. This class handles the order of the steps, gradient accumulation, clipping,
    weight averaging and randomness. All randomness of a step is derived from (seed, epoch, batch, rank), so a resumed
    run gives the same result as an uninterrupted one.
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
        """Return the generator's loss, the fakes to show the critic, and values to log."""

    def fakes(self, batch: Batch) -> Tensor:
        """Return only the fakes of :meth:`generator_loss`, for a further critic step that is not logged."""
        return self.generator_loss(batch)[1]

    @abstractmethod
    def critic_loss(self, batch: Batch, fakes: Tensor) -> tuple[Tensor, Logs]:
        """Return the critic's loss on the real images of the batch and on ``fakes``, and values to log."""

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return two Adam optimisers: the generator's, then the critic's."""
        config = self.config
        rates = (config.learning_rate, config.critic_learning_rate or config.learning_rate)
        return [
            torch.optim.Adam(network.parameters(), lr=rate, betas=(config.beta1, config.beta2))
            for network, rate in zip((self.generator, self.critic), rates, strict=True)
        ]

    @property
    def batches_per_step(self) -> int:
        """Number of batches per optimiser step of the generator: ``accumulate`` for each critic step."""
        return self.accumulate * self.config.n_critic

    def training_step(self, batch: Batch, batch_index: int) -> None:
        """Train on one batch: the generator and the critic in the first critic step, the critic alone in later ones.

        A network's gradient is the mean over the ``accumulate`` batches of its step.
        """
        critic_step, part = divmod(batch_index % self.batches_per_step, self.accumulate)
        ends = {"first": part == 0, "last": part == self.accumulate - 1}
        of_generator, of_critic = self.optimizers()
        logged = is_logged(self.trainer)
        with torch_seed(self.seed, "step", self.current_epoch, batch_index, self.global_rank):
            if critic_step == 0:
                self.toggle_optimizer(of_generator)
                loss_g, fakes, logs_g = self.generator_loss(batch)
                self._descend(of_generator, loss_g, self.generator.parameters(), **ends)
                self.untoggle_optimizer(of_generator)
            elif logged:
                with torch.no_grad():
                    loss_g, fakes, logs_g = self.generator_loss(batch)
            else:
                with torch.no_grad():
                    fakes = self.fakes(batch)
            self.toggle_optimizer(of_critic)
            loss_d, logs_d = self.critic_loss(batch, self.pool.exchange(fakes))
            self._descend(of_critic, loss_d, self.critic.parameters(), **ends)
            self.untoggle_optimizer(of_critic)
        if (batch_index + 1) % self.batches_per_step == 0:
            self.update_average()
        if logged:
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
