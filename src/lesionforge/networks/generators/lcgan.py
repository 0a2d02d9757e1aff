"""The generator of the lesion-conditional GAN: the U-Net of pix2pix."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from lesionforge.networks.convolution import output_activation, strided_convolution, transposed_convolution
from lesionforge.networks.generators.unet_generator import SkipNetwork, strides_of
from lesionforge.networks.norm import batch_norm, init_normal, scale_widths

PUBLISHED_CHANNELS = (64, 128, 256, 512, 512, 512, 512, 512)
CRITIC_CHANNELS = (64, 128, 256, 512)
STEPS_WITH_DROPOUT = 3


class LcganGenerator(SkipNetwork):
    """U-Net generator with strided convolutions of kernel size 4 and skip connections.

    A step down is leaky ReLU, convolution and batch norm; the first step is the convolution alone. A step up is ReLU,
    transposed convolution, batch norm and, in the innermost three steps, dropout; the last step ends with tanh instead
    of batch norm. The skip connections carry features before their activation.

    Source: Isola et al. 2017 (arXiv 1611.07004), section 6.1.1, as in the implementation that the lesion-conditional
    GAN is based on: 54,414,337 parameters with one input and one output channel. In 3D, with strides of its own along
    each axis, it is the generator of the public code for the tumour system (Shin et al. 2018, arXiv 1807.10225).

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the condition.
        out_channels: channels of the image.
        channels: width after each step down; its length is the number of steps.
        strides: strides of each step down along each axis, 1 to 4; ``None`` for 2 everywhere.
        width: factor on all ``channels``, for small machines.
        dropout: dropout probability in the innermost three steps up.
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
        dropout: float = 0.5,
        activation: str = "tanh",
    ) -> None:
        super().__init__()
        widths = scale_widths(channels, width)
        first, *others = strides_of(strides, steps=len(widths), spatial_dims=spatial_dims)
        self.down = nn.ModuleList([strided_convolution(spatial_dims, in_channels, widths[0], first)])
        for (before, after), stride in zip(pairwise(widths), others, strict=True):
            convolution = strided_convolution(spatial_dims, before, after, stride)
            self.down.append(nn.Sequential(nn.LeakyReLU(0.2), convolution, batch_norm(after)))
        mirrored = widths[-2::-1]
        below = (widths[-1], *(2 * c for c in mirrored))
        self.up = nn.ModuleList()
        sizes = zip(below[:-1], mirrored, reversed(others), strict=True)
        for number, (before, after, stride) in enumerate(sizes):
            convolution = transposed_convolution(spatial_dims, before, after, stride)
            step = nn.Sequential(nn.ReLU(), convolution, batch_norm(after))
            if number < STEPS_WITH_DROPOUT:
                step.append(nn.Dropout(dropout))
            self.up.append(step)
        last = transposed_convolution(spatial_dims, below[-1], out_channels, first)
        self.head = nn.Sequential(nn.ReLU(), last, output_activation(activation))
        init_normal(self)
