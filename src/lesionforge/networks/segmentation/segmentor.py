"""The segmentor of pseudo-healthy synthesis."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from monai.networks.blocks import ResidualUnit
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from lesionforge.networks.norm import scale_widths

CHANNELS = (32, 64, 128, 256, 512)


class ResidualSegmentor(nn.Module):
    """U-Net of residual units with leaky ReLU and one sigmoid per class.

    Each unit has two convolutions of kernel size 3 with instance norm. Nearest upsampling leaves no checkerboard
    pattern. The last convolution has kernel size 1 and no norm, since a norm would keep the lesion map from being
    empty.

    Source: Xia et al. 2019 (arXiv 1901.07295), appendix A. The paper gives no widths; these are from the released code.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: number of lesion classes.
        channels: width at each resolution, finest first.
        width: factor on all ``channels``, for small machines.
        dropout: dropout probability after every convolution.
        slope: negative slope of the leaky ReLU.
        sigmoid: whether to end with a sigmoid; otherwise the output is logits.

    Shapes:
        input ``(batch, in_channels, x, y[, z])`` with sizes that are multiples of :attr:`divisor` and at least twice
        it; output ``(batch, out_channels, x, y[, z])``, probabilities 0 to 1 or logits.
    """

    def __init__(
        self,
        *,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = CHANNELS,
        width: float = 1.0,
        dropout: float = 0.0,
        slope: float = 0.2,
        sigmoid: bool = True,
    ) -> None:
        super().__init__()
        widths = scale_widths(channels, width)
        self.divisor = 2 ** (len(widths) - 1)
        options: dict[str, Any] = {
            "spatial_dims": spatial_dims,
            "subunits": 2,
            "act": ("leakyrelu", {"negative_slope": slope}),
            "norm": ("instance", {"affine": True}),
            "dropout": dropout,
        }
        steps = list(pairwise(widths))
        self.first = ResidualUnit(in_channels=in_channels, out_channels=widths[0], **options)
        self.down = nn.ModuleList(
            ResidualUnit(in_channels=above, out_channels=below, strides=2, **options) for above, below in steps
        )
        self.grow = nn.Upsample(scale_factor=2)
        self.up = nn.ModuleList(
            ResidualUnit(in_channels=above + below, out_channels=above, **options) for above, below in reversed(steps)
        )
        self.head = Conv[Conv.CONV, spatial_dims](widths[0], out_channels, 1)
        self.sigmoid = sigmoid

    def forward(self, x: Tensor) -> Tensor:
        """Return the lesion map of ``(batch, in_channels, x, y[, z])``."""
        x = self.first(x)
        skips = []
        for step in self.down:
            skips.append(x)
            x = step(x)
        for step in self.up:
            x = step(torch.cat([self.grow(x), skips.pop()], 1))
        logits: Tensor = self.head(x)
        return torch.sigmoid(logits) if self.sigmoid else logits
