"""Options of pix2pix, and the networks and condition built from them."""

from __future__ import annotations

from math import lcm, prod
from typing import Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator
from torch import nn

from lesionforge.config import RoiSize, ScanConfig, Strides, check_sides, check_strides
from lesionforge.networks.critic import CHANNELS, PatchGAN, smallest_input
from lesionforge.networks.generators.lcgan import CRITIC_CHANNELS, LcganGenerator
from lesionforge.networks.generators.residual_generator import ResidualGenerator
from lesionforge.networks.generators.unet_generator import UNetGenerator
from lesionforge.synthesizers.translation.conditions import Condition, ConditionName
from lesionforge.training.adversarial_step import AdversarialConfig
from lesionforge.training.callbacks.candidates import CandidateUnit
from lesionforge.training.model_folder import ModelInfo


class Pix2PixConfig(ScanConfig):
    """Options of ``pix2pix``.

    Attributes:
        condition: ``label`` (draws the image from the label map), ``scan`` (from the scan with its lesion smoothed
            away) or ``inpaint`` (fills a hole around the lesion).
        spatial_dims: 2 or 3.
        network: ``unet``, ``resnet`` or ``lcgan`` (another U-Net and critic, with batch norm).
        channels: widths of a U-Net's steps down, or of the residual generator, finest resolution first.
        strides: strides of each of a U-Net's steps down along each axis, such as ``[[2, 2, 2], [2, 2, 1]]`` for thick
            slices; ``None`` for 2 everywhere.
        roi_size: size in voxels of training crops. Each side must be a multiple of the product of its axis' strides.
            ``None`` takes the fingerprint's crop size; for label maps in 2D, whole slices.
        width: factor on all widths of both networks.
        adversarial: ``lsgan``, ``log`` or ``hinge``.
        lambda_l1: weight of the L1 loss, over the part of the image that is drawn.
        margin_mm: distance in millimetres by which the erased hole (``inpaint``) or the blended edge extends beyond the
            mask.
        noise_channels: number of noise channels in the condition.
        num_layers_d: number of hidden convolutions of the critic; 4, 3 and 2 give patches of 70, 34 and 16 voxels.
        lesion_intensity: whether both networks see the lesion's mean intensity (``scan`` and ``inpaint``). A new lesion
            gets the intensity of a random training crop, relative to its surroundings.
        spectral_norm: whether the critic uses spectral norm instead of its other norm.
        dropout: dropout probability in the generator: in every step up of ``unet``, in the innermost three steps up of
            ``lcgan``, in every block of ``resnet`` and ``spade``.
        augment: augmentation of training crops: ``true`` flips, rotates and scales; ``affine`` is the augmentation of
            the stroke system, see :func:`~lesionforge.augmentation.affine.affine_augmentation`; ``ct_published`` is
            that of the segmentation in the paper on haemorrhage CT, see
            :func:`~lesionforge.augmentation.head_ct.published_ct_augmentation`.
        mirror: whether to mirror left and right in half of the training crops.
        jitter: whether to enlarge training crops by 286/256 and crop them back at a random position.
        lesion_share: fraction of the training crops that show a lesion, for ``label``; with 1, lesion-free slices and
            scans are not used.
        candidates: epochs (or steps, see ``candidates_in``) after which the generator is kept in ``candidates/``.
            Training then ends with the last of them, whatever the number of steps. An epoch has as many training crops
            as there are slices (3D: scans) to cut them from.
        candidates_in: unit of ``candidates``: ``epochs``, or optimiser ``steps``, with which generators of few and of
            many cases train equally long.
        optimiser: see :class:`AdversarialConfig`.
    """

    condition: ConditionName = "inpaint"
    spatial_dims: Literal[2, 3] = 2
    network: Literal["unet", "resnet", "lcgan"] = "unet"
    channels: tuple[int, ...] = Field(default=(64, 128, 256, 512), min_length=2)
    strides: Strides | None = None
    roi_size: RoiSize | None = None
    width: float = Field(default=0.25, gt=0)
    adversarial: Literal["lsgan", "log", "hinge"] = "lsgan"
    lambda_l1: float = Field(default=10.0, ge=0)
    margin_mm: float = Field(default=6.0, ge=0)
    noise_channels: int = Field(default=1, ge=0)
    num_layers_d: Literal[2, 3, 4] = 4
    lesion_intensity: bool = True
    spectral_norm: bool = False
    dropout: float = Field(default=0.0, ge=0, lt=1)
    augment: bool | Literal["affine", "ct_published"] = True
    mirror: bool = False
    jitter: bool = False
    lesion_share: float = Field(default=0.5, ge=0, le=1)
    candidates: tuple[PositiveInt, ...] = ()
    candidates_in: CandidateUnit = "epochs"
    optimiser: AdversarialConfig = AdversarialConfig()

    @property
    def divisors(self) -> tuple[int, ...]:
        """Numbers that the sides of the generator's input must be multiples of, along each axis."""
        if self.strides is None:
            return (2 ** (len(self.channels) - (self.network == "resnet")),) * self.spatial_dims
        return tuple(prod(along) for along in zip(*self.strides, strict=True))

    @property
    def divisor(self) -> int:
        """The least common multiple of :attr:`divisors`."""
        return lcm(*self.divisors)

    @property
    def smallest(self) -> int:
        """Smallest side of the critic's input, in voxels."""
        return smallest_input()

    @property
    def whole_slices(self) -> bool:
        """Whether 2D training items are whole slices by default; they are for label maps."""
        return self.condition == "label"

    @property
    def lesions_only(self) -> bool:
        """Whether every training crop lies around a lesion."""
        return self.condition != "label" or self.lesion_share == 1

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


def condition_of(config: Pix2PixConfig, info: ModelInfo) -> Condition:
    """Return the condition for these options and the model's channels and classes."""
    return Condition(
        name=config.condition,
        image_channels=len(info.preprocessing.channels),
        classes=info.classes,
        anatomy=info.anatomy,
        noise_channels=config.noise_channels,
        lesion_intensity=config.lesion_intensity and config.condition != "label",
    )
