"""The gradient penalty of the Wasserstein game."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """Return the gradient penalty without its weight λ: the mean of (‖∇D(x̂)‖₂ − 1)².

    The points x̂ lie at random positions between real and fake samples (Gulrajani et al. 2017, equation 3). D is the
    mean of the critic's outputs over the patches of a sample, because the losses use this mean; a penalty on the sum
    would leave the mean with a slope of 1/patches. The norm is over all channels and voxels of a sample. The penalty is
    computed in fp32, whatever the surrounding precision.

    Args:
        critic: network from ``(batch, channel, x, y[, z])`` to one or more values per sample; it must not mix samples,
            as batch norm does.
        real: ``(batch, channel, x, y[, z])``.
        fake: same shape as ``real``.
    """
    share = torch.rand(len(real), *[1] * (real.dim() - 1), device=real.device)
    with torch.enable_grad(), torch.autocast(real.device.type, enabled=False):
        between = torch.lerp(fake.detach().float(), real.float(), share).requires_grad_()
        answers = critic(between).reshape(len(between), -1).mean(1)
        (slope,) = torch.autograd.grad(answers.sum(), between, create_graph=True)
        return (slope.flatten(1).norm(dim=1) - 1).square().mean()
