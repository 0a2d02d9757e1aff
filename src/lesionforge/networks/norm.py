"""Normalisation that survives maps of a single voxel, and how weights begin."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.layers.factories import Norm
from torch import Tensor, nn
from torch.nn import functional


class _SingleVoxelSafe(nn.Module):
    """A norm; a map of one voxel, which has no variance, is only scaled and shifted."""

    def __init__(self, norm: nn.InstanceNorm2d | nn.InstanceNorm3d | _BatchNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channel, x, y[, z])`` to the same."""
        if x[0, 0].numel() > 1:
            return self.norm(x)
        if self.norm.weight is None:
            return x
        shape = (1, -1, *([1] * (x.ndim - 2)))
        return x * self.norm.weight.view(shape) + self.norm.bias.view(shape)


class _BatchNorm(nn.Module):
    """Batch norm without running statistics; in evaluation every image is a batch of its own."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.normal_(torch.empty(channels), 1.0, 0.02))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channel, x, y[, z])`` to the same."""
        if self.training:
            return functional.batch_norm(x, None, None, self.weight, self.bias, training=True)
        return functional.instance_norm(x, weight=self.weight, bias=self.bias)


def instance_norm(spatial_dims: int, channels: int, *, affine: bool = True) -> nn.Module:
    """Return instance norm for ``(batch, channel, x, y[, z])`` maps of any size, one voxel included."""
    return _SingleVoxelSafe(Norm[Norm.INSTANCE, spatial_dims](channels, affine=affine))


def batch_norm(channels: int) -> nn.Module:
    """Return batch norm for ``(batch, channel, x, y[, z])`` maps of any size, always with the statistics at hand.

    While training these are the batch's; in evaluation each image's own, which is what a batch of one gives, so no
    result depends on the batch that it is computed in. A map of one voxel is only scaled and shifted, in any batch,
    so that training and evaluation agree. Scales begin as N(1, 0.02).
    """
    return _SingleVoxelSafe(_BatchNorm(channels))


def init_normal(module: nn.Module, *, std: float = 0.02) -> None:
    """Draw convolution weights from N(0, std), zero their biases (pix2pix, section 6.2)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            nn.init.normal_(layer.weight, 0.0, std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def scale_widths(channels: Sequence[int], width: float) -> tuple[int, ...]:
    """Multiply layer widths by ``width``, keeping at least one channel each."""
    return tuple(max(1, round(c * width)) for c in channels)
