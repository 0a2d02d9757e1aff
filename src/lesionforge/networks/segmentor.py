"""The segmentor of pseudo-healthy synthesis."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets import UNet
from torch import Tensor, nn

from lesionforge.networks.norm import scale_widths

CHANNELS = (32, 64, 128, 256, 512)


class ResidualSegmentor(nn.Module):
    """A U-Net with a residual connection around every step, leaky ReLU, and a sigmoid for every class.

    Source: Xia et al. 2019 (arXiv 1901.07295), appendix A, who give no widths; these are of the released code.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: lesion classes.
        channels: width at each resolution, from the finest.
        width: factor on all ``channels``, for small machines.
        dropout: probability after every convolution.
        slope: of the leaky ReLU for negative values.

    Shapes:
        input ``(batch, in_channels, x, y[, z])`` with sizes that are multiples of :attr:`divisor`, at least twice it;
        output ``(batch, out_channels, x, y[, z])``, 0 to 1.
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
    ) -> None:
        super().__init__()
        self.divisor = 2 ** (len(channels) - 1)
        self.network = UNet(
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            out_channels=out_channels,
            channels=scale_widths(channels, width),
            strides=(2,) * (len(channels) - 1),
            num_res_units=2,
            act=("leakyrelu", {"negative_slope": slope}),
            norm=("instance", {"affine": True}),
            dropout=dropout,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Find lesions in ``(batch, in_channels, x, y[, z])``."""
        return torch.sigmoid(self.network(x))
