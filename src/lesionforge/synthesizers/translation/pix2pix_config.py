"""The options of pix2pix, and what follows from them."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator
from torch import nn

from lesionforge.config import RoiSize, ScanConfig
from lesionforge.networks.critic import CHANNELS, PatchGAN, smallest_input
from lesionforge.networks.lcgan import CRITIC_CHANNELS, LcganGenerator
from lesionforge.networks.residual_generator import ResidualGenerator
from lesionforge.networks.unet_generator import UNetGenerator
from lesionforge.synthesizers.translation.conditions import Condition, ConditionName
from lesionforge.training.adversarial_step import AdversarialConfig
from lesionforge.training.candidates import CandidateUnit
from lesionforge.training.model_folder import ModelInfo


class Pix2PixConfig(ScanConfig):
    """Options of ``pix2pix``.

    Attributes:
        condition: ``label``, ``scan`` or ``inpaint``.
        spatial_dims: 2 or 3.
        network: ``unet``, ``resnet`` or ``lcgan``, which is another U-Net and another critic, with batch norm.
        channels: widths of a U-Net's steps down, or of the residual generator from its finest resolution.
        roi_size: crop to train on, in voxels, each side a multiple of 2 to the number of steps down; ``None`` takes it
            from the fingerprint, for label maps in 2D whole slices.
        width: factor on all widths of both networks.
        adversarial: ``lsgan``, ``log`` or ``hinge``.
        lambda_l1: weight of the absolute difference, over the part of the image that is drawn.
        margin_mm: how far the erased hole (``inpaint``) or the blended edge reaches beyond the mask.
        noise_channels: channels of noise in the condition.
        num_layers_d: hidden convolutions of the critic: with 4 it judges patches of 70 voxels, with 3 of 34, with 2
            of 16.
        lesion_intensity: show both networks the lesion's mean intensity (``scan`` and ``inpaint``); for a new lesion it
            is that of a random training crop, relative to typical tissue.
        spectral_norm: in the critic, instead of another norm.
        dropout: probability in the generator's decoder: in every step up of ``unet``, in the innermost three of
            ``lcgan``; in every block of ``resnet`` and of ``spade``.
        augment: flip, turn and scale training crops; ``ct_published`` varies them as the paper on haemorrhage CT varies
            what it segments, ``affine`` as the stroke system does, see
            :func:`~lesionforge.augmentation.head_ct.published_ct_augmentation` and
            :func:`~lesionforge.augmentation.affine.affine_augmentation`.
        mirror: show half of the training crops with left and right exchanged.
        jitter: enlarge training crops by 286/256 and cut them back at random.
        lesion_share: ``label``: share of the training crops that show a lesion; with 1, slices and scans without one
            are left out.
        candidates: epochs whose generators are kept in ``candidates/``; if there are any, training ends with the last
            of them, whatever its number of steps. An epoch is as many training crops as there are slices (in 3D scans)
            that they are cut from.
        candidates_in: what ``candidates`` counts, ``epochs`` or optimiser ``steps``, so that generators of few and of
            many cases are trained for as long.
        optimiser: see :class:`AdversarialConfig`.
    """

    condition: ConditionName = "inpaint"
    spatial_dims: Literal[2, 3] = 2
    network: Literal["unet", "resnet", "lcgan"] = "unet"
    channels: tuple[int, ...] = Field(default=(64, 128, 256, 512), min_length=2)
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
    def divisor(self) -> int:
        """What the generator needs each side of its input to be a multiple of."""
        return int(2 ** (len(self.channels) - (self.network == "resnet")))

    @property
    def smallest(self) -> int:
        """The smallest side, in voxels, that the critic can take."""
        return smallest_input()

    @property
    def whole_slices(self) -> bool:
        """Label maps are trained on in whole slices, unless a size is given."""
        return self.condition == "label"

    @property
    def lesions_only(self) -> bool:
        """Whether every training crop is taken around a lesion."""
        return self.condition != "label" or self.lesion_share == 1

    @model_validator(mode="after")
    def _roi_fits(self) -> Self:
        if self.roi_size is None:
            return self
        least = self.smallest
        if len(self.roi_size) != self.spatial_dims or any(n % self.divisor or n < least for n in self.roi_size):
            sides = f"{self.spatial_dims} sides, each a multiple of {self.divisor} and {least} or more"
            raise ValueError(f"roi_size is {self.roi_size}, but needs {sides}")
        return self

    def generator(self, in_channels: int, out_channels: int) -> nn.Module:
        """Return the generator that the options ask for."""
        sizes: dict[str, Any] = {
            "spatial_dims": self.spatial_dims,
            "in_channels": in_channels,
            "out_channels": out_channels,
            "channels": self.channels,
            "width": self.width,
        }
        if self.network == "resnet":
            return ResidualGenerator(**sizes, dropout=self.dropout)
        if self.network == "lcgan":
            return LcganGenerator(**sizes, dropout=self.dropout)
        return UNetGenerator(**sizes, dropout=self.dropout)

    def critic(self, in_channels: int) -> nn.Module:
        """Return the critic that the options ask for."""
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
    """Return the condition that the options ask for."""
    return Condition(
        name=config.condition,
        image_channels=len(info.preprocessing.channels),
        classes=info.classes,
        anatomy=info.anatomy,
        noise_channels=config.noise_channels,
        lesion_intensity=config.lesion_intensity and config.condition != "label",
    )
