"""Adversarial losses on patch logits."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

AdversarialLoss = Callable[[Tensor, bool], Tensor]


def least_squares(logits: Tensor, real: bool) -> Tensor:
    """Squared distance of ``logits`` to 1 (real) or 0 (fake): LSGAN, Mao et al. 2017, equation 9."""
    return mse_loss(logits, torch.full_like(logits, float(real)))


def log_likelihood(logits: Tensor, real: bool) -> Tensor:
    """Cross-entropy of ``logits`` against real or fake: Goodfellow et al. 2014, non-saturating."""
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


ADVERSARIAL_LOSSES: dict[str, AdversarialLoss] = {"lsgan": least_squares, "log": log_likelihood}


def discriminator_loss(loss: AdversarialLoss, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Mean of the loss on real patches taken as real and on fake patches taken as fake."""
    return (loss(real_logits, True) + loss(fake_logits, False)) / 2
