"""Identity: how similar a healed slice is to the original outside the lesion.

Source: Xia, Chartsias & Tsaftaris (2019): identity is MS-SSIM((1 − m_p) ⊙ x̃_h, (1 − m_p) ⊙ x_p) with a window of 11.
The mask sets both images to 0, where they agree perfectly, so this score rises with the size of the lesion. Therefore
:attr:`Identity.beside` uses only windows without a voxel of the mask; it should be read first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.metrics.regression import compute_ssim_and_cs
from numpy.typing import NDArray
from torch.nn import functional

from lesionforge.cohort.scan import BoolArray, FloatArray
from lesionforge.errors import ConfigError

Values = NDArray[np.float64]

WINDOW, SIGMA = 11, 1.5
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
LOCAL_SCALES = 3
SLICES_AT_ONCE = 16
SIZE_RULE = (
    "MS-SSIM: Gaussian window of 11 pixels, 5 scales with weights .0448 .2856 .3001 .2363 .1333, intensities from 0 to "
    "1; slices are padded by reflection to at least 176 pixels a side (4 scales: 99), the least that MONAI takes. "
    "Beside the lesion: the first 3 scales (windows of 11, 22 and 44 pixels), windows that show some of the head and "
    "nothing of the mask. Of fewer than 5 scales the weights are divided by their sum."
)


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Similarity of healed and original slices, each ``(slice,)`` and at most 1, which means equal.

    Attributes:
        beside: MS-SSIM over the windows without a voxel of the mask; NaN if a scale has no such window.
        masked: masked MS-SSIM with 5 scales, as published.
        masked_4: masked MS-SSIM with 4 scales, which needs no padding for slices of at least 99 pixels.
    """

    beside: Values
    masked: Values
    masked_4: Values


def identity(healed: FloatArray, original: FloatArray, masks: BoolArray, *, head: BoolArray | None = None) -> Identity:
    """Compare healed slices with the originals outside the lesions.

    Args:
        healed: ``(slice, x, y)`` from 0 to 1.
        original: ``(slice, x, y)`` from 0 to 1.
        masks: ``(slice, x, y)`` true lesions.
        head: ``(slice, x, y)`` mask of the head; :attr:`Identity.beside` ignores windows outside it. All windows are
            used unless given.

    Raises:
        ConfigError: if the arrays differ in size, or a slice is smaller than the window.
    """
    covered = [np.where(masks, np.float32(0), image) for image in (healed, original)]
    return Identity(
        beside=ms_ssim_beside(healed, original, masks, head=head),
        masked=ms_ssim(covered[0], covered[1]),
        masked_4=ms_ssim(covered[0], covered[1], scales=4),
    )


def ms_ssim(first: FloatArray, second: FloatArray, *, scales: int = 5) -> Values:
    """Return the multi-scale structural similarity of each pair of slices (Wang et al. 2003).

    The similarity maps are MONAI's. Slices are passed to it as channels, which is several times as fast as one by one.

    Args:
        first: ``(slice, x, y)`` from 0 to 1; padded as :data:`SIZE_RULE` says.
        second: ``(slice, x, y)`` from 0 to 1; padded likewise.
        scales: number of scales, at most five.

    Returns:
        ``(slice,)``, 0 to 1.

    Raises:
        ConfigError: if the arrays differ in size, or a slice is smaller than the window.
    """
    _check(first, second)
    side = WINDOW * (scales - 1) ** 2
    factors = []
    for scale, (similarity, contrast) in enumerate(_maps(_pad(first, side), _pad(second, side), scales)):
        factors.append((similarity if scale == scales - 1 else contrast).mean((1, 2)))
    return _combine(np.stack(factors))


