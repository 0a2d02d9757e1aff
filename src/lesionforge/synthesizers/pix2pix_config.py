"""The options of pix2pix, and what follows from them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from lesionforge.cohort.fingerprint import Fingerprint
from lesionforge.config import MethodConfig
from lesionforge.networks.discriminator import smallest_input
from lesionforge.synthesizers.conditions import Condition, ConditionName
from lesionforge.training.adversarial import AdversarialConfig
from lesionforge.training.model_folder import ModelInfo


class Pix2PixConfig(MethodConfig):
    """Options of ``pix2pix``.

    Attributes:
        condition: ``label``, ``scan`` or ``inpaint``.
        spatial_dims: 2 or 3.
        channels: widths of the generator's steps down.
        roi_size: crop to train on, in voxels, each side a multiple of 2 to the number of steps down; ``None`` takes it
            from the fingerprint.
        width: factor on all widths of both networks.
        adversarial: ``lsgan``, ``log`` or ``hinge``.
        lambda_l1: weight of the absolute difference, over the part of the image that is drawn.
        margin_mm: how far the erased hole (``inpaint``) or the blended edge reaches beyond the mask.
        noise_channels: channels of noise in the condition.
        num_layers_d: hidden convolutions of the critic: with 4 it judges patches of 70 voxels, with 3 of 34, with 2
            of 16.
        lesion_intensity: show both networks the lesion's mean intensity (``scan`` and ``inpaint``); for a new lesion it
            is that of a random training crop, relative to typical tissue.
        spectral_norm: in the critic, instead of instance norm.
        dropout: in the generator's inner decoder.
        augment: flip, turn and scale training crops.
        optimiser: see :class:`AdversarialConfig`.
    """

    condition: ConditionName = "inpaint"
    spatial_dims: Literal[2, 3] = 2
    channels: tuple[int, ...] = (64, 128, 256, 512)
    roi_size: tuple[int, ...] | None = None
    width: float = Field(default=0.25, gt=0)
    adversarial: Literal["lsgan", "log", "hinge"] = "lsgan"
    lambda_l1: float = Field(default=10.0, ge=0)
    margin_mm: float = Field(default=6.0, ge=0)
    noise_channels: int = Field(default=1, ge=0)
    num_layers_d: Literal[2, 3, 4] = 4
    lesion_intensity: bool = True
    spectral_norm: bool = False
    dropout: float = Field(default=0.0, ge=0, lt=1)
    augment: bool = True
    optimiser: AdversarialConfig = AdversarialConfig()

    @field_validator("roi_size")
    @classmethod
    def _fits_the_networks(cls, roi_size: tuple[int, ...] | None, info: ValidationInfo) -> tuple[int, ...] | None:
        if roi_size is None or not {"spatial_dims", "channels"} <= info.data.keys():
            return roi_size
        dims, divisor = info.data["spatial_dims"], 2 ** len(info.data["channels"])
        if len(roi_size) != dims or any(n % divisor or n < smallest_input() for n in roi_size):
            raise ValueError(f"needs {dims} sides, each a multiple of {divisor} and {smallest_input()} or more")
        return roi_size


def default_roi_size(facts: Fingerprint, config: Pix2PixConfig) -> tuple[int, ...]:
    """Return the fingerprint's crop, wherever that is too thin as wide as the critic needs it."""
    divisor = 2 ** len(config.channels)
    smallest = -(-smallest_input() // divisor) * divisor
    return tuple(max(n, smallest) for n in facts.roi_size(config.spatial_dims, divisor=divisor))


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
