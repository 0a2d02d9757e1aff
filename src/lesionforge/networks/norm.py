"""Instance normalisation that survives maps of a single voxel."""

from collections.abc import Sequence

from monai.networks.layers.factories import Norm
from torch import Tensor, nn


class _SingleVoxelSafe(nn.Module):
    """Instance norm; a map of one voxel, which has no variance, is only scaled and shifted."""

    def __init__(self, norm: nn.InstanceNorm2d | nn.InstanceNorm3d) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channel, x, y[, z])`` to the same."""
        if x[0, 0].numel() > 1:
            return self.norm(x)
        if self.norm.weight is None:
            return x
        shape = (1, -1, *([1] * (x.ndim - 2)))
        return x * self.norm.weight.view(shape) + self.norm.bias.view(shape)


def instance_norm(spatial_dims: int, channels: int, *, affine: bool = True) -> nn.Module:
    """Return instance norm for ``(batch, channel, x, y[, z])`` maps of any size, one voxel included."""
    return _SingleVoxelSafe(Norm[Norm.INSTANCE, spatial_dims](channels, affine=affine))


def init_normal(module: nn.Module, *, std: float = 0.02) -> None:
    """Draw convolution weights from N(0, std), zero their biases (pix2pix, section 6.2)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            nn.init.normal_(layer.weight, 0.0, std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def scale_widths(channels: Sequence[int], width: float) -> tuple[int, ...]:
    """Multiply layer widths by ``width``, keeping at least one channel each."""
    return tuple(max(1, round(c * width)) for c in channels)
