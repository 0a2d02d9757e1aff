"""A denoising U-Net on small grids: MONAI's, behind a rearrangement of pixels into channels."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

import torch
from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet
from monai.networks.utils import pixelshuffle, pixelunshuffle
from torch import Tensor, nn

FOLD, TIMES, MOST_GROUPS = 2, 1000, 8
"""Voxels along each axis that become channels; time steps that the network tells apart; most groups of its norms."""


class Denoiser(nn.Module):
    """Predicts an image from a noisy one, the time and a condition.

    Blocks of 2 voxels along each axis become channels, which makes a step four (3D: eight) times as cheap.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the noisy image and the condition together.
        out_channels: channels of the image.
        channels: widths, finest resolution first.
        blocks: residual blocks at each resolution.
    """

    def __init__(
        self, *, spatial_dims: int, in_channels: int, out_channels: int, channels: Sequence[int], blocks: int
    ) -> None:
        super().__init__()
        self.spatial_dims, folded = spatial_dims, FOLD**spatial_dims
        self.unet = DiffusionModelUNet(
            spatial_dims,
            in_channels * folded,
            out_channels * folded,
            num_res_blocks=blocks,
            channels=channels,
            attention_levels=[False] * len(channels),
            norm_num_groups=gcd(*channels, MOST_GROUPS),
            num_head_channels=channels[-1],
        )

    def forward(self, shown: Tensor, condition: Tensor, time: Tensor) -> Tensor:
        """Return the predicted image ``(batch, channel, x, y[, z])``.

        Args:
            shown: the noisy image.
            condition: ``(batch, channel, x, y[, z])``; each side is a multiple of ``2 ** len(channels)``.
            time: ``(batch,)`` from 0 to 1.
        """
        folded = pixelunshuffle(torch.cat([shown, condition], 1), self.spatial_dims, FOLD)
        return pixelshuffle(self.unet(folded, time * TIMES), self.spatial_dims, FOLD)
