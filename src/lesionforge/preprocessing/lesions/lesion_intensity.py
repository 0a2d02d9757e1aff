"""The intensity of lesions: measured in training crops, drawn for new lesions, and given to a generator as a map.

A generator that knows only the place of a lesion has to guess its intensity, and the L1 term makes it guess the
average. If it knows the mean intensity, it need not guess, and lesions with the contrast of one patient can be drawn
into the scan of another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesionforge.cohort.scan import BoolArray, FloatArray, LabelArray

Intensities = NDArray[np.float32]

RING_MM, DARKEST = 8.0, 0.05


def measure(image: FloatArray, mask: LabelArray, classes: Sequence[int]) -> Intensities:
    """Return the mean intensities ``(class, channel)`` within each class; NaN for an absent class.

    Args:
        image: ``(channel, x, y[, z])``.
        mask: ``(x, y[, z])``.
        classes: lesion classes.
    """
    inside = [mask == value for value in classes]
    missing = np.full(len(image), np.nan, np.float32)
    return np.stack([image[:, voxels].mean(axis=1) if voxels.any() else missing for voxels in inside])


def paint(intensities: Intensities, mask: LabelArray, classes: Sequence[int]) -> FloatArray:
    """Return a map ``(channel, x, y[, z])`` with the intensities of each class, 0 elsewhere."""
    painted = np.zeros((intensities.shape[1], *mask.shape), np.float32)
    for value, of_class in zip(classes, intensities, strict=True):
        painted[:, mask == value] = of_class[:, None]
    return painted


def surroundings(
    image: FloatArray,
    mask: LabelArray,
    spacing: Sequence[float],
    *,
    margin_mm: float,
    leave_out: BoolArray | None = None,
) -> Intensities:
    """Return the median intensities ``(channel,)`` of a ring around a lesion, beyond its margin.

    The ring is 8 mm wide. If it is empty, the median is over the whole image.

    Args:
        image: ``(channel, x, y[, z])``.
        mask: ``(x, y[, z])`` of the lesion.
        spacing: millimetres per axis.
        margin_mm: distance of the ring from the lesion.
        leave_out: ``(x, y[, z])`` voxels that do not count, such as other lesions.
    """
    distance = ndimage.distance_transform_edt(mask == 0, sampling=spacing)
    ring = (distance > margin_mm) & (distance <= margin_mm + RING_MM)
    if leave_out is not None:
        ring &= ~leave_out
    return np.median(image[:, ring] if ring.any() else image.reshape(len(image), -1), axis=1)


def relative(intensities: Intensities, around: Intensities) -> Intensities:
    """Return intensities, −1 to 1, as multiples of the surrounding ones (at least 0.05), counted from black."""
    return ((intensities + 1) / np.maximum(around + 1, DARKEST)).astype(np.float32)


def absolute(multiples: Intensities, around: Intensities) -> Intensities:
    """Return intensities, −1 to 1, from their multiples of the surrounding ones; the inverse of :func:`relative`."""
    return np.clip(multiples * np.maximum(around + 1, DARKEST) - 1, -1, 1).astype(np.float32)


def draw(known: Intensities, mask: LabelArray, classes: Sequence[int], rng: np.random.Generator) -> Intensities:
    """Return the multiples ``(class, channel)`` of a random training crop, if possible with all classes of ``mask``.

    A class that the chosen crop lacks gets the mean over all crops, or 1 if no crop has it.

    Args:
        known: ``(crop, class, channel)``, from :func:`relative`.
        mask: ``(x, y[, z])`` of the new lesion.
        classes: lesion classes.
        rng: source of all randomness.
    """
    wanted = [number for number, value in enumerate(classes) if (mask == value).any()]
    complete = np.flatnonzero(~np.isnan(known[:, wanted]).any(axis=(1, 2)))
    chosen = known[rng.choice(complete if len(complete) else len(known))]
    count = np.sum(~np.isnan(known), axis=0)
    mean = np.where(count > 0, np.nansum(known, axis=0) / np.maximum(count, 1), 1.0)
    return np.where(np.isnan(chosen), mean, chosen).astype(np.float32)
