"""Adversarial losses on patch logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss, relu


@dataclass(frozen=True)
class AdversarialLoss:
    """The two sides of one game.

    Attributes:
        critic: the critic's loss on ``(logits, real)``, the logits of images that are all real or all fake.
        generator: the generator's loss on the logits of its fakes.
    """

    critic: Callable[[Tensor, bool], Tensor]
    generator: Callable[[Tensor], Tensor]

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the mean of the critic's loss on the logits of real and on those of fake patches."""
        return (self.critic(real, True) + self.critic(fake, False)) / 2


def least_squares(logits: Tensor, real: bool) -> Tensor:
    """Squared distance of ``logits`` to 1 (real) or 0 (fake): LSGAN, Mao et al. 2017, equation 9."""
    return mse_loss(logits, torch.full_like(logits, float(real)))


def log_likelihood(logits: Tensor, real: bool) -> Tensor:
    """Cross-entropy of ``logits`` against real or fake: Goodfellow et al. 2014, non-saturating."""
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def hinge(logits: Tensor, real: bool) -> Tensor:
    """How far ``logits`` are short of 1 (real) or above -1 (fake): Lim and Ye 2017; Miyato et al. 2018, equation 16."""
    return relu(1 - logits if real else 1 + logits).mean()


def negative_mean(logits: Tensor) -> Tensor:
    """The generator's side of the hinge loss (Miyato et al. 2018, equation 17) and of the Wasserstein game."""
    return -logits.mean()


def wasserstein(logits: Tensor, real: bool) -> Tensor:
    """Mean of the logits of fakes, negative mean of those of real images: Arjovsky et al. 2017, with a penalty."""
    return -logits.mean() if real else logits.mean()


def bounded(logits: Tensor, real: bool) -> Tensor:
    """Squared distance of a sigmoid to the *wrong* answer, negated: Xia et al. 2019, L_GAN1 as printed (max over D).

    Without the sigmoid this has no lower bound.
    """
    return -mse_loss(torch.sigmoid(logits), torch.full_like(logits, float(not real)))


def bounded_generator(logits: Tensor) -> Tensor:
    """The generator's side of :func:`bounded`: squared distance of the sigmoid to 1."""
    return mse_loss(torch.sigmoid(logits), torch.ones_like(logits))


ADVERSARIAL_LOSSES: dict[str, AdversarialLoss] = {
    "lsgan": AdversarialLoss(critic=least_squares, generator=partial(least_squares, real=True)),
    "log": AdversarialLoss(critic=log_likelihood, generator=partial(log_likelihood, real=True)),
    "hinge": AdversarialLoss(critic=hinge, generator=negative_mean),
    "wgan": AdversarialLoss(critic=wasserstein, generator=negative_mean),
    "bounded": AdversarialLoss(critic=bounded, generator=bounded_generator),
}
