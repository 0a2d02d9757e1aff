"""``spade``: draws an image from a latent vector, with every block normalised by the label map.

Park et al. 2019 (arXiv 1903.07291) as in Platscher et al. 2020 (arXiv 2010.02745), section 2.2.3. The training step is
that of pix2pix. Different latent vectors give different images of the same label map. All slices of a volume share one
latent vector.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator
from torch import nn

from lesionforge.networks.generators.spade_generator import PUBLISHED_CHANNELS, SpadeGenerator
from lesionforge.synthesizers.translation.pix2pix import Pix2Pix
from lesionforge.synthesizers.translation.pix2pix_config import Pix2PixConfig


class SpadeConfig(Pix2PixConfig):
    """Options of ``spade``, in addition to those of ``pix2pix`` for label maps.

    Attributes:
        condition: always ``label``.
        network: always ``spade``.
        noise_channels: always 1; this channel holds the latent vector.
        channels: widths of the blocks; the first grid is doubled once per block.
        latent: length of the latent vector.
        hidden_channels: width of the hidden layer between the label map and SPADE's scale and shift (Park et al. 2019:
            128); ``None`` for no hidden layer, as in the stroke system.
        shortcut: whether the blocks have shortcuts, as in Park et al. 2019.
    """

    condition: Literal["label"] = "label"
    network: Literal["spade"] = "spade"  # type: ignore[assignment]
    channels: tuple[int, ...] = Field(default=PUBLISHED_CHANNELS, min_length=2)
    width: float = Field(default=1.0, gt=0)
    noise_channels: Literal[1] = 1
    latent: int = Field(default=128, ge=1)
    hidden_channels: int | None = Field(default=None, ge=1)
    shortcut: bool = False

    @model_validator(mode="after")
    def _latent_fits(self) -> Self:
        if self.roi_size is not None and math.prod(self.roi_size) < self.latent:
            raise ValueError(f"roi_size is {self.roi_size}, fewer voxels than the {self.latent} of latent")
        return self

    def generator(self, in_channels: int, out_channels: int) -> nn.Module:
        """Return the SPADE generator."""
        assert self.roi_size is not None
        return SpadeGenerator(
            spatial_dims=self.spatial_dims,
            in_channels=in_channels,
            out_channels=out_channels,
            channels=self.channels,
            size=self.roi_size,
            latent=self.latent,
            hidden_channels=self.hidden_channels,
            shortcut=self.shortcut,
            width=self.width,
            dropout=self.dropout,
        )


class Spade(Pix2Pix):
    """A trained SPADE generator."""

    method = "spade"
    Config: ClassVar[type[Pix2PixConfig]] = SpadeConfig
