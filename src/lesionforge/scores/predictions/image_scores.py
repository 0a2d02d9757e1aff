"""Scores per image; an image is a 2D case or a slice of a volume.

Source: the paper on haemorrhage CT (LcGAN), section 4.1. Its first table averages Dice over images, with all classes
together; its third table averages over images for each class, and then over classes. The two differ, so both are
implemented.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lesionforge.cohort.scan import BoolArray, LabelArray, slicing_spacing
from lesionforge.preprocessing.geometry import thickest_axis

COUNTS = ("image_hits", "image_false_alarms", "image_misses")
IMAGE_AREA = 256**2


@dataclass(frozen=True, kw_only=True)
class NoiseFilter:
    """Thresholds for counting detections.

    Attributes:
        least_area: minimum size of a false detection in pixels, for an image of 256×256 pixels; it scales with the
            image size.
        least_dice: minimum Dice of a true detection.
        below_dice: whether the lesion of a true detection below ``least_dice`` is ``missed`` or ``ignored``; the paper
            does not specify this.
    """

    least_area: float = 200
    least_dice: float = 0.25
    below_dice: Literal["missed", "ignored"] = "missed"


@dataclass(frozen=True)
class _Areas:
    """Pixel counts of one class in each image: predicted, true, and shared."""

    predicted: NDArray[Any]
    true: NDArray[Any]
    shared: NDArray[Any]

    @property
    def dice(self) -> NDArray[Any]:
        """2·|P∩T| / (|P|+|T|) of each image; 1 if both are empty."""
        both = self.predicted + self.true
        return np.divide(2 * self.shared, both, out=np.ones(len(both)), where=both > 0)

    def mean_dice(self) -> float:
        """Return the mean Dice over the images with a true lesion of the class; NaN if there are none."""
        return float(self.dice[self.true > 0].mean()) if self.true.any() else float("nan")


def image_dice(prediction: LabelArray, truth: LabelArray, spacing: Sequence[float]) -> float:
    """Return the Dice of all lesion classes together, averaged over the case's images with a lesion.

    A lesion voxel with the wrong class counts as an error.

    Args:
        prediction: ``(x, y[, z])`` lesion classes.
        truth: ``(x, y[, z])`` lesion classes.
        spacing: mm along each axis; slices are perpendicular to the thickest axis, the last one if several are equal.

    Returns:
        0 to 1; NaN if no image has a lesion.
    """
    found, true = _images(prediction, spacing), _images(truth, spacing)
    return _areas(found > 0, true > 0, (found == true) & (true > 0)).mean_dice()


def false_images(predicted: BoolArray, true: BoolArray, spacing: Sequence[float]) -> float:
    """Return the share of a case's lesion-free images in which a lesion is predicted; NaN if all show one.

    Args:
        predicted: ``(x, y[, z])`` mask of predicted lesions.
        true: ``(x, y[, z])`` mask of true lesions.
        spacing: mm along each axis; slices are perpendicular to the thickest axis, the last one if several are equal.
    """
    found, there = (np.asarray(_images(mask, spacing).any(axis=(1, 2))) for mask in (predicted, true))
    return float(found[~there].mean()) if not there.all() else float("nan")


def image_detections(
    prediction: LabelArray,
    truth: LabelArray,
    spacing: Sequence[float],
    labels: Mapping[str, int],
    noise_filter: NoiseFilter,
) -> dict[str, int]:
    """Count the detections of a case; a detection is a class found in an image.

    A hit shares a pixel with the true lesions of its class and has at least the minimum Dice. A false alarm shares no
    pixel and has at least the minimum size. A miss is a class with a true lesion in an image and no hit; with
    ``below_dice`` set to ``ignored``, only if the prediction shares no pixel with it.

    Args:
        prediction: ``(x, y[, z])`` lesion classes.
        truth: ``(x, y[, z])`` lesion classes.
        spacing: mm along each axis.
        labels: class name → integer.
        noise_filter: minimum size and Dice.

    Returns:
        ``image_hits``, ``image_false_alarms`` and ``image_misses``, to be summed over the test set.
    """
    found, true = _images(prediction, spacing), _images(truth, spacing)
    least_area = noise_filter.least_area * found[0].size / IMAGE_AREA
    counts = dict.fromkeys(COUNTS, 0)
    for value in sorted(set(labels.values()) - {0}):
        areas = _of_class(found, true, value)
        touched = areas.shared > 0
        hit = touched & (areas.dice >= noise_filter.least_dice)
        kept = hit if noise_filter.below_dice == "missed" else touched
        false_alarm = (areas.predicted > 0) & ~touched & (areas.predicted >= least_area)
        for name, which in zip(COUNTS, (hit, false_alarm, (areas.true > 0) & ~kept), strict=True):
            counts[name] += int(which.sum())
    return counts


def precision_recall(table: pd.DataFrame) -> tuple[float, float]:
    """Return precision and recall over all images of a test set, 0 to 1.

    Args:
        table: a row per case with the columns of :func:`image_detections`.

    Returns:
        Precision, NaN without detections, and recall, NaN without true lesions.
    """
    hits, false_alarms, misses = (float(table[name].sum()) for name in COUNTS)
    found, there = hits + false_alarms, hits + misses
    return hits / found if found else float("nan"), hits / there if there else float("nan")


def class_average(table: pd.DataFrame) -> float:
    """Return the Dice per image, averaged for each class and then over classes, 0 to 1; NaN with a single class.

    Args:
        table: a row per case with the columns ``image_dice_CLASS``; classes that no case has are left out.
    """
    classes = [name for name in table.columns if str(name).startswith("image_dice_")]
    return float(table[classes].mean().mean()) if classes else float("nan")


def _images(label: NDArray[Any], spacing: Sequence[float]) -> NDArray[Any]:
    """Return an ``(x, y[, z])`` label as ``(image, x, y)``."""
    if label.ndim == 2:
        return label[None]
    return np.moveaxis(label, thickest_axis(slicing_spacing(spacing, label.shape)), 0)


def _of_class(found: LabelArray, true: LabelArray, value: int) -> _Areas:
    return _areas(found == value, true == value, (found == value) & (true == value))


def _areas(predicted: NDArray[Any], true: NDArray[Any], shared: NDArray[Any]) -> _Areas:
    return _Areas(*(mask.sum(axis=(1, 2)) for mask in (predicted, true, shared)))
