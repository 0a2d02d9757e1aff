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
    """The critic loss and the generator loss of an adversarial game.

    Attributes:
        critic: critic loss of ``(logits, real)``; the logits belong to images that are all real or all fake.
        generator: generator loss of the logits of fake images.
    """

    critic: Callable[[Tensor, bool], Tensor]
    generator: Callable[[Tensor], Tensor]

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the mean of the critic losses on real and on fake logits."""
        return (self.critic(real, True) + self.critic(fake, False)) / 2


def least_squares(logits: Tensor, real: bool) -> Tensor:
    """Return the mean squared distance of ``logits`` to 1 (real) or 0 (fake).

    Source: LSGAN, Mao et al. 2017, equation 9.
    """
    return mse_loss(logits, torch.full_like(logits, float(real)))


def log_likelihood(logits: Tensor, real: bool) -> Tensor:
    """Return the binary cross-entropy of ``logits`` with the target 1 (real) or 0 (fake).

    Source: Goodfellow et al. 2014; the generator's side is the non-saturating loss.
    """
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def hinge(logits: Tensor, real: bool) -> Tensor:
    """Return the hinge loss: how far ``logits`` lie below 1 (real) or above -1 (fake), on average.

    Source: Lim and Ye 2017; Miyato et al. 2018, equation 16.
    """
    return relu(1 - logits if real else 1 + logits).mean()


def negative_mean(logits: Tensor) -> Tensor:
    """Return the negative mean of ``logits``.

    This is the generator loss of the hinge game (Miyato et al. 2018, equation 17) and of the Wasserstein game.
    """
    return -logits.mean()


def wasserstein(logits: Tensor, real: bool) -> Tensor:
    """Return the critic's Wasserstein loss: the negative mean of real logits or the mean of fake logits.

    Source: Arjovsky et al. 2017. Use it with a gradient penalty.
    """
    return -logits.mean() if real else logits.mean()


def bounded(logits: Tensor, real: bool) -> Tensor:
    """Return the negative mean squared distance of the sigmoid of ``logits`` to the *wrong* target.

    Source: Xia et al. 2019, L_GAN1 as printed (max over D). Without the sigmoid, the loss has no lower bound.
    """
    return -mse_loss(torch.sigmoid(logits), torch.full_like(logits, float(not real)))


def bounded_generator(logits: Tensor) -> Tensor:
    """Return the generator loss of :func:`bounded`: the mean squared distance of the sigmoid to 1."""
    return mse_loss(torch.sigmoid(logits), torch.ones_like(logits))


ADVERSARIAL_LOSSES: dict[str, AdversarialLoss] = {
    "lsgan": AdversarialLoss(critic=least_squares, generator=partial(least_squares, real=True)),
    "log": AdversarialLoss(critic=log_likelihood, generator=partial(log_likelihood, real=True)),
    "hinge": AdversarialLoss(critic=hinge, generator=negative_mean),
    "wgan": AdversarialLoss(critic=wasserstein, generator=negative_mean),
    "bounded": AdversarialLoss(critic=bounded, generator=bounded_generator),
}
