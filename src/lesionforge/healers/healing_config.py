"""Options of the methods that remove lesions, and the networks built from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator
from torch import nn

from lesionforge.config import Millimetres, RoiSize, ScanConfig, check_sides
from lesionforge.networks.critic import PatchGAN
from lesionforge.networks.generators.change import ChangeGenerator
from lesionforge.networks.generators.residual_generator import PSEUDO_HEALTHY, ResidualGenerator
from lesionforge.training.adversarial_step import AdversarialConfig

CRITIC_CHANNELS = (32, 128, 256, 512)


class HealingConfig(ScanConfig):
    """Options shared by all methods that remove lesions.

    The default widths are those of Xia et al. 2019, multiplied by ``width``.

    Attributes:
        spatial_dims: 2 or 3.
        channels: widths of the generators, finest resolution first.
        blocks: number of residual blocks in each generator.
        draws: output of the generators: the whole ``image``, as published, or the ``change`` to the input image, which
            converges in a fraction of the steps.
        critic_channels: widths of the critics' convolutions, each of which halves the size.
        width: factor on all widths; 1 gives those of the paper.
        spacing: voxel spacing in millimetres per axis to which scans are resampled; ``None`` takes the median of the
            training cases. The change is resampled back to the grid of the scan, so a coarse spacing costs the scan no
            detail. A given preprocessing, such as that of a plan with arms, overrides it.
        roi_size: size in voxels of training items and of the sliding windows at inference; ``None`` takes whole slices
            (2D) or the fingerprint's crop size (3D).
        adversarial: ``lsgan``, ``wgan`` (with gradient penalty; critics without norm, no image pool) or ``bounded`` (as
            printed in the paper, with a sigmoid).
        lambda_gp: weight of the gradient penalty, for ``wgan``.
        margin_mm: distance from a lesion, in millimetres, within which a scan may change when only lesions are
            replaced.
        augment: whether to mirror left and right at random, and to rotate by up to 5°.
        fraction: fraction of the height of the head, around its middle, from which slices of volumes are taken; the
            "middle 60" slices of the paper correspond to about 0.4.
        level_bins: number of bins of the height of the head. Healthy slices of volumes are drawn as often in each bin
            as pathological ones, so that the critic cannot learn the height. ``None`` draws all healthy slices equally
            often.
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
        """Return the defaults; ``wgan`` has no image pool."""
        defaults = super().defaults(given)
        if given.get("adversarial") == "wgan":
            defaults["optimiser"] = defaults["optimiser"].model_copy(update={"pool_size": 0})
        return defaults

    @property
    def affine(self) -> bool:
        """Whether the norms of the generators learn a scale and a shift."""
        return True

    @property
    def divisor(self) -> int:
        """Each side of the networks' input must be a multiple of this number."""
        return int(2 ** (len(self.channels) - 1))

    @property
    def smallest(self) -> int:
        """Smallest side of the networks' input, in voxels."""
        return max(2 * self.divisor, int(2 ** len(self.critic_channels)))

    @property
    def whole_slices(self) -> bool:
        """Whether 2D training items are whole slices by default."""
        return True

    @model_validator(mode="after")
    def _wgan_has_no_pool(self) -> Self:
        if self.adversarial == "wgan" and self.optimiser.pool_size:
            raise ValueError("optimiser.pool_size is not 0, but a wgan critic judges only new fakes")
        return self

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.spacing is not None and len(self.spacing) != self.spatial_dims:
            raise ValueError(f"spacing is {self.spacing}, but needs {self.spatial_dims} numbers")
        if self.roi_size is not None:
            check_sides(self.roi_size, divisors=(self.divisor,) * self.spatial_dims, least=self.smallest)
        return self

    def generator(self, in_channels: int, out_channels: int) -> nn.Module:
        """Return a generator (Xia et al. 2019, tables 2 and 3)."""
        sizes: dict[str, Any] = {**PSEUDO_HEALTHY, "channels": self.channels, "blocks": self.blocks}
        if self.draws == "change":
            sizes["activation"] = "tanh"
        generator = ResidualGenerator(
            spatial_dims=self.spatial_dims,
            in_channels=in_channels,
            out_channels=out_channels,
            width=self.width,
            affine=self.affine,
            **sizes,
        )
        return ChangeGenerator(generator, channels=out_channels) if self.draws == "change" else generator

    def critic(self, in_channels: int) -> nn.Module:
        """Return a critic with linear output (Xia et al. 2019, table 4); it has no norm with ``wgan``."""
        return PatchGAN(
            spatial_dims=self.spatial_dims,
            in_channels=in_channels,
            channels=self.critic_channels,
            strides=(2,) * len(self.critic_channels),
            keep_size=True,
            width=self.width,
            norm="none" if self.adversarial == "wgan" else "instance",
        )
