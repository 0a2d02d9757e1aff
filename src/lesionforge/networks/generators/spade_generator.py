"""The SPADE generator, which draws an image from a latent vector and a label map."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from monai.networks.blocks.spade_norm import SPADE
from monai.networks.layers.factories import Conv
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu

from lesionforge.networks.norm import init_normal, instance_norm, scale_widths

PUBLISHED_CHANNELS = (128, 64, 32, 16, 8)
SLOPE = 0.2


class SpadeGenerator(nn.Module):
    """SPADE generator: every block is normalised by the label map and doubles the size.

    A linear layer maps the latent vector to a small grid, which passes through the blocks. A block applies SPADE, leaky
    ReLU and a convolution of kernel size 3 twice, then 2× nearest upsampling. The latent vector is read from the first
    voxels of the last input channel, which holds noise.

    Source: Platscher et al. 2020 (arXiv 2010.02745), section 2.2.3 and its appendix; 1,029,337 parameters with 29
    labels and 128×128 pixels.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the label map plus one channel of noise.
        out_channels: channels of the image.
        channels: width of each block.
        size: image size that the first grid is made for; for other sizes the grid is resized.
        latent: length of the latent vector.
        hidden_channels: width of a hidden layer between the label map and SPADE's scale and shift, as in Park et al.
            2019; ``None`` for no hidden layer, as in the stroke system.
        shortcut: whether each block has a shortcut, as in Park et al. 2019; it is a learned convolution of kernel size
            1 where the width changes, else the identity.
        width: factor on all ``channels``.
        dropout: dropout probability before the second convolution of every block.

    Shapes:
        input ``(batch, in_channels, x, y[, z])`` with sizes that are multiples of :attr:`divisor`;
        output ``(batch, out_channels, x, y[, z])``, −1 to 1.
    """

    def __init__(
        self,
        *,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = PUBLISHED_CHANNELS,
        size: Sequence[int] = (128, 128),
        latent: int = 128,
        hidden_channels: int | None = None,
        shortcut: bool = False,
        width: float = 1.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        widths = scale_widths(channels, width)
        self.divisor, self.latent = 2 ** len(widths), latent
        self.start = tuple(math.ceil(n / self.divisor) for n in size)
        self.linear = nn.Linear(latent, widths[0] * math.prod(self.start))
        self.blocks = nn.ModuleList(
            _Block(spatial_dims, before, after, in_channels - 1, hidden_channels, shortcut, dropout)
            for before, after in zip((widths[0], *widths[:-1]), widths, strict=True)
        )
        self.head = nn.Sequential(Conv[Conv.CONV, spatial_dims](widths[-1], out_channels, 3, padding=1), nn.Tanh())
        init_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the image drawn from ``(batch, in_channels, x, y[, z])``.

        Raises:
            ValueError: if the noise channel has fewer voxels than the latent vector has entries.
        """
        labels, noise = x[:, :-1], x[:, -1].flatten(1)
        if noise.shape[1] < self.latent:
            raise ValueError(f"{noise.shape[1]} voxels cannot hold a latent vector of {self.latent}")
        grid = self.linear(noise[:, : self.latent]).view(len(x), -1, *self.start)
        grid = interpolate(grid, size=[n // self.divisor for n in x.shape[2:]])
        for block in self.blocks:
            grid = interpolate(block(grid, labels), scale_factor=2.0)
        return torch.as_tensor(self.head(grid))


class _Block(nn.Module):
    """Block that applies SPADE, leaky ReLU and a convolution twice, with an optional shortcut."""

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        labels: int,
        hidden_channels: int | None,
        shortcut: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        conv = Conv[Conv.CONV, spatial_dims]
        self.norms = nn.ModuleList(_norm(spatial_dims, n, labels, hidden_channels) for n in (in_channels, out_channels))
        self.convs = nn.ModuleList(conv(n, out_channels, 3, padding=1) for n in (in_channels, out_channels))
        learned = shortcut and in_channels != out_channels
        self.around_norm = _norm(spatial_dims, in_channels, labels, hidden_channels) if learned else None
        self.around = conv(in_channels, out_channels, 1, bias=False) if learned else None
        self.shortcut = shortcut
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Map ``(batch, in_channels, …)`` to ``(batch, out_channels, …)``."""
        beside = x
        if self.around is not None and self.around_norm is not None:
            beside = self.around(self.around_norm(x, labels))
        x = self.convs[0](leaky_relu(self.norms[0](x, labels), SLOPE))
        x = self.convs[1](self.dropout(leaky_relu(self.norms[1](x, labels), SLOPE)))
        return x + beside if self.shortcut else x


def _norm(spatial_dims: int, channels: int, labels: int, hidden_channels: int | None) -> nn.Module:
    if hidden_channels is not None:
        return SPADE(labels, channels, spatial_dims=spatial_dims, hidden_channels=hidden_channels)
    return _DirectSpade(spatial_dims, channels, labels)


class _DirectSpade(nn.Module):
    """Instance norm scaled by 1 + γ and shifted by β; γ and β are convolutions of the label map."""

    def __init__(self, spatial_dims: int, channels: int, labels: int) -> None:
        super().__init__()
        self.norm = instance_norm(spatial_dims, channels, affine=False)
        conv = Conv[Conv.CONV, spatial_dims]
        self.gamma, self.beta = (conv(labels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Normalise ``(batch, channels, …)`` maps by the label map."""
        labels = interpolate(labels, size=x.shape[2:], mode="nearest")
        return torch.as_tensor(self.norm(x) * (1 + self.gamma(labels)) + self.beta(labels))
