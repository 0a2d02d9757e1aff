"""An adversarial game as pseudo-healthy synthesis plays it, its gradient penalty included."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lesionforge.losses.adversarial import ADVERSARIAL_LOSSES
from lesionforge.losses.gradient_penalty import gradient_penalty

Critic = Callable[[Tensor], Tensor]


class AdversarialGame:
    """Losses of both sides: ½ E[(D(real) − 1)²] + ½ E[D(fake)²] and ½ E[(D(fake) − 1)²] with least squares.

    Source: Xia et al. 2019 (arXiv 1901.07295), L_GAN1 and L_GAN2, with the square that is missing there and the labels
    that make D's side a minimum. As printed (max over D) it is ``bounded``, for which D ends in a sigmoid. The
    Wasserstein game has no halves: E[D(fake)] − E[D(real)] + λ · penalty, and −E[D(fake)].

    Args:
        name: ``lsgan``, ``bounded`` or ``wgan``.
        lambda_gp: weight of the gradient penalty, with ``wgan``.
    """

    def __init__(self, name: str, *, lambda_gp: float = 10.0) -> None:
        self.loss, self.lambda_gp = ADVERSARIAL_LOSSES[name], lambda_gp
        self.penalised = name == "wgan"
        self.share = 1.0 if self.penalised else 0.5

    def generator_loss(self, critic: Critic, fake: Tensor) -> Tensor:
        """Return the generator's loss on its fakes.

        Args:
            critic: gives the logits.
            fake: ``(batch, channel, x, y[, z])``.
        """
        return self.share * self.loss.generator(self._judge(critic, fake))

    def critic_loss(self, critic: Critic, real: Tensor, fake: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the critic's loss and, of the Wasserstein game, the distance and the penalty that it is made of.

        Args:
            critic: gives the logits; it must not mix the items of a batch.
            real: ``(batch, channel, x, y[, z])``.
            fake: ``(n · batch, channel, x, y[, z])``.
        """
        judged = self._judge(critic, real), self._judge(critic, fake)
        loss = 2 * self.share * self.loss.critic_loss(*judged)
        if not self.penalised:
            return loss, {}
        alike = real.repeat(len(fake) // len(real), *[1] * (real.dim() - 1))
        penalty = gradient_penalty(critic, alike, fake)
        return loss + self.lambda_gp * penalty, {"wasserstein": -loss, "penalty": penalty}

    def _judge(self, critic: Critic, images: Tensor) -> Tensor:
        """Return the logits; those of a critic whose gradient is penalised in fp32, as the penalty sees them."""
        if not self.penalised:
            return critic(images)
        with torch.autocast(images.device.type, enabled=False):
            return critic(images.float())
