"""How bright lesions are: measured in training crops, drawn for new lesions, shown to a generator as a map.

A generator that is told only where a lesion lies has to guess how bright it is, and the L1 term makes it guess the
average. Told the mean intensity, it need not; and lesions of one patient's contrast can be drawn into another's scan.
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
    """Return ``(class, channel)`` mean intensities within each class; NaN for a class that is not there.

    Args:
        image: ``(channel, x, y[, z])``.
        mask: ``(x, y[, z])``.
        classes: lesion classes.
    """
    inside = [mask == value for value in classes]
    missing = np.full(len(image), np.nan, np.float32)
    return np.stack([image[:, voxels].mean(axis=1) if voxels.any() else missing for voxels in inside])


def paint(intensities: Intensities, mask: LabelArray, classes: Sequence[int]) -> FloatArray:
    """Return ``(channel, x, y[, z])``: in each class its intensities, 0 elsewhere."""
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
    """Return ``(channel,)`` median intensities of a ring around a lesion, beyond its margin; of all, if that is empty.

    The ring is 8 mm wide.

    Args:
        image: ``(channel, x, y[, z])``.
        mask: ``(x, y[, z])`` of the lesion.
        spacing: millimetres per axis.
        margin_mm: where the ring begins.
        leave_out: ``(x, y[, z])`` voxels that do not count, such as other lesions.
    """
    distance = ndimage.distance_transform_edt(mask == 0, sampling=spacing)
    ring = (distance > margin_mm) & (distance <= margin_mm + RING_MM)
    if leave_out is not None:
        ring &= ~leave_out
    return np.median(image[:, ring] if ring.any() else image.reshape(len(image), -1), axis=1)


def relative(intensities: Intensities, around: Intensities) -> Intensities:
    """Return intensities, −1 to 1, as multiples of those around (at least 0.05), counted from black."""
    return ((intensities + 1) / np.maximum(around + 1, DARKEST)).astype(np.float32)


def absolute(multiples: Intensities, around: Intensities) -> Intensities:
    """Return the intensities, −1 to 1, that are these multiples of those around."""
    return np.clip(multiples * np.maximum(around + 1, DARKEST) - 1, -1, 1).astype(np.float32)


def draw(known: Intensities, mask: LabelArray, classes: Sequence[int], rng: np.random.Generator) -> Intensities:
    """Return the ``(class, channel)`` multiples of one training crop, one that has all classes of ``mask`` if any has.

    A class that no chosen crop has gets the mean over all, and 1 if there is no such crop at all.

    Args:
        known: ``(crop, class, channel)``, from :func:`relative`.
        mask: ``(x, y[, z])`` of the lesion to be drawn.
        classes: lesion classes.
        rng: chooses.
    """
    wanted = [number for number, value in enumerate(classes) if (mask == value).any()]
    complete = np.flatnonzero(~np.isnan(known[:, wanted]).any(axis=(1, 2)))
    chosen = known[rng.choice(complete if len(complete) else len(known))]
    count = np.sum(~np.isnan(known), axis=0)
    mean = np.where(count > 0, np.nansum(known, axis=0) / np.maximum(count, 1), 1.0)
    return np.where(np.isnan(chosen), mean, chosen).astype(np.float32)
