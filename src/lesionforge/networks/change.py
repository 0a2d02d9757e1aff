"""A generator that draws the change to an image instead of the image."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ChangeGenerator(nn.Module):
    """Adds what a generator draws to the image that it is shown, and cuts the sum to 0 and 1.

    It begins close to the identity. A generator of whole images draws blurred ones for a long time, and a critic
    then learns sharpness, not lesions.

    Args:
        generator: ``(batch, in_channels, x, y[, z])`` to the change, −1 to 1, of the first channels.
        channels: of the image.
    """

    def __init__(self, generator: nn.Module, *, channels: int) -> None:
        super().__init__()
        self.generator, self.channels = generator, channels

    def forward(self, x: Tensor) -> Tensor:
        """Draw from ``(batch, in_channels, x, y[, z])``, whose first channels are the image, 0 to 1."""
        return torch.clamp(x[:, : self.channels] + self.generator(x), 0, 1)
