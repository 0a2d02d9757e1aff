"""The generator of the lesion-conditional GAN: the U-Net of pix2pix."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from monai.networks.layers.factories import Conv
from torch import nn

from lesionforge.networks.generators.unet_generator import SkipNetwork
from lesionforge.networks.norm import batch_norm, init_normal, scale_widths

PUBLISHED_CHANNELS = (64, 128, 256, 512, 512, 512, 512, 512)
CRITIC_CHANNELS = (64, 128, 256, 512)
STEPS_WITH_DROPOUT = 3


class LcganGenerator(SkipNetwork):
    """U-Net generator with stride-2 convolutions of kernel size 4 and skip connections.

    A step down is leaky ReLU, convolution and batch norm; the first step is the convolution alone. A step up is ReLU,
    transposed convolution, batch norm and, in the innermost three steps, dropout; the last step ends with tanh instead
    of batch norm. The skip connections carry features before their activation.

    Source: Isola et al. 2017 (arXiv 1611.07004), section 6.1.1, as in the implementation that the lesion-conditional
    GAN is based on: 54,414,337 parameters with one input and one output channel.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the condition.
        out_channels: channels of the image.
        channels: width after each step down; its length is the number of steps.
        width: factor on all ``channels``, for small machines.
        dropout: dropout probability in the innermost three steps up.

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
        width: float = 1.0,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        widths = scale_widths(channels, width)
        self.divisor = 2 ** len(widths)
        conv, transposed = Conv[Conv.CONV, spatial_dims], Conv[Conv.CONVTRANS, spatial_dims]
        self.down = nn.ModuleList([conv(in_channels, widths[0], 4, 2, 1)])
        for before, after in pairwise(widths):
            self.down.append(nn.Sequential(nn.LeakyReLU(0.2), conv(before, after, 4, 2, 1), batch_norm(after)))
        mirrored = widths[-2::-1]
        below = (widths[-1], *(2 * c for c in mirrored))
        self.up = nn.ModuleList()
        for number, (before, after) in enumerate(zip(below[:-1], mirrored, strict=True)):
            step = nn.Sequential(nn.ReLU(), transposed(before, after, 4, 2, 1), batch_norm(after))
            if number < STEPS_WITH_DROPOUT:
                step.append(nn.Dropout(dropout))
            self.up.append(step)
        self.head = nn.Sequential(nn.ReLU(), transposed(below[-1], out_channels, 4, 2, 1), nn.Tanh())
        init_normal(self)
