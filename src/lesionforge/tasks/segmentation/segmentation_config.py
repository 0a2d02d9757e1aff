"""Options of the segmentation task and the network that they define."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from monai.networks.nets import UNet
from pydantic import Field, model_validator
from torch import nn

from lesionforge.networks.segmentation.fcn8s import FCN8s
from lesionforge.networks.segmentation.segmentor import ResidualSegmentor
from lesionforge.networks.segmentation.stroke_unet import StrokeUNet
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.tasks.base import TaskConfig
from lesionforge.training.model_folder import ModelInfo

Augment = Literal["none", "classical", "affine", "ct", "ct_published"]


class SegmentationConfig(TaskConfig):
    """Options of the segmentation task.

    Attributes:
        spatial_dims: 2 (slices along the thickest axis) or 3.
        network: ``residual`` (MONAI's U-Net with residual units and instance norm), ``stroke`` (Platscher et al. 2020:
            plain convolutions with ReLU), ``pseudo_healthy`` (Xia et al. 2019: residual, leaky ReLU) or ``fcn8s`` (Long
            et al. 2015: VGG-16, slices only; it has no norm layers, so at full width use a learning rate of 1e-4).
        filters: all networks except ``fcn8s``: width at each resolution; each resolution is half of the one before.
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
            ``ct_published`` (the augmentation of the paper on haemorrhage CT) or ``ct`` (that and nnU-Net's list).
        lesion_share: share of training items that are taken from a lesion.
        min_lesion_voxels: minimum total number of lesion voxels of a training case; lesion-free cases are always used.
    """

    network: Literal["residual", "stroke", "pseudo_healthy", "fcn8s"] = "residual"
    filters: tuple[int, ...] = Field(default=(16, 32, 64, 128, 256), min_length=2)
    width: float = Field(default=0.25, gt=0)
    res_units: int = Field(default=2, ge=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    weights: Path | None = None
    normalise: Literal["tissue", "none"] = "tissue"
    augment: Augment = "classical"
    min_lesion_voxels: int = Field(default=0, ge=0)

    @property
    def divisor(self) -> int:
        """Number that each side of the network's input must be a multiple of."""
        return FCN8s.divisor if self.network == "fcn8s" else int(2 ** (len(self.filters) - 1))

    @property
    def smallest(self) -> int:
        """Smallest side, in voxels, that the network accepts."""
        return self.divisor

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
        return self

    @model_validator(mode="after")
    def _roi_fits(self) -> Self:
        if self.roi_size is None:
            return self
        if len(self.roi_size) != self.spatial_dims or any(n <= 0 or n % self.divisor for n in self.roi_size):
            numbers = f"{self.spatial_dims} multiples of {self.divisor}"
            raise ValueError(f"roi_size is {self.roi_size}, but the network needs {numbers}")
        return self


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
    return UNet(
        spatial_dims=config.spatial_dims,
        in_channels=channels,
        out_channels=classes,
        channels=config.filters,
        strides=[2] * (len(config.filters) - 1),
        num_res_units=config.res_units,
        dropout=config.dropout,
    )


def background_of(config: SegmentationConfig, preprocessing: Preprocessing) -> float:
    """Return the intensity of air in the network's input."""
    return -1.0 if config.normalise == "tissue" else preprocessing.output[0]
