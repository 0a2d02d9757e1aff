"""Normalisation layers that accept maps of a single voxel, and weight initialisation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.layers.factories import Norm
from torch import Tensor, nn
from torch.nn import functional


class _SingleVoxelSafe(nn.Module):
    """A norm that only scales and shifts maps of a single voxel, which have no variance."""

    def __init__(self, norm: nn.InstanceNorm2d | nn.InstanceNorm3d | _BatchNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(batch, channel, x, y[, z])`` maps."""
        if x[0, 0].numel() > 1:
            return self.norm(x)
        if self.norm.weight is None:
            return x
        shape = (1, -1, *([1] * (x.ndim - 2)))
        return x * self.norm.weight.view(shape) + self.norm.bias.view(shape)


class _BatchNorm(nn.Module):
    """Batch norm without running statistics; evaluation normalises each image on its own."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.normal_(torch.empty(channels), 1.0, 0.02))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(batch, channel, x, y[, z])`` maps."""
        if self.training:
            return functional.batch_norm(x, None, None, self.weight, self.bias, training=True)
        return functional.instance_norm(x, weight=self.weight, bias=self.bias)


def instance_norm(spatial_dims: int, channels: int, *, affine: bool = True) -> nn.Module:
    """Return an instance norm for ``(batch, channel, x, y[, z])`` maps of any size, even a single voxel."""
    return _SingleVoxelSafe(Norm[Norm.INSTANCE, spatial_dims](channels, affine=affine))


def batch_norm(channels: int) -> nn.Module:
    """Return a batch norm without running statistics for ``(batch, channel, x, y[, z])`` maps of any size.

    Training uses the statistics of the batch. Evaluation uses those of each image, which are the same for a batch of
    one, so no result depends on the other images of the batch. Maps of a single voxel are only scaled and shifted,
    whatever the batch size, so that training and evaluation agree. Scales are initialised from N(1, 0.02).
    """
    return _SingleVoxelSafe(_BatchNorm(channels))


def init_normal(module: nn.Module, *, std: float = 0.02) -> None:
    """Initialise convolution weights from N(0, std) and their biases to zero (pix2pix, section 6.2)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            nn.init.normal_(layer.weight, 0.0, std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def scale_widths(channels: Sequence[int], width: float) -> tuple[int, ...]:
    """Return the layer widths multiplied by ``width``, each at least 1."""
    return tuple(max(1, round(c * width)) for c in channels)
