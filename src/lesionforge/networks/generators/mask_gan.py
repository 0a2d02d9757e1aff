"""Generator and critic of the lesion-mask GAN."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from lesionforge.networks.norm import instance_norm, scale_widths

GENERATOR_CHANNELS = (128, 64, 32, 16, 8)


class MaskGenerator(nn.Module):
    """Generator of masks from latent vectors.

    A linear layer maps the latent vector to a small grid, which is doubled in size until it covers the mask. Each step
    is a convolution of kernel size 3, instance norm, 2× nearest upsampling and leaky ReLU. A last convolution gives the
    logits, which are cropped to the size of the mask.

    Source: Platscher et al. 2020 (arXiv 2010.02745), section 2.3, with the widths of the authors' released code
    (1,796,392 parameters with one output channel and a first grid of 4×4×4 voxels).

    Args:
        spatial_dims: 2 or 3.
        size: size of the mask, in voxels.
        out_channels: number of classes, background included.
        latent: length of the latent vector.
        channels: width of each step; the grid is doubled once per step.
        start: size of the first grid; by default the smallest that covers the mask.
        head_kernel: kernel size of the last convolution.
        width: factor on all ``channels``, for small machines.
        slope: negative slope of the leaky ReLU.

    Shapes:
        input ``(batch, latent)``; output ``(batch, out_channels, *size)`` logits.
    """

    def __init__(
        self,
        *,
        spatial_dims: int,
        size: Sequence[int],
        out_channels: int,
        latent: int = 128,
        channels: Sequence[int] = GENERATOR_CHANNELS,
        start: Sequence[int] | None = None,
        head_kernel: int = 7,
        width: float = 1.0,
        slope: float = 0.2,
    ) -> None:
        super().__init__()
        widths = scale_widths(channels, width)
        growth = 2 ** len(widths)
        self.latent = latent
        self.start = tuple(start) if start is not None else tuple(math.ceil(n / growth) for n in size)
        self.linear = nn.Linear(latent, widths[0] * math.prod(self.start))
        self.norm = instance_norm(spatial_dims, widths[0])
        self.steps = nn.Sequential(
            *(
                _step(spatial_dims, before, after, slope)
                for before, after in zip((widths[0], *widths[:-1]), widths, strict=True)
            )
        )
        self.head = Conv[Conv.CONV, spatial_dims](
            widths[-1], out_channels, head_kernel, padding=head_kernel // 2, bias=False
        )
        self.inside = tuple(
            slice((first * growth - n) // 2, (first * growth - n) // 2 + n)
            for first, n in zip(self.start, size, strict=True)
        )

    def forward(self, z: Tensor) -> Tensor:
        """Return the mask logits of ``(batch, latent)`` vectors."""
        grid = self.norm(self.linear(z).view(len(z), -1, *self.start))
        return torch.as_tensor(self.head(self.steps(grid))[(..., *self.inside)])


class MaskCritic(nn.Module):
    """Critic of whole masks, without normalisation.

    Stride-2 convolutions of kernel size 5 reduce the mask to one voxel; two linear layers follow.

    Source: the released code of Platscher et al. 2020 (22,103,656 parameters with one channel of 128×128×32 voxels).

    Args:
        spatial_dims: 2 or 3.
        size: size of the masks, in voxels.
        in_channels: channels of a mask.
        channels: width of the first convolution; each further convolution is twice as wide.
        hidden: width of the first linear layer.
        width: factor on all widths, for small machines.
        slope: negative slope of the leaky ReLU.

    Shapes:
        input ``(batch, in_channels, *size)``; output ``(batch,)``.
    """

    def __init__(
        self,
        *,
        spatial_dims: int,
        size: Sequence[int],
        in_channels: int,
        channels: int = 8,
        hidden: int = 512,
        width: float = 1.0,
        slope: float = 0.02,
    ) -> None:
        super().__init__()
        halvings = math.ceil(math.log2(max(size)))
        widths = scale_widths([channels * 2**n for n in range(halvings)], width)
        (neck,) = scale_widths([hidden], width)
        layers: list[nn.Module] = []
        for before, after in zip((in_channels, *widths[:-1]), widths, strict=True):
            layers += [
                Conv[Conv.CONV, spatial_dims](before, after, 5, stride=2, padding=2, bias=False),
                nn.LeakyReLU(slope),
            ]
        self.layers = nn.Sequential(
            *layers,
            nn.Flatten(),
            nn.Linear(widths[-1], neck, bias=False),
            nn.LeakyReLU(slope),
            nn.Linear(neck, 1, bias=False),
        )

    def forward(self, masks: Tensor) -> Tensor:
        """Return the critic's value of each ``(batch, in_channels, *size)`` mask."""
        return torch.as_tensor(self.layers(masks)).flatten()


def _step(spatial_dims: int, in_channels: int, out_channels: int, slope: float) -> nn.Module:
    return nn.Sequential(
        Conv[Conv.CONV, spatial_dims](in_channels, out_channels, 3, padding=1, bias=False),
        instance_norm(spatial_dims, out_channels),
        nn.Upsample(scale_factor=2),
        nn.LeakyReLU(slope),
    )
