"""The PatchGAN critic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from monai.networks.layers.factories import Conv
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as with_spectral_norm

from lesionforge.networks.convolution import KERNEL_SIZE, same_convolution
from lesionforge.networks.norm import batch_norm, init_normal, instance_norm, scale_widths

CHANNELS = (32, 64, 128, 128)
STRIDES = (2, 2, 2, 1)


class PatchGAN(nn.Module):
    """PatchGAN critic: returns a logit for every patch of an image and its condition.

    The condition is concatenated to the image along the channel axis.

    Source: Platscher et al. 2020. The widths and strides are those that give the published parameter count (888,898 is
    twice the 444,449 parameters of this network with 30 input channels).

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of image and condition together.
        channels: width of each hidden convolution.
        strides: stride of each hidden convolution; the last convolution has one output channel and stride 1.
        keep_size: whether the last convolution is padded to keep the size, as in Xia et al. 2019 (table 4).
        width: factor on all ``channels``.
        norm: ``"instance"`` after every hidden convolution; ``"batch"`` after all but the first, as in Isola et al.
            2017 (section 6.1.2); ``"none"`` for a critic with a gradient penalty.
        affine: whether instance norm learns a scale and a shift.
        spectral_norm: whether to bound the largest singular value of every convolution to 1, instead of another norm
            (Miyato et al. 2018).

    Shapes:
        input ``(batch, in_channels, x, y[, z])``; output one logit per patch, ``(batch, 1, x', y'[, z'])``.
    """

    def __init__(
        self,
        *,
        spatial_dims: int,
        in_channels: int,
        channels: Sequence[int] = CHANNELS,
        strides: Sequence[int] = STRIDES,
        keep_size: bool = False,
        width: float = 1.0,
        norm: Literal["instance", "batch", "none"] = "instance",
        affine: bool = True,
        spectral_norm: bool = False,
    ) -> None:
        super().__init__()
        self._options = {
            "spatial_dims": spatial_dims,
            "in_channels": in_channels,
            "channels": tuple(channels),
            "strides": tuple(strides),
            "keep_size": keep_size,
            "width": width,
            "norm": norm,
            "affine": affine,
            "spectral_norm": spectral_norm,
        }
        self.receptive_field = receptive_field(strides)
        layers: list[nn.Module] = []
        for number, (out_channels, stride) in enumerate(zip(scale_widths(channels, width), strides, strict=True)):
            layers.append(Conv[Conv.CONV, spatial_dims](in_channels, out_channels, KERNEL_SIZE, stride, padding=1))
            if norm == "batch" and number > 0 and not spectral_norm:
                layers.append(batch_norm(out_channels))
            if norm == "instance" and not spectral_norm:
                layers.append(instance_norm(spatial_dims, out_channels, affine=affine))
            layers.append(nn.LeakyReLU(0.2))
            in_channels = out_channels
        last = Conv[Conv.CONV, spatial_dims](in_channels, 1, KERNEL_SIZE, padding=1)
        layers.append(same_convolution(spatial_dims, in_channels, 1) if keep_size else last)
        self.layers = nn.Sequential(*layers)
        init_normal(self)
        if spectral_norm:
            for layer in list(self.layers.modules()):
                if isinstance(layer, nn.Conv2d | nn.Conv3d):
                    with_spectral_norm(layer)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of the patches of ``(batch, in_channels, x, y[, z])``."""
        return torch.as_tensor(self.layers(x))

    def __reduce__(self) -> tuple[Callable[..., PatchGAN], tuple[Any, ...]]:
        """Pickle the options and weights, because torch does not pickle spectral norm."""
        return _rebuild, (self._options, self.state_dict())


def _rebuild(options: dict[str, Any], weights: dict[str, Tensor]) -> PatchGAN:
    network = PatchGAN(**options)
    network.load_state_dict(weights)
    return network


def smallest_input(strides: Sequence[int] = STRIDES) -> int:
    """Return the smallest image side, in voxels, that the critic accepts."""
    size = 2
    for stride in reversed(strides):
        size = stride * (size - 1) + 2
    return size


def receptive_field(strides: Sequence[int]) -> int:
    """Return the side, in voxels, of the patch that one output of the critic sees."""
    size = KERNEL_SIZE
    for stride in reversed(strides):
        size = (size - 1) * stride + KERNEL_SIZE
    return size
