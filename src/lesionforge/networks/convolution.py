"""Convolutions that keep the size, and output activations."""

from monai.networks.layers.factories import Conv, Pad
from torch import nn


def same_convolution(spatial_dims: int, in_channels: int, out_channels: int) -> nn.Module:
    """Return a convolution of kernel size 4 and stride 1 that keeps the size of its input.

    It pads one voxel before and two after along each axis.
    """
    pad = Pad[Pad.CONSTANTPAD, spatial_dims]((1, 2) * spatial_dims, 0.0)
    return nn.Sequential(pad, Conv[Conv.CONV, spatial_dims](in_channels, out_channels, kernel_size=4))


def output_activation(name: str) -> nn.Module:
    """Return the activation for an output range.

    Args:
        name: ``"tanh"`` for [−1, 1], ``"sigmoid"`` for [0, 1], ``"none"`` for no activation.
    """
    return {"tanh": nn.Tanh(), "sigmoid": nn.Sigmoid(), "none": nn.Identity()}[name]
