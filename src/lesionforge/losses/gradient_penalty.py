"""The Wasserstein game with gradient penalty."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """Return the mean of (‖∇D(x̂)‖₂ − 1)² at random points x̂ between real and fake: Gulrajani et al. 2017, equation 3.

    D is the mean of a critic's answers to the patches of a sample, since that is what the game is played with: the
    slope of their sum would leave the mean a slope of 1/patches. The norm is taken over all channels and voxels of a
    sample. Without λ; in fp32 whatever the surrounding precision.

    Args:
        critic: ``(batch, channel, x, y[, z])`` to one or more values a sample; it must not mix samples, as batch norm
            does.
        real: ``(batch, channel, x, y[, z])``.
        fake: the same shape.
    """
    share = torch.rand(len(real), *[1] * (real.dim() - 1), device=real.device)
    with torch.enable_grad(), torch.autocast(real.device.type, enabled=False):
        between = torch.lerp(fake.detach().float(), real.float(), share).requires_grad_()
        answers = critic(between).reshape(len(between), -1).mean(1)
        (slope,) = torch.autograd.grad(answers.sum(), between, create_graph=True)
        return (slope.flatten(1).norm(dim=1) - 1).square().mean()
