"""Options of the audit."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lesionforge.config import MethodConfig

SIDES = {2: 64, 3: 32}
Rate = Annotated[float, Field(gt=0, lt=1)]


class EncoderConfig(MethodConfig):
    """Options of the encoder that is trained to recognise a varied copy of an image.

    Attributes:
        steps: optimiser steps.
        batch_size: images per step; at most as many as there are images.
        learning_rate: learning rate of Adam.
        channels: widths of the convolutions, each of which halves the grid.
        features: length of an embedding.
        temperature: temperature of the contrastive loss.
        noise: largest standard deviation of the added noise, as a multiple of the image's own.
    """

    steps: int = Field(default=200, ge=1)
    batch_size: int = Field(default=32, ge=2)
    learning_rate: float = Field(default=1e-3, gt=0)
    channels: tuple[int, ...] = Field(default=(8, 16, 32), min_length=1)
    features: int = Field(default=64, ge=2)
    temperature: float = Field(default=0.1, gt=0)
    noise: float = Field(default=0.3, ge=0)


class AuditConfig(MethodConfig):
    """Options of the audit.

    Attributes:
        side: voxels along each axis of the grid on which images are compared; by default 64 in 2D and 32 in 3D.
        max_shift: largest shift between an image and its copy, in voxels of that grid.
        candidates: image pairs per image that are compared exactly, after a comparison of all pairs on a coarse grid.
        false_alarms: expected share of held-out real subjects that are called copies. The share that comes out scatters
            around it, so it is well below the 5 % that are tolerated.
        planted: number of training cases that are replayed as a test of the audit itself.
        rates: false-positive rates at which the true-positive rate of membership is reported.
        halves: number of random divisions of the members, which show what chance can do with so few of them.
        shown: number of copies in the picture.
        crops: crops of each real case that a model and its critic judge.
        encoder: options of the encoder.
    """

    side: int | None = Field(default=None, ge=8)
    max_shift: int = Field(default=4, ge=0)
    candidates: int = Field(default=8, ge=1)
    false_alarms: Rate = 0.02
    planted: int = Field(default=5, ge=1)
    rates: tuple[Rate, ...] = (0.01, 0.1)
    halves: int = Field(default=200, ge=1)
    shown: int = Field(default=20, ge=1)
    crops: int = Field(default=16, ge=1)
    encoder: EncoderConfig = EncoderConfig()
