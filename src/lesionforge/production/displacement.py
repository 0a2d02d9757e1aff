"""Displacement of the tissue around drawn lesions, as by their mass: away from their centres, fading with distance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from lesionforge.cohort.scan import BoolArray, FloatArray, LabelArray
from lesionforge.errors import ConfigError
from lesionforge.preprocessing.lesions.single_lesions import split_lesions

REACH_MM = (5.0, 15.0)
"""Range of the distance from a lesion within which the displacement fades to 0."""


def displace(
    image: FloatArray,
    label: LabelArray,
    lesions: LabelArray,
    region: BoolArray,
    spacing: Sequence[float],
    rng: np.random.Generator,
    *,
    most_mm: float,
) -> tuple[FloatArray, LabelArray, BoolArray]:
    """Push the tissue around lesions away from their centres, and the lesions' edges with it.

    The displacement at the edges is uniform between 0 and ``most_mm``. It fades to 0 within a random distance of
    :data:`REACH_MM`, towards the edge of the region, so that the skull stays, and towards the centres, so that small
    lesions move less. The label takes the same way as the image.

    Args:
        image: ``(channel, x, y[, z])`` image.
        label: ``(x, y[, z])`` its label.
        lesions: ``(x, y[, z])``, not 0 where the drawn lesions are.
        region: ``(x, y[, z])`` where tissue may move, such as the brain; holes in it, such as ventricles, move, too.
        spacing: millimetres along each axis.
        rng: source of all randomness.
        most_mm: greatest displacement, in mm.

    Returns:
        The image, the label, and ``(x, y[, z])`` where either may have changed; elsewhere both are bit-identical.
    """
    far, reach = rng.uniform(0, most_mm), rng.uniform(*REACH_MM)
    field = np.zeros((label.ndim, *label.shape), np.float32)
    filled = ndimage.binary_fill_holes(region)
    for lesion, corner in split_lesions(lesions, spacing):
        _push(field, lesion, corner, filled, spacing, far, reach)
    moved = (field != 0).any(0)
    source = np.argwhere(moved).T - field[:, moved] / np.reshape(spacing, (-1, 1))
    image, label = image.copy(), label.copy()
    for channel in image:
        channel[moved] = ndimage.map_coordinates(channel, source, order=1, mode="nearest")
    label[moved] = ndimage.map_coordinates(label, source, order=0, mode="nearest")
    return image, label, moved


def check_displacement(most_mm: float, *, needs_mask: bool) -> None:
    """Check that tissue can be displaced.

    Raises:
        ConfigError: if the distance is no distance, or the method takes no masks to displace tissue around.
    """
    if not 0 <= most_mm < REACH_MM[0]:
        raise ConfigError("`displacement`", f"{most_mm:g} mm is out of range", f"give 0 to less than {REACH_MM[0]:g}")
    if most_mm and not needs_mask:
        raise ConfigError("`displacement`", "this method takes no masks to displace tissue around", "leave it out")


def _push(
    field: FloatArray,
    lesion: LabelArray,
    corner: Sequence[int],
    region: BoolArray,
    spacing: Sequence[float],
    far: float,
    reach: float,
) -> None:
    """Add the displacement by one lesion, in mm along each axis, to a field."""
    around = [int(np.ceil(reach / mm)) + 1 for mm in spacing]
    starts = [max(0, first - n) for first, n in zip(corner, around, strict=True)]
    stops = [first + size + n for first, size, n in zip(corner, lesion.shape, around, strict=True)]
    box = tuple(slice(*ends) for ends in zip(starts, stops, strict=True))
    inside = np.zeros(region[box].shape, bool)
    at = tuple(slice(c - s, c - s + n) for c, s, n in zip(corner, starts, lesion.shape, strict=True))
    inside[at] = lesion > 0
    mm = np.indices(inside.shape) * np.reshape(spacing, (-1, *(1,) * inside.ndim))
    offset = mm - mm[:, inside].mean(1).reshape(-1, *(1,) * inside.ndim)
    radius = np.linalg.norm(offset, axis=0)
    fade = np.clip(1 - ndimage.distance_transform_edt(~inside, sampling=spacing) / reach, 0, 1) ** 2
    still = np.pad(region[box], 1, mode="edge")
    if not still.all():
        edge = ndimage.distance_transform_edt(still, sampling=spacing)[(slice(1, -1),) * inside.ndim]
        fade = fade * np.clip(edge / (2 * far), 0, 1)
    field[(slice(None), *box)] += offset * (fade * np.minimum(far / np.maximum(radius, 1e-6), 0.5))
