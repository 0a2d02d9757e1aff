"""The residual generator of CycleGAN and of pseudo-healthy synthesis."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from monai.networks.layers.factories import Conv
from torch import Tensor, nn
from torch.nn.functional import pad

from lesionforge.networks.convolution import output_activation
from lesionforge.networks.norm import init_normal, instance_norm, scale_widths

PSEUDO_HEALTHY: dict[str, Any] = {
    "channels": (32, 64, 128),
    "blocks": 6,
    "head_kernel": 3,
    "slope": 0.2,
    "activation": "sigmoid",
}


class ResidualGenerator(nn.Module):
    """Residual generator: downsampling, residual blocks and upsampling, without skip connections.

    Source: Johnson et al. 2016 (arXiv 1603.08155), as in Zhu et al. 2017 (CycleGAN, arXiv 1703.10593): a convolution of
    kernel size 7, stride-2 convolutions of kernel size 3, nine blocks of two convolutions of kernel size 3, 2× nearest
    upsampling with convolutions of kernel size 3 (transposed convolutions would leave a checkerboard pattern), and a
    convolution of kernel size 7.

    With :data:`PSEUDO_HEALTHY` it is the generator of Xia et al. 2019 (arXiv 1901.07295, tables 2 and 3).

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the condition.
        out_channels: channels of the image.
        channels: width at each resolution, finest first; each further resolution is half as fine.
        blocks: number of residual blocks, all at the coarsest resolution.
        width: factor on all ``channels``.
        dropout: dropout probability within every residual block.
        head_kernel: kernel size of the last convolution.
        slope: negative slope of the activation in the residual blocks; 0 gives a ReLU.
        activation: ``"tanh"`` for outputs in [−1, 1], ``"sigmoid"`` for [0, 1], ``"none"`` for unbounded outputs.
        affine: whether the instance norms learn a scale and a shift.

    Shapes:
        input ``(batch, in_channels, x, y[, z])``; sizes that are no multiples of :attr:`divisor` are padded by
        reflection at the far end, and the output is cropped again;
        output ``(batch, out_channels, x, y[, z])``.
    """

    def __init__(
        self,
        *,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = (64, 128, 256),
        blocks: int = 9,
        width: float = 1.0,
        dropout: float = 0.0,
        head_kernel: int = 7,
        slope: float = 0.0,
        activation: str = "tanh",
        affine: bool = True,
    ) -> None:
        super().__init__()
        widths = scale_widths(channels, width)
        self.divisor = 2 ** (len(widths) - 1)
        steps, step = list(pairwise(widths)), partial(_step, spatial_dims, affine=affine)
        self.layers = nn.Sequential(
            step(in_channels, widths[0], 7),
            *(step(fine, coarse, 3, stride=2) for fine, coarse in steps),
            *(_Residual(spatial_dims, widths[-1], slope, dropout, affine=affine) for _ in range(blocks)),
            *(nn.Sequential(nn.Upsample(scale_factor=2), step(coarse, fine, 3)) for fine, coarse in reversed(steps)),
            Conv[Conv.CONV, spatial_dims](widths[0], out_channels, head_kernel, padding=head_kernel // 2),
            output_activation(activation),
        )
        init_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the image drawn from ``(batch, in_channels, x, y[, z])``."""
        missing = [-side % self.divisor for side in x.shape[2:]]
        if not any(missing):
            return torch.as_tensor(self.layers(x))
        padded = pad(x, [n for after in reversed(missing) for n in (0, after)], mode="reflect")
        inside: Any = (..., *(slice(side) for side in x.shape[2:]))
        return torch.as_tensor(self.layers(padded)[inside])


class _Residual(nn.Module):
    def __init__(self, spatial_dims: int, channels: int, slope: float, dropout: float, *, affine: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _step(spatial_dims, channels, channels, 3, slope=slope, affine=affine),
            *([nn.Dropout(dropout)] if dropout else []),
            Conv[Conv.CONV, spatial_dims](channels, channels, 3, padding=1),
            instance_norm(spatial_dims, channels, affine=affine),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _step(
    spatial_dims: int,
    in_channels: int,
    out_channels: int,
    kernel: int,
    *,
    stride: int = 1,
    slope: float = 0.0,
    affine: bool = True,
) -> nn.Module:
    return nn.Sequential(
        Conv[Conv.CONV, spatial_dims](in_channels, out_channels, kernel, stride, padding=kernel // 2),
        instance_norm(spatial_dims, out_channels, affine=affine),
        nn.LeakyReLU(slope),
    )
