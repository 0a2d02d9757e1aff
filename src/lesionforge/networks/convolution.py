"""Convolutions of kernel size 4 as in pix2pix, and output activations."""

from collections.abc import Sequence

from monai.networks.layers.factories import Conv, Pad
from torch import Tensor, nn

KERNEL_SIZE = 4


def strided_convolution(spatial_dims: int, in_channels: int, out_channels: int, strides: Sequence[int]) -> nn.Module:
    """Return a convolution of kernel size 4 that divides the size of its input by its strides.

    It pads each axis so that the size is divided exactly; a stride of 1 keeps it.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        out_channels: channels of the output.
        strides: stride along each axis, 1 to 4.
    """
    before, after = _padding(strides)
    convolution = Conv[Conv.CONV, spatial_dims]
    if before == after:
        return convolution(in_channels, out_channels, KERNEL_SIZE, tuple(strides), before)
    sides = [side for both in zip(reversed(before), reversed(after), strict=True) for side in both]
    pad = Pad[Pad.CONSTANTPAD, spatial_dims](tuple(sides), 0.0)
    return nn.Sequential(pad, convolution(in_channels, out_channels, KERNEL_SIZE, tuple(strides)))


def transposed_convolution(spatial_dims: int, in_channels: int, out_channels: int, strides: Sequence[int]) -> nn.Module:
    """Return a transposed convolution of kernel size 4 that multiplies the size of its input by its strides.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        out_channels: channels of the output.
        strides: stride along each axis, 1 to 4.
    """
    before, after = _padding(strides)
    convolution = Conv[Conv.CONVTRANS, spatial_dims]
    if before == after:
        return convolution(in_channels, out_channels, KERNEL_SIZE, tuple(strides), before)
    return nn.Sequential(convolution(in_channels, out_channels, KERNEL_SIZE, tuple(strides)), _Trim(before, after))


def same_convolution(spatial_dims: int, in_channels: int, out_channels: int) -> nn.Module:
    """Return a convolution of kernel size 4 and stride 1 that keeps the size of its input.

    It pads one voxel before and two after along each axis.
    """
    return strided_convolution(spatial_dims, in_channels, out_channels, (1,) * spatial_dims)


def output_activation(name: str) -> nn.Module:
    """Return the activation for an output range.

    Args:
        name: ``"tanh"`` for [−1, 1], ``"sigmoid"`` for [0, 1], ``"none"`` for no activation.
    """
    return {"tanh": nn.Tanh(), "sigmoid": nn.Sigmoid(), "none": nn.Identity()}[name]


class _Trim(nn.Module):
    """Takes voxels off both ends of each axis."""

    def __init__(self, before: Sequence[int], after: Sequence[int]) -> None:
        super().__init__()
        self.before, self.after = tuple(before), tuple(after)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(batch, channel, x, y[, z])`` without the ends."""
        for axis, (before, after) in enumerate(zip(self.before, self.after, strict=True), start=2):
            x = x.narrow(axis, before, x.shape[axis] - before - after)
        return x


def _padding(strides: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return how far the kernel reaches beyond the input, before and after it, along each axis."""
    overlap = [KERNEL_SIZE - stride for stride in strides]
    return tuple(n // 2 for n in overlap), tuple(n - n // 2 for n in overlap)
