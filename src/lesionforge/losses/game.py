"""The adversarial games of pseudo-healthy synthesis, with the gradient penalty."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lesionforge.losses.adversarial import ADVERSARIAL_LOSSES
from lesionforge.losses.gradient_penalty import gradient_penalty

Critic = Callable[[Tensor], Tensor]


class AdversarialGame:
    """Critic loss and generator loss of an adversarial game.

    With least squares, the critic loss is ½ E[(D(real) − 1)²] + ½ E[D(fake)²] and the generator loss is
    ½ E[(D(fake) − 1)²]. The Wasserstein game has no factors of ½: the critic loss is
    E[D(fake)] − E[D(real)] + λ · penalty and the generator loss is −E[D(fake)].

    Source: Xia et al. 2019 (arXiv 1901.07295), L_GAN1 and L_GAN2. Two misprints are corrected: the missing square, and
    the labels, so that D minimises its loss. ``bounded`` is the loss as printed (max over D) with a sigmoid at the end
    of D.

    Args:
        name: ``lsgan``, ``bounded`` or ``wgan``.
        lambda_gp: weight of the gradient penalty; only used with ``wgan``.
    """

    def __init__(self, name: str, *, lambda_gp: float = 10.0) -> None:
        self.loss, self.lambda_gp = ADVERSARIAL_LOSSES[name], lambda_gp
        self.penalised = name == "wgan"
        self.share = 1.0 if self.penalised else 0.5

    def generator_loss(self, critic: Critic, fake: Tensor) -> Tensor:
        """Return the generator loss of fake images.

        Args:
            critic: network that returns logits.
            fake: ``(batch, channel, x, y[, z])``.
        """
        return self.share * self.loss.generator(self._judge(critic, fake))

    def critic_loss(self, critic: Critic, real: Tensor, fake: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the critic loss and the values to log: the distance and the penalty with ``wgan``, otherwise none.

        Args:
            critic: network that returns logits; it must not mix the items of a batch.
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
        """Return the critic's logits; with a gradient penalty in fp32, as the penalty computes them."""
        if not self.penalised:
            return critic(images)
        with torch.autocast(images.device.type, enabled=False):
            return critic(images.float())
