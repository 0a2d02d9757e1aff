"""The pix2pix U-Net generator of the stroke system."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lesionforge.networks.convolution import output_activation, same_convolution, strided_convolution
from lesionforge.networks.norm import init_normal, instance_norm, scale_widths

PUBLISHED_CHANNELS = (64, 128, 256, 512, 512, 512, 512)


class SkipNetwork(nn.Module):
    """Base class of encoder-decoder networks with skip connections.

    The output of each step up is concatenated with the features of the same size from the way down.

    Attributes:
        down: steps that each divide the size by their strides.
        up: steps that each multiply the size by them, one fewer than ``down``.
        head: layers that draw the image from the last features.
    """

    down: nn.ModuleList
    up: nn.ModuleList
    head: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """Return the image drawn from ``(batch, in_channels, x, y[, z])``."""
        skips = []
        for step in self.down:
            x = step(x)
            skips.append(x)
        skips.pop()
        for step in self.up:
            x = torch.cat([step(x), skips.pop()], dim=1)
        return torch.as_tensor(self.head(x))


def strides_of(strides: Sequence[Sequence[int]] | None, *, steps: int, spatial_dims: int) -> list[tuple[int, ...]]:
    """Return the strides of each step down along each axis; 2 everywhere if none are given."""
    return [(2,) * spatial_dims] * steps if strides is None else [tuple(step) for step in strides]


class UNetGenerator(SkipNetwork):
    """U-Net generator with strided convolutions of kernel size 4, nearest upsampling and skip connections.

    A step down is a convolution, instance norm (not in the first step) and leaky ReLU. A step up is nearest upsampling,
    a convolution of kernel size 4, instance norm and leaky ReLU.

    Source: Platscher et al. 2020 (arXiv 2010.02745), section 2.2, with the decoder widths that give the published
    41.8 million parameters.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the condition.
        out_channels: channels of the image.
        channels: width after each step down; its length is the number of steps.
        strides: strides of each step down along each axis, 1 to 4; ``None`` for 2 everywhere.
        width: factor on all ``channels``, for small machines.
        affine: whether instance norm learns a scale and a shift.
        dropout: dropout probability in every step up.
        activation: ``"tanh"`` for outputs in [−1, 1], ``"sigmoid"`` for [0, 1], ``"none"`` for unbounded outputs.

    Shapes:
        input ``(batch, in_channels, x, y[, z])`` with sizes that are multiples of the product of the strides;
        output ``(batch, out_channels, x, y[, z])``.
    """

    def __init__(
        self,
        *,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = PUBLISHED_CHANNELS,
        strides: Sequence[Sequence[int]] | None = None,
        width: float = 1.0,
        affine: bool = True,
        dropout: float = 0.0,
        activation: str = "tanh",
    ) -> None:
        super().__init__()
        widths = scale_widths(channels, width)
        steps = strides_of(strides, steps=len(widths), spatial_dims=spatial_dims)
        inputs = (in_channels, *widths[:-1])
        self.down = nn.ModuleList(
            _down(before, after, stride, normalise=i > 0, affine=affine)
            for i, (before, after, stride) in enumerate(zip(inputs, widths, steps, strict=True))
        )
        mirrored = widths[-2::-1]
        below = (widths[-1], *(2 * c for c in mirrored[:-1]))
        self.up = nn.ModuleList(
            _up(before, after, stride, affine=affine, dropout=dropout)
            for before, after, stride in zip(below, mirrored, steps[:0:-1], strict=True)
        )
        self.head = nn.Sequential(
            _grown(steps[0]),
            same_convolution(spatial_dims, 2 * widths[0], out_channels),
            output_activation(activation),
        )
        init_normal(self)


def _down(in_channels: int, out_channels: int, stride: tuple[int, ...], *, normalise: bool, affine: bool) -> nn.Module:
    layers = [strided_convolution(len(stride), in_channels, out_channels, stride)]
    if normalise:
        layers.append(instance_norm(len(stride), out_channels, affine=affine))
    return nn.Sequential(*layers, nn.LeakyReLU(0.2))


def _up(in_channels: int, out_channels: int, stride: tuple[int, ...], *, affine: bool, dropout: float) -> nn.Module:
    layers = [
        _grown(stride),
        same_convolution(len(stride), in_channels, out_channels),
        instance_norm(len(stride), out_channels, affine=affine),
        nn.LeakyReLU(0.2),
    ]
    if dropout:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)


def _grown(stride: tuple[int, ...]) -> nn.Module:
    return nn.Upsample(scale_factor=tuple(float(n) for n in stride))
