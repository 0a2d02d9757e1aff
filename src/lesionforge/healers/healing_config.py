"""The options of methods that heal, and the networks that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator
from torch import nn

from lesionforge.config import Millimetres, RoiSize, ScanConfig
from lesionforge.networks.change import ChangeGenerator
from lesionforge.networks.critic import PatchGAN
from lesionforge.networks.residual_generator import PSEUDO_HEALTHY, ResidualGenerator
from lesionforge.training.adversarial_step import AdversarialConfig

CRITIC_CHANNELS = (32, 128, 256, 512)


class HealingConfig(ScanConfig):
    """Options of every method that heals; the widths are those of Xia et al. 2019, times ``width``.

    Attributes:
        spatial_dims: 2 or 3.
        channels: widths of the generators from their finest resolution.
        blocks: residual blocks of the generators.
        draws: what generators draw: the whole ``image``, as published, or the ``change`` to the one they are shown,
            which settles in a fraction of the steps.
        critic_channels: widths of the critics' convolutions, each of which halves the size.
        width: factor on all widths; 1 is the paper's.
        spacing: millimetres per axis that scans are brought to; ``None`` takes the median of the training cases. What
            is removed from a scan is brought back to the scan's own grid, so a coarser one costs it no detail. Where
            the preprocessing is given, as by a plan with arms, its spacing counts.
        roi_size: size in voxels of training items, and of the windows that slide over a scan; ``None`` takes whole
            slices (2D) or the fingerprint's crop (3D).
        adversarial: ``lsgan``, ``wgan`` (with gradient penalty; its critics have no norm and no pool) or ``bounded``
            (as printed in the paper, with a sigmoid).
        lambda_gp: weight of the gradient penalty.
        margin_mm: how far beyond a lesion a scan may change where only lesions are replaced.
        augment: mirror left and right, and turn by up to 5°.
        fraction: slices of volumes: the middle of the head's height that they are taken from; the "middle 60" slices of
            the paper's volumes are about 0.4.
        level_bins: slices of volumes: healthy ones are drawn at the levels of the pathological ones, in so many bins of
            the head's height, lest the critic learn height; ``None`` draws all alike.
        optimiser: see :class:`AdversarialConfig`.
    """

    spatial_dims: Literal[2, 3] = 2
    channels: tuple[int, ...] = Field(default=PSEUDO_HEALTHY["channels"], min_length=2)
    blocks: int = Field(default=PSEUDO_HEALTHY["blocks"], ge=1)
    draws: Literal["image", "change"] = "image"
    critic_channels: tuple[int, ...] = Field(default=CRITIC_CHANNELS, min_length=1)
    width: float = Field(default=0.25, gt=0)
    spacing: tuple[Millimetres, ...] | None = None
    roi_size: RoiSize | None = None
    adversarial: Literal["lsgan", "wgan", "bounded"] = "lsgan"
    lambda_gp: float = Field(default=10.0, ge=0)
    margin_mm: float = Field(default=6.0, ge=0)
    augment: bool = True
    fraction: float = Field(default=1.0, gt=0, le=1)
    level_bins: int | None = Field(default=20, ge=1)
    optimiser: AdversarialConfig = AdversarialConfig(learning_rate=1e-4)

    @classmethod
    def defaults(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the defaults; ``wgan`` has no pool."""
        defaults = super().defaults(given)
        if given.get("adversarial") == "wgan":
            defaults["optimiser"] = defaults["optimiser"].model_copy(update={"pool_size": 0})
        return defaults

    @property
    def divisor(self) -> int:
        """What the networks need each side of their input to be a multiple of."""
        return int(2 ** (len(self.channels) - 1))

    @property
    def smallest(self) -> int:
        """The smallest side, in voxels, that the networks can take."""
        return max(2 * self.divisor, int(2 ** len(self.critic_channels)))

    @property
    def whole_slices(self) -> bool:
        """Slices are trained on whole, unless a size is given."""
        return True

    @model_validator(mode="after")
    def _wgan_has_no_pool(self) -> Self:
        if self.adversarial == "wgan" and self.optimiser.pool_size:
            raise ValueError("optimiser.pool_size is not 0, but a critic under wgan judges new fakes alone")
        return self

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.spacing is not None and len(self.spacing) != self.spatial_dims:
            raise ValueError(f"spacing is {self.spacing}, but needs {self.spatial_dims} numbers")
        if self.roi_size is None:
            return self
        if len(self.roi_size) != self.spatial_dims or any(n % self.divisor or n < self.smallest for n in self.roi_size):
            sides = f"{self.spatial_dims} sides, each a multiple of {self.divisor} and {self.smallest} or more"
            raise ValueError(f"roi_size is {self.roi_size}, but needs {sides}")
        return self

    def generator(self, in_channels: int, out_channels: int) -> nn.Module:
        """Return a generator: tables 2 and 3."""
        sizes: dict[str, Any] = {**PSEUDO_HEALTHY, "channels": self.channels, "blocks": self.blocks}
        if self.draws == "change":
            sizes["activation"] = "tanh"
        generator = ResidualGenerator(
            spatial_dims=self.spatial_dims,
            in_channels=in_channels,
            out_channels=out_channels,
            width=self.width,
            **sizes,
        )
        return ChangeGenerator(generator, channels=out_channels) if self.draws == "change" else generator

    def critic(self, in_channels: int) -> nn.Module:
        """Return a critic: table 4; its output is linear. A gradient penalty allows it no norm."""
        return PatchGAN(
            spatial_dims=self.spatial_dims,
            in_channels=in_channels,
            channels=self.critic_channels,
            strides=(2,) * len(self.critic_channels),
            keep_size=True,
            width=self.width,
            norm="none" if self.adversarial == "wgan" else "instance",
        )
