"""Ends of networks: convolutions that keep the size, and activations that set the range."""

from monai.networks.layers.factories import Conv, Pad
from torch import nn


def same_convolution(spatial_dims: int, in_channels: int, out_channels: int) -> nn.Module:
    """Return a 4-wide convolution of stride 1 that keeps the size: padded by one voxel before and two after."""
    pad = Pad[Pad.CONSTANTPAD, spatial_dims]((1, 2) * spatial_dims, 0.0)
    return nn.Sequential(pad, Conv[Conv.CONV, spatial_dims](in_channels, out_channels, kernel_size=4))


def output_activation(name: str) -> nn.Module:
    """Return what brings an output to its range: ``"tanh"`` for [−1, 1], ``"sigmoid"`` for [0, 1], ``"none"``."""
    return {"tanh": nn.Tanh(), "sigmoid": nn.Sigmoid(), "none": nn.Identity()}[name]
