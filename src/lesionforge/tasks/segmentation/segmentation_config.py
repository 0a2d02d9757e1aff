"""Options of the segmentation task and the network that they define."""

from __future__ import annotations

from collections.abc import Sequence
from math import lcm, prod
from pathlib import Path
from typing import Literal, Self

from monai.networks.nets import SegResNet, UNet
from pydantic import Field, model_validator
from torch import nn

from lesionforge.config import Strides, check_sides, check_strides
from lesionforge.networks.segmentation.fcn8s import FCN8s
from lesionforge.networks.segmentation.segmentor import ResidualSegmentor
from lesionforge.networks.segmentation.stroke_unet import StrokeUNet
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.tasks.base import TaskConfig
from lesionforge.training.model_folder import ModelInfo

Augment = Literal["none", "classical", "affine", "elastic", "ct", "ct_published"]


class SegmentationConfig(TaskConfig):
    """Options of the segmentation task.

    Attributes:
        spatial_dims: 2 (slices along the thickest axis) or 3.
        network: ``residual`` (MONAI's U-Net with residual units and instance norm), ``segresnet`` (Myronenko 2018,
            MONAI's ``SegResNet`` without its autoencoder: deeper on the way down, group norm), ``stroke`` (Platscher et
            al. 2020: plain convolutions with ReLU), ``pseudo_healthy`` (Xia et al. 2019: residual, leaky ReLU) or
            ``fcn8s`` (Long et al. 2015: VGG-16, slices only; it has no norm layers, so at full width use a learning
            rate of 1e-4).
        filters: all networks except ``fcn8s``: width at each resolution; each resolution is half of the one before.
            Those of ``segresnet`` start with a multiple of 8 and double.
        strides: ``residual``: strides of each step from one resolution to the next along each axis, such as
            ``[[2, 2, 1], [2, 2, 2]]`` for thick slices; ``None`` for 2 everywhere.
        width: ``fcn8s``: factor on the published widths.
        res_units: ``residual``: residual units at each resolution; 0 uses one plain convolution instead.
        dropout: dropout probability in every layer; for ``fcn8s`` only in fc6 and fc7, published as 0.5.
        weights: ``fcn8s`` at ``width=1``: file with VGG-16 weights in torchvision's key names to start from, such as
            the ImageNet weights. It is read only for training; see
            :func:`~lesionforge.networks.segmentation.vgg_weights.load_vgg16`.
        roi_size: size in voxels of training items and of the sliding windows in prediction; ``None`` uses whole slices
            (2D) or the fingerprint's crop (3D).
        normalise: ``tissue`` scales intensities relative to each scan's typical tissue; ``none`` uses those of the
            preprocessing.
        learning_rate: initial learning rate of Adam.
        augment: ``none``, ``classical`` (nnU-Net's list), ``affine`` (small movements, as in the stroke system),
            ``elastic`` (rotation, translation and elastic deformation, as in the paper on whole synthetic patients),
            ``ct_published`` (the augmentation of the paper on haemorrhage CT) or ``ct`` (that and nnU-Net's list).
        mirror: ``classical``: whether to mirror training items; set it to ``false`` for classes that have a side.
        lesion_share: share of training items that are taken from a lesion.
        min_lesion_voxels: minimum total number of lesion voxels of a training case; lesion-free cases are always used.
    """

    network: Literal["residual", "segresnet", "stroke", "pseudo_healthy", "fcn8s"] = "residual"
    filters: tuple[int, ...] = Field(default=(16, 32, 64, 128, 256), min_length=2)
    strides: Strides | None = None
    width: float = Field(default=0.25, gt=0)
    res_units: int = Field(default=2, ge=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    weights: Path | None = None
    normalise: Literal["tissue", "none"] = "tissue"
    augment: Augment = "classical"
    mirror: bool = True
    min_lesion_voxels: int = Field(default=0, ge=0)

    @property
    def divisors(self) -> tuple[int, ...]:
        """Numbers that the sides of the network's input must be multiples of, along each axis."""
        if self.strides is not None:
            return tuple(prod(along) for along in zip(*self.strides, strict=True))
        return (FCN8s.divisor if self.network == "fcn8s" else 2**self.steps_down,) * self.spatial_dims

    @property
    def steps_down(self) -> int:
        """Number of steps from one resolution to the next."""
        return len(self.filters) - 1

    @property
    def divisor(self) -> int:
        """The least common multiple of :attr:`divisors`."""
        return lcm(*self.divisors)

    @property
    def smallest(self) -> int:
        """Smallest side of a training item that is chosen by the data, in voxels."""
        return max(self.divisor, self.least_side)

    @property
    def least_side(self) -> int:
        """Smallest side of a training item, in voxels."""
        return 1

    @property
    def whole_slices(self) -> bool:
        """Whether 2D items are whole slices by default; always true."""
        return True

    @model_validator(mode="after")
    def _network_fits(self) -> Self:
        if self.network == "fcn8s" and self.spatial_dims == 3:
            raise ValueError("fcn8s is a network for slices: set spatial_dims=2, or take another network")
        if self.weights is not None and (self.network != "fcn8s" or self.width != 1):
            raise ValueError("weights need network=fcn8s and width=1: set both, or leave out the weights")
        if self.network == "segresnet" and (self.filters[0] % 8 or self.filters != doubled(self.filters)):
            what = f"filters is {self.filters}, but those of segresnet start with a multiple of 8 and double"
            raise ValueError(f"{what}, as 16, 32, 64")
        if self.strides is not None:
            if self.network in ("segresnet", "stroke", "pseudo_healthy", "fcn8s"):
                raise ValueError(f"strides is given, but those of {self.network} are fixed: take another network")
            check_strides(self.strides, steps=self.steps_down, spatial_dims=self.spatial_dims)
        return self

    @model_validator(mode="after")
    def _roi_fits(self) -> Self:
        if self.roi_size is not None:
            check_sides(self.roi_size, divisors=self.divisors, least=self.least_side)
        return self


def doubled(filters: Sequence[int]) -> tuple[int, ...]:
    """Return as many widths, each twice the one before, starting with the same."""
    return tuple(filters[0] * 2**level for level in range(len(filters)))


def make_network(config: SegmentationConfig, info: ModelInfo) -> nn.Module:
    """Return the network that the options define; it outputs the logits of every class, background first."""
    channels, classes = len(info.preprocessing.channels), len(info.classes) + 1
    if config.network == "fcn8s":
        return FCN8s(in_channels=channels, out_channels=classes, width=config.width, dropout=config.dropout)
    if config.network == "stroke":
        return StrokeUNet(
            spatial_dims=config.spatial_dims,
            in_channels=channels,
            out_channels=classes,
            filters=config.filters,
            dropout=config.dropout,
        )
    if config.network == "pseudo_healthy":
        return ResidualSegmentor(
            spatial_dims=config.spatial_dims,
            in_channels=channels,
            out_channels=classes,
            channels=config.filters,
            dropout=config.dropout,
            sigmoid=False,
        )
    if config.network == "segresnet":
        levels = len(config.filters)
        return SegResNet(
            spatial_dims=config.spatial_dims,
            init_filters=config.filters[0],
            in_channels=channels,
            out_channels=classes,
            dropout_prob=config.dropout or None,
            blocks_down=(1, *[2] * (levels - 2), 4),
            blocks_up=(1,) * (levels - 1),
        )
    strides = config.strides or ((2,) * config.spatial_dims,) * (len(config.filters) - 1)
    return UNet(
        spatial_dims=config.spatial_dims,
        in_channels=channels,
        out_channels=classes,
        channels=config.filters,
        strides=strides,  # type: ignore[arg-type]
        num_res_units=config.res_units,
        dropout=config.dropout,
    )


def background_of(config: SegmentationConfig, preprocessing: Preprocessing) -> float:
    """Return the intensity of air in the network's input."""
    return -1.0 if config.normalise == "tissue" else preprocessing.output[0]
