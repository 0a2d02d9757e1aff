"""A generator that draws the change to an image instead of the image."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ChangeGenerator(nn.Module):
    """Generator that adds the output of another generator to the input image and clips the sum to [0, 1].

    It starts close to the identity. A generator of whole images draws blurred images for a long time, and the critic
    then learns to judge sharpness instead of lesions.

    Args:
        generator: network from ``(batch, in_channels, x, y[, z])`` to the change of the image, −1 to 1.
        channels: channels of the image.
    """

    def __init__(self, generator: nn.Module, *, channels: int) -> None:
        super().__init__()
        self.generator, self.channels = generator, channels

    def forward(self, x: Tensor) -> Tensor:
        """Return the changed image, ``(batch, channels, x, y[, z])``.

        Args:
            x: ``(batch, in_channels, x, y[, z])``; the first channels are the image, 0 to 1.
        """
        return torch.clamp(x[:, : self.channels] + self.generator(x), 0, 1)
