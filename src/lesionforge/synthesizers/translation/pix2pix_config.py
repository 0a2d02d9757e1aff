"""Options of pix2pix, and the networks built from them."""

from __future__ import annotations

from math import prod
from typing import Any, Literal, Self

from pydantic import Field, model_validator
from torch import nn

from lesionforge.config import Strides, check_sides, check_strides
from lesionforge.networks.critic import CHANNELS, PatchGAN, smallest_input
from lesionforge.networks.generators.lcgan import CRITIC_CHANNELS, LcganGenerator
from lesionforge.networks.generators.residual_generator import ResidualGenerator
from lesionforge.networks.generators.unet_generator import UNetGenerator
from lesionforge.synthesizers.translation.crop_config import CropConfig
from lesionforge.training.adversarial_step import AdversarialConfig


class Pix2PixConfig(CropConfig):
    """Options of ``pix2pix``, in addition to those of :class:`CropConfig`.

    Attributes:
        network: ``unet``, ``resnet`` or ``lcgan`` (another U-Net and critic, with batch norm).
        channels: widths of a U-Net's steps down, or of the residual generator, finest resolution first.
        strides: strides of each of a U-Net's steps down along each axis, such as ``[[2, 2, 2], [2, 2, 1]]`` for thick
            slices; ``None`` for 2 everywhere.
        width: factor on all widths of both networks.
        adversarial: ``lsgan``, ``log`` or ``hinge``.
        lambda_l1: weight of the L1 loss, over the part of the image that is drawn.
        noise_channels: number of noise channels in the condition.
        num_layers_d: number of hidden convolutions of the critic; 4, 3 and 2 give patches of 70, 34 and 16 voxels.
        spectral_norm: whether the critic uses spectral norm instead of its other norm.
        dropout: dropout probability in the generator: in every step up of ``unet``, in the innermost three steps up of
            ``lcgan``, in every block of ``resnet`` and ``spade``.
        optimiser: see :class:`AdversarialConfig`.
    """

    network: Literal["unet", "resnet", "lcgan"] = "unet"
    channels: tuple[int, ...] = Field(default=(64, 128, 256, 512), min_length=2)
    strides: Strides | None = None
    width: float = Field(default=0.25, gt=0)
    adversarial: Literal["lsgan", "log", "hinge"] = "lsgan"
    lambda_l1: float = Field(default=10.0, ge=0)
    noise_channels: int = Field(default=1, ge=0)
    num_layers_d: Literal[2, 3, 4] = 4
    spectral_norm: bool = False
    dropout: float = Field(default=0.0, ge=0, lt=1)
    optimiser: AdversarialConfig = AdversarialConfig()

    @property
    def divisors(self) -> tuple[int, ...]:
        """Numbers that the sides of the generator's input must be multiples of, along each axis."""
        if self.strides is None:
            return (2 ** (len(self.channels) - (self.network == "resnet")),) * self.spatial_dims
        return tuple(prod(along) for along in zip(*self.strides, strict=True))

    @property
    def smallest(self) -> int:
        """Smallest side of the critic's input, in voxels."""
        return smallest_input()

    @model_validator(mode="after")
    def _strides_fit(self) -> Self:
        if self.strides is None:
            return self
        if self.network not in ("unet", "lcgan"):
            raise ValueError(f"strides is given, but network is {self.network}; only unet and lcgan have strides")
        check_strides(self.strides, steps=len(self.channels), spatial_dims=self.spatial_dims)
        return self

    @model_validator(mode="after")
    def _roi_fits(self) -> Self:
        if self.roi_size is not None:
            check_sides(self.roi_size, divisors=self.divisors, least=self.smallest)
        return self

    def noise(self, image_channels: int) -> int:
        """Return the number of noise channels in the condition."""
        return self.noise_channels

    def generator(self, in_channels: int, out_channels: int) -> nn.Module:
        """Return the generator for these options."""
        sizes: dict[str, Any] = {
            "spatial_dims": self.spatial_dims,
            "in_channels": in_channels,
            "out_channels": out_channels,
            "channels": self.channels,
            "width": self.width,
        }
        if self.network == "resnet":
            return ResidualGenerator(**sizes, dropout=self.dropout)
        unet = LcganGenerator if self.network == "lcgan" else UNetGenerator
        return unet(**sizes, strides=self.strides, dropout=self.dropout)

    def critic(self, in_channels: int) -> nn.Module:
        """Return the critic for these options."""
        lcgan = self.network == "lcgan"
        return PatchGAN(
            spatial_dims=self.spatial_dims,
            in_channels=in_channels,
            channels=(CRITIC_CHANNELS if lcgan else CHANNELS)[: self.num_layers_d],
            strides=(*[2] * (self.num_layers_d - 1), 1),
            width=self.width,
            norm="batch" if lcgan else "instance",
            spectral_norm=self.spectral_norm,
        )
