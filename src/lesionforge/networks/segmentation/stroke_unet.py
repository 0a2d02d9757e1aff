"""The segmentation U-Net of the stroke system."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.layers.factories import Conv, Norm, Pool
from torch import Tensor, nn

PUBLISHED_FILTERS = (16, 32, 64, 128, 256)


class StrokeUNet(nn.Module):
    """U-Net with max pooling, transposed convolutions, and dropout after every hidden convolution.

    Each resolution has two convolutions of kernel size 3 with ReLU and dropout.

    Source: Platscher et al. 2020 (arXiv 2010.02745), section 2.4. Transposed convolutions of kernel size 2, batch norm
    after these alone and a last convolution of kernel size 1 give 5,645,410 parameters; the paper states 5.6 million.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: number of classes, background included.
        filters: width at each resolution, finest first.
        dropout: dropout probability after each of the two convolutions at every resolution.

    Shapes:
        input ``(batch, in_channels, x, y[, z])`` with sizes that are multiples of ``2 ** (len(filters) - 1)``;
        output ``(batch, out_channels, x, y[, z])`` logits.
    """

    def __init__(
        self,
        *,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        filters: Sequence[int] = PUBLISHED_FILTERS,
        dropout: float = 0.02,
    ) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            _twice(spatial_dims, before, after, dropout)
            for before, after in zip((in_channels, *filters[:-1]), filters, strict=True)
        )
        self.pool = Pool[Pool.MAX, spatial_dims](2)
        steps = list(zip(filters[:0:-1], filters[-2::-1], strict=True))
        self.up = nn.ModuleList(_up(spatial_dims, below, above) for below, above in steps)
        self.joined = nn.ModuleList(_twice(spatial_dims, 2 * above, above, dropout) for _, above in steps)
        self.head = Conv[Conv.CONV, spatial_dims](filters[0], out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of ``(batch, in_channels, x, y[, z])``."""
        skips = []
        for number, step in enumerate(self.down):
            x = step(self.pool(x) if number else x)
            skips.append(x)
        skips.pop()
        for up, joined in zip(self.up, self.joined, strict=True):
            x = joined(torch.cat([up(x), skips.pop()], 1))
        return torch.as_tensor(self.head(x))


def _twice(spatial_dims: int, in_channels: int, out_channels: int, dropout: float) -> nn.Module:
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers += [
            Conv[Conv.CONV, spatial_dims](channels, out_channels, 3, padding=1),
            nn.ReLU(),
            nn.Dropout(dropout),
        ]
    return nn.Sequential(*layers)


def _up(spatial_dims: int, in_channels: int, out_channels: int) -> nn.Module:
    return nn.Sequential(
        Conv[Conv.CONVTRANS, spatial_dims](in_channels, out_channels, 2, 2),
        Norm[Norm.BATCH, spatial_dims](out_channels),
        nn.ReLU(),
    )
