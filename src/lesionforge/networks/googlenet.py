"""GoogLeNet, a classifier of slices, with batch norm and without auxiliary heads."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lesionforge.networks.norm import scale_widths

STEM = (64, 64, 192)
INCEPTIONS = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
"""Widths of the modules 3a to 5b (table 1 of the paper), one group per resolution.

The order is: 1×1; 3×3 reduce, 3×3; 5×5 reduce, 5×5; 1×1 after pooling.
"""


class GoogLeNet(nn.Module):
    """GoogLeNet: nine inception modules, global average pooling and a linear layer.

    Batch norm before every ReLU replaces local response normalisation. It also replaces the auxiliary heads, which
    helped gradients through the network.

    Source: Szegedy et al. 2015 (arXiv 1409.4842), table 1; batch norm: Ioffe & Szegedy 2015 (arXiv 1502.03167).

    Args:
        in_channels: channels of the image.
        out_channels: number of logits.
        width: factor on all widths, for small machines.
        dropout: dropout probability before the last layer.

    Shapes:
        input ``(batch, in_channels, x, y)`` with sides of 32 or more; output ``(batch, out_channels)``.
    """

    def __init__(self, *, in_channels: int, out_channels: int = 1, width: float = 1.0, dropout: float = 0.4) -> None:
        super().__init__()
        first, second, channels = scale_widths(STEM, width)
        layers: list[nn.Module] = [
            _convolution(in_channels, first, 7, stride=2),
            _pool(),
            _convolution(first, second, 1),
            _convolution(second, channels, 3),
        ]
        for group in INCEPTIONS:
            layers.append(_pool())
            for widths in group:
                module = Inception(channels, scale_widths(widths, width))
                layers.append(module)
                channels = module.out_channels
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, out_channels))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of ``(batch, in_channels, x, y)`` images."""
        logits: Tensor = self.head(self.features(images).mean((2, 3)))
        return logits


class Inception(nn.Module):
    """Inception module: 1×1, 3×3 and 5×5 convolutions and max pooling in parallel.

    1×1 convolutions reduce the number of channels before the 3×3 and 5×5 convolutions and after the pooling.

    Args:
        in_channels: channels of the input.
        widths: widths of the convolutions, in the order of :data:`INCEPTIONS`.
    """

    def __init__(self, in_channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        one, before_three, three, before_five, five, pooled = widths
        self.out_channels = one + three + five + pooled
        self.branches = nn.ModuleList(
            [
                _convolution(in_channels, one, 1),
                nn.Sequential(_convolution(in_channels, before_three, 1), _convolution(before_three, three, 3)),
                nn.Sequential(_convolution(in_channels, before_five, 1), _convolution(before_five, five, 5)),
                nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), _convolution(in_channels, pooled, 1)),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the concatenated branches: ``(batch, in_channels, x, y)`` to ``(batch, out_channels, x, y)``."""
        return torch.cat([branch(x) for branch in self.branches], 1)


def _convolution(in_channels: int, out_channels: int, size: int, *, stride: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, size, stride=stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def _pool() -> nn.Module:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)
