"""The abnormality-mask loss, which keeps what lies outside a lesion."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

Normalise = Literal["mask", "volume"]


def abnormality_mask(
    healed: Tensor, image: Tensor, mask: Tensor, *, p: Literal[1, 2] = 1, normalise: Normalise = "mask"
) -> Tensor:
    """Return the mean change of an image outside its lesion, to the power ``p``; it is 0 if only lesion voxels change.

    L_AM = E[‖(1 − y) ⊙ (G(x, y) − x)‖ₚᵖ / Σ(1 − y)], averaged over the channels of the image.

    Source: named by Faryna et al. 2021 (arXiv 2101.06468) after Sun et al. 2020 (ANT-GAN, arXiv 1810.10850). Neither
    text gives the equation; this one follows the description.

    Args:
        healed: ``(batch, channel, x, y[, z])`` image without the lesion.
        image: the image with the lesion, same shape.
        mask: ``(batch, class, x, y[, z])`` lesion classes, 0 or 1.
        p: 1 for the absolute change, 2 for its square.
        normalise: ``mask`` divides by the number of voxels outside the lesion, ``volume`` by the number of all voxels.
    """
    outside = 1 - mask.amax(1, keepdim=True).float()
    change = (outside * (healed.float() - image.float())).abs().pow(p).mean(1).flatten(1)
    voxels = outside.flatten(1).sum(1).clamp(min=1) if normalise == "mask" else change.shape[1]
    return (change.sum(1) / voxels).mean()