def ms_ssim_beside(
    first: FloatArray,
    second: FloatArray,
    masks: BoolArray,
    *,
    head: BoolArray | None = None,
    scales: int = LOCAL_SCALES,
) -> Values:
    """Return the MS-SSIM over the windows without a voxel of a mask.

    With five scales a window is 176 pixels wide and nearly always contains a part of the lesion, so the default is
    three.

    Args:
        first: ``(slice, x, y)`` from 0 to 1; padded by reflection if it is smaller than the coarsest window.
        second: ``(slice, x, y)`` from 0 to 1; padded likewise.
        masks: ``(slice, x, y)``.
        head: ``(slice, x, y)`` mask of the head; windows outside it are ignored, because air is easy to match. All
            windows are used unless given.
        scales: number of scales, at most five; the same for all slices, so that their values are comparable.

    Returns:
        ``(slice,)``, 0 to 1; NaN if every window of a scale contains a part of the mask.

    Raises:
        ConfigError: if the arrays differ in size, or a slice is smaller than the window.
    """
    _check(first, second, masks, *([] if head is None else [head]))
    side = WINDOW * 2 ** (scales - 1)
    first, second, masks = _pad(first, side), _pad(second, side), _pad(masks, side)
    shown = np.ones_like(masks) if head is None else _pad(head, side)
    factors = []
    maps = _maps(np.where(masks, 0, first), np.where(masks, 0, second), scales)
    for scale, (similarity, contrast) in enumerate(maps):
        kept = _touching(shown, scale) & ~_touching(masks, scale)
        values = similarity if scale == scales - 1 else contrast
        with np.errstate(invalid="ignore"):
            factors.append(np.where(kept, values, 0).sum((1, 2)) / kept.sum((1, 2)))
    return _combine(np.stack(factors))


def change_outside(healed: FloatArray, original: FloatArray, outside: BoolArray) -> Values:
    """Return the mean absolute difference of each slice outside the lesion, as a share of the intensity range.

    Args:
        healed: ``(slice, x, y)`` from 0 to 1.
        original: ``(slice, x, y)`` from 0 to 1.
        outside: ``(slice, x, y)`` mask of the voxels to compare, such as the head without the lesion.

    Returns:
        ``(slice,)``, 0 to 1; NaN if the mask of a slice is empty.

    Raises:
        ConfigError: if the arrays differ in size.
    """
    _same_size(healed, original, outside)
    with np.errstate(invalid="ignore"):
        return np.asarray((np.abs(healed - original) * outside).sum((1, 2), np.float64) / outside.sum((1, 2)))


def _maps(first: FloatArray, second: FloatArray, scales: int) -> Iterator[tuple[Values, Values]]:
    """Yield the ``(slice, x, y)`` similarity and contrast maps of all slices at each scale."""
    images = [torch.from_numpy(np.ascontiguousarray(image, np.float32)) for image in (first, second)]
    for scale in range(scales):
        if scale:
            images = [functional.avg_pool2d(image, 2) for image in images]
        parts = [
            compute_ssim_and_cs(
                *(image[None, start : start + SLICES_AT_ONCE] for image in images),
                spatial_dims=2,
                kernel_size=(WINDOW, WINDOW),
                kernel_sigma=(SIGMA, SIGMA),
            )
            for start in range(0, len(first), SLICES_AT_ONCE)
        ]
        similarity, contrast = (torch.cat(kind, 1)[0].double().numpy() for kind in zip(*parts, strict=True))
        yield similarity, contrast


def _combine(factors: Values) -> Values:
    """Return the weighted geometric mean of ``(scale, slice)`` over scales; negative factors count as 0 (MONAI)."""
    weights = np.array(WEIGHTS[: len(factors)])
    if len(factors) < len(WEIGHTS):
        weights /= weights.sum()
    return np.asarray(np.prod(np.maximum(factors, 0) ** weights[:, None], axis=0))


def _touching(masks: BoolArray, scale: int) -> BoolArray:
    """Return which windows of a scale contain a part of the mask."""
    found = torch.from_numpy(masks.astype(np.float32))
    for _ in range(scale):
        found = functional.max_pool2d(found, 2)
    for window in ((WINDOW, 1), (1, WINDOW)):
        found = functional.max_pool2d(found, window, stride=1)
    return np.asarray(found.numpy() > 0)


def _pad(slices: NDArray[Any], side: int) -> NDArray[Any]:
    """Pad each slice by reflection until its sides have at least ``side`` pixels."""
    missing = [max(0, side - n) for n in slices.shape[1:]]
    return np.pad(slices, [(0, 0), *((n // 2, n - n // 2) for n in missing)], mode="reflect")


def _check(first: FloatArray, second: FloatArray, *masks: BoolArray) -> None:
    _same_size(first, second, *masks)
    if min(first.shape[1:]) < WINDOW:
        size = " × ".join(map(str, first.shape[1:]))
        raise ConfigError("MS-SSIM", f"has a window of {WINDOW} pixels, but a slice has {size}", "score larger slices")


def _same_size(first: FloatArray, second: FloatArray, *masks: BoolArray) -> None:
    shapes = {array.shape for array in (first, second, *masks)}
    if len(shapes) > 1 or first.ndim != 3:
        found = ", ".join(str(array.shape) for array in (first, second, *masks))
        raise ConfigError("slices", f"have sizes {found}", "give arrays of (slice, x, y) on the same grid")
