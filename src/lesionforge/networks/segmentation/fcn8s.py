"""FCN-8s: a VGG-16 classifier turned into a segmentation network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lesionforge.networks.norm import scale_widths

BLOCKS = (2, 2, 3, 3, 3)
"""Number of convolutions in each block; max pooling follows each block."""
WIDTHS = (64, 128, 256, 512, 512, 4096)
"""Widths of the five blocks, and the width of fc6 and fc7."""


class FCN8s(nn.Module):
    """FCN-8s: a fully convolutional VGG-16 with skip connections from pool3 and pool4.

    The layers fc6 and fc7 are convolutions. Class scores are computed from fc7, pool4 and pool3, upsampled and summed.
    The encoder's parameters have torchvision's names for VGG-16: ``features.0`` … ``features.28``, ``classifier.0``
    (fc6) and ``classifier.3`` (fc7).

    Source: Long, Shelhamer and Darrell 2015 (arXiv 1411.4038), section 4.2; VGG-16 is configuration D of Simonyan and
    Zisserman 2015 (arXiv 1409.1556). The score layers start at zero. The two 2× upsampling layers are learned and start
    as bilinear interpolation; the last, 8× upsampling is fixed bilinear interpolation. Padded convolutions keep the
    maps aligned, whereas the authors pad the image by 100 pixels and crop.

    Args:
        in_channels: channels of the image.
        out_channels: number of classes, background included.
        width: factor on the published widths, for small machines.
        dropout: dropout probability after fc6 and after fc7.

    Shapes:
        input ``(batch, in_channels, x, y)`` of any size; output ``(batch, out_channels, x, y)`` logits.
    """

    divisor = 32

    def __init__(self, *, in_channels: int, out_channels: int, width: float = 1.0, dropout: float = 0.5) -> None:
        super().__init__()
        *widths, deep = scale_widths(WIDTHS, width)
        self.features = _vgg16(in_channels, widths)
        self.classifier = nn.Sequential(
            nn.Conv2d(widths[-1], deep, 7, padding=3),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Conv2d(deep, deep, 1),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.score_fc7 = nn.Conv2d(deep, out_channels, 1)
        self.score_pool4 = nn.Conv2d(widths[3], out_channels, 1)
        self.score_pool3 = nn.Conv2d(widths[2], out_channels, 1)
        self.double_fc7 = nn.ConvTranspose2d(out_channels, out_channels, 4, 2, 1, bias=False)
        self.double_pool4 = nn.ConvTranspose2d(out_channels, out_channels, 4, 2, 1, bias=False)
        self._initialise()

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of ``(batch, in_channels, x, y)``."""
        size = x.shape[2:]
        missing = [-n % self.divisor for n in size]
        x = functional.pad(x, (0, missing[1], 0, missing[0]), mode="replicate")
        pooled = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                pooled.append(x)
        scores = self.double_fc7(self.score_fc7(self.classifier(x))) + self.score_pool4(pooled[3])
        scores = self.double_pool4(scores) + self.score_pool3(pooled[2])
        logits = functional.interpolate(scores, scale_factor=8, mode="bilinear")
        return logits[..., : size[0], : size[1]]

    def _initialise(self) -> None:
        for layer in (*self.features, *self.classifier):
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        for score in (self.score_fc7, self.score_pool4, self.score_pool3):
            nn.init.zeros_(score.weight)
            nn.init.zeros_(score.bias)  # type: ignore[arg-type]
        edge = torch.tensor([0.25, 0.75, 0.75, 0.25])
        for double in (self.double_fc7, self.double_pool4):
            classes = torch.eye(double.in_channels)
            double.weight.data = classes[:, :, None, None] * torch.outer(edge, edge)


def _vgg16(in_channels: int, widths: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for convolutions, channels in zip(BLOCKS, widths, strict=True):
        for _ in range(convolutions):
            layers += [nn.Conv2d(in_channels, channels, 3, padding=1), nn.ReLU()]
            in_channels = channels
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)
