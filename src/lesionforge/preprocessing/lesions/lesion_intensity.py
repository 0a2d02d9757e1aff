"""The intensity of lesions: measured in training crops, drawn for new lesions, and given to a generator as a map.

A generator that knows only the place of a lesion has to guess its intensity, and the L1 term makes it guess the
average. If it knows the mean intensity, it need not guess, and lesions with the contrast of one patient can be drawn
into the scan of another. Three quantiles in place of the mean also say how varied the lesion is within.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesionforge.cohort.scan import BoolArray, FloatArray, LabelArray

Intensities = NDArray[np.float32]

RING_MM, DARKEST = 8.0, 0.05
QUANTILES = (0.1, 0.5, 0.9)
WIDER, BEYOND = 1.5, 0.2
"""Of the contrasts that are drawn: their spread in that of the known ones, and how far they may leave their range."""
FAINTEST = 5
"""Percentile of the contrasts of known lesions below which a drawing is a mimic, and no lesion."""


def measure(image: FloatArray, mask: LabelArray, classes: Sequence[int], *, quantiles: bool = False) -> Intensities:
    """Return the mean intensities ``(class, channel)`` within each class; NaN for an absent class.

    Args:
        image: ``(channel, x, y[, z])``.
        mask: ``(x, y[, z])``.
        classes: lesion classes.
        quantiles: return the 10, 50 and 90 % quantiles instead, ``(class, channel × 3)``, channel by channel.
    """
    inside = [mask == value for value in classes]
    missing = np.full(len(image) * (len(QUANTILES) if quantiles else 1), np.nan, np.float32)
    of_voxels = _quantiles if quantiles else _means
    return np.stack([of_voxels(image[:, voxels]) if voxels.any() else missing for voxels in inside])


def _means(values: FloatArray) -> Intensities:
    return values.mean(axis=1)


def _quantiles(values: FloatArray) -> Intensities:
    return np.quantile(values, QUANTILES, axis=1).T.ravel().astype(np.float32)


def paint(intensities: Intensities, mask: LabelArray, classes: Sequence[int]) -> FloatArray:
    """Return a map with the intensities of each class, 0 elsewhere: ``(channel, x, y[, z])``, or 3 for each channel."""
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
    level = np.maximum(_for_each(intensities, around) + 1, DARKEST)
    return ((intensities + 1) / level).astype(np.float32)


def absolute(multiples: Intensities, around: Intensities) -> Intensities:
    """Return intensities, −1 to 1, from their multiples of the surrounding ones; the inverse of :func:`relative`.

    The three quantiles of a channel are put in ascending order.
    """
    level = np.maximum(_for_each(multiples, around) + 1, DARKEST)
    found = np.clip(multiples * level - 1, -1, 1).astype(np.float32)
    return np.sort(found.reshape(len(found), len(around), -1)).reshape(found.shape)


def _for_each(intensities: Intensities, around: Intensities) -> Intensities:
    """Return the surrounding intensity of each channel once for each of its intensities, one or three."""
    return np.repeat(around, intensities.shape[-1] // len(around))


def draw(known: Intensities, mask: LabelArray, classes: Sequence[int], rng: np.random.Generator) -> Intensities:
    """Return the multiples ``(class, channel)`` of a random training crop, if possible with all classes of ``mask``.

    A class that the chosen crop lacks gets the mean over all crops, or 1 if no crop has it.

    Args:
        known: ``(crop, class, channel)``, from :func:`relative`.
        mask: ``(x, y[, z])`` of the new lesion.
        classes: lesion classes.
        rng: source of all randomness.
    """
    complete = _complete(known, _classes_of(mask, classes))
    chosen = known[rng.choice(complete if len(complete) else len(known))]
    return np.where(np.isnan(chosen), _mean_of_crops(known), chosen).astype(np.float32)


def draw_normal(known: Intensities, mask: LabelArray, classes: Sequence[int], rng: np.random.Generator) -> Intensities:
    """Return multiples whose logarithms are normal: about the mean of the training crops, 1.5 times as spread.

    The classes of ``mask`` and the channels vary together, as they do in the crops. No multiple is more than 20 % above
    the greatest or below the least of the crops. Fewer than two crops with all classes of ``mask`` have no spread; then
    the multiples are those of :func:`draw`, as they are for other classes.

    Args:
        known: ``(crop, class, channel)``, from :func:`relative`.
        mask: ``(x, y[, z])`` of the new lesion.
        classes: lesion classes.
        rng: source of all randomness.
    """
    result, wanted = draw(known, mask, classes, rng), _classes_of(mask, classes)
    crops = known[_complete(known, wanted)][:, wanted]
    if len(crops) < 2 or not wanted:
        return result
    logs = np.log(np.maximum(crops, DARKEST)).reshape(len(crops), -1)
    covariance = WIDER**2 * np.atleast_2d(np.cov(logs, rowvar=False))
    drawn = np.exp(rng.multivariate_normal(logs.mean(axis=0), covariance, check_valid="ignore"))
    within = np.clip(drawn.reshape(crops.shape[1:]), (1 - BEYOND) * crops.min(axis=0), (1 + BEYOND) * crops.max(axis=0))
    result[wanted] = within
    return result


def draw_faint(known: Intensities, mask: LabelArray, classes: Sequence[int], rng: np.random.Generator) -> Intensities:
    """Return the multiples of a random training crop with their contrast reduced below that of nearly all crops.

    Contrast is the mean size of the logarithms of the multiples, over classes and channels. It is uniform between 0 and
    the 5th percentile of the crops that show a class, and 0 if none does; which channels are brighter or darker, and by
    how much more, stays.

    Args:
        known: ``(crop, class, channel)``, from :func:`relative`.
        mask: ``(x, y[, z])`` of the mimic.
        classes: lesion classes.
        rng: source of all randomness.
    """
    chosen, shown = draw(known, mask, classes, rng), known[~np.isnan(known).all(axis=(1, 2))]
    limit = np.percentile(_contrast(shown), FAINTEST) if len(shown) else 0.0
    fainter = min(1.0, rng.uniform() * limit / max(_contrast(chosen[None])[0], 1e-6))
    return np.exp(np.log(np.maximum(chosen, DARKEST)) * fainter).astype(np.float32)


def _contrast(multiples: Intensities) -> NDArray[np.float64]:
    """Return the mean size of the logarithms of each crop's multiples ``(crop, class, channel)``."""
    return np.asarray(np.nanmean(np.abs(np.log(np.maximum(multiples, DARKEST))), axis=(1, 2)))


def _classes_of(mask: LabelArray, classes: Sequence[int]) -> list[int]:
    """Return the positions of the classes that a mask shows."""
    return [number for number, value in enumerate(classes) if (mask == value).any()]


def _complete(known: Intensities, wanted: Sequence[int]) -> NDArray[np.intp]:
    """Return the numbers of the crops that show all wanted classes."""
    return np.flatnonzero(~np.isnan(known[:, list(wanted)]).any(axis=(1, 2)))


def _mean_of_crops(known: Intensities) -> Intensities:
    """Return the mean over the crops that show a class, 1 if none does."""
    count = np.sum(~np.isnan(known), axis=0)
    return np.where(count > 0, np.nansum(known, axis=0) / np.maximum(count, 1), 1.0)
