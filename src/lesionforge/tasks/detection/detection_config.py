"""Options of the detection task, and the classifier of candidates that they define."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Self

from monai.networks.nets import Classifier
from pydantic import Field, PositiveFloat, model_validator
from torch import nn

from lesionforge.scores.detections.hits import TOLERANCE_MM
from lesionforge.tasks.base import TaskConfig
from lesionforge.training.model_folder import ModelInfo


class DetectionConfig(TaskConfig):
    """Options of the detection task.

    The first stage finds candidates by their radial symmetry, the second classifies a patch around each of them.

    Attributes:
        spatial_dims: 3, or 2 to find and classify candidates within the slices along the thickest axis.
        channel: channel in which candidates are sought; the first by default.
        radii_mm: radii in mm of the spots that are sought.
        polarity: whether lesions are ``dark`` or ``bright`` spots in this channel.
        strictness: how round a candidate must be, see
            :func:`~lesionforge.tasks.detection.radial_symmetry.radial_symmetry`.
        least_gradient: share of the largest gradient in and around the brain, the skull included, below which a voxel
            does not vote for a centre.
        search_mm: distance in mm from the brain up to which candidates are sought; the brain that is found may lack its
            surface.
        apart_mm: least distance between two candidates in mm.
        candidate_sensitivity: share of the training lesions that must be candidates; it sets ``least_response``.
        least_response: response that a candidate must have; ``None`` chooses it on the training cases.
        max_candidates: number of candidates per scan, the strongest; more are left out.
        tolerance_mm: distance in mm from a lesion within which a candidate hits it.
        patch_mm: side of the patches in mm, from which ``roi_size`` follows if it is not given.
        filters: widths of the classifier; each convolution halves the size.
        dropout: dropout probability in every layer.
        augment: ``none``, or ``classical``: mirroring, rotation, scaling and shearing within slices, and scaling and
            shifting of intensities.
        lesion_share: share of training items that are patches around a lesion.
    """

    spatial_dims: Literal[2, 3] = 3
    channel: str | None = None
    radii_mm: tuple[PositiveFloat, ...] = Field(default=(1.0, 2.0, 3.0, 4.0, 5.0), min_length=1)
    polarity: Literal["dark", "bright"] = "dark"
    strictness: float = Field(default=2.0, gt=0)
    least_gradient: float = Field(default=0.05, ge=0, lt=1)
    search_mm: float = Field(default=5.0, ge=0)
    apart_mm: float = Field(default=2.0, gt=0)
    candidate_sensitivity: float = Field(default=0.98, gt=0, le=1)
    least_response: float | None = Field(default=None, ge=0)
    max_candidates: int = Field(default=1000, ge=1)
    tolerance_mm: float = Field(default=TOLERANCE_MM, ge=0)
    patch_mm: float = Field(default=16.0, gt=0)
    filters: tuple[int, ...] = Field(default=(16, 32, 64), min_length=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    augment: Literal["none", "classical"] = "classical"

    @model_validator(mode="after")
    def _roi_fits(self) -> Self:
        if self.roi_size is not None and len(self.roi_size) != self.spatial_dims:
            raise ValueError(f"roi_size is {self.roi_size}, but needs {self.spatial_dims} numbers")
        return self

    def patch_size(self, spacing: Sequence[float]) -> tuple[int, ...]:
        """Return the size of a patch in voxels: ``roi_size``, or the side ``patch_mm`` at this spacing."""
        if self.roi_size is not None:
            return self.roi_size
        return tuple(max(4, math.ceil(self.patch_mm / mm)) for mm in spacing[: self.spatial_dims])

    def channel_number(self, channels: Sequence[str]) -> int:
        """Return the index of the channel in which candidates are sought."""
        return 0 if self.channel is None else channels.index(self.channel)


def make_classifier(config: DetectionConfig, info: ModelInfo) -> nn.Module:
    """Return the network that maps ``(batch, channel, *roi_size)`` to ``(batch, 1)`` logits of showing a lesion."""
    assert config.roi_size is not None
    return Classifier(
        in_shape=(len(info.preprocessing.channels), *config.roi_size),
        classes=1,
        channels=config.filters,
        strides=[2] * len(config.filters),
        num_res_units=0,
        norm="BATCH",
        dropout=config.dropout,
    )
