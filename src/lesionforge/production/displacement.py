"""Mass effect of drawn lesions: the tissue around them is pushed away from their centres, and they stay as drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from lesionforge.cohort.scan import BoolArray, FloatArray, LabelArray
from lesionforge.errors import ConfigError
from lesionforge.preprocessing.lesions.margin import hole_around
from lesionforge.preprocessing.lesions.single_lesions import split_lesions

MOST_MM = 3.0
REACH_MM = (5.0, 15.0)
"""Range of the distance from a drawing beyond which nothing moves; at least five times the displacement."""
NEAREST, STEEPEST = 0.5, 0.8
"""Most displacement as a share of the distance to what stays in place, which is never read, and its steepest rise:
tissue keeps its order."""


def displace(
    image: FloatArray,
    label: LabelArray,
    lesions: LabelArray,
    region: BoolArray,
    spacing: Sequence[float],
    rng: np.random.Generator,
    *,
    most_mm: float,
    margin_mm: float,
) -> tuple[FloatArray, BoolArray]:
    """Push the tissue around drawn lesions away from their centres.

    The displacement is 0 at the edge of a drawing, greatest halfway through its reach and 0 beyond: tissue is stretched
    beside the lesion and compressed further out. Its greatest value is uniform between 0 and ``most_mm``, and no more
    than the radius of a ball that fits into the lesion; several lesions push no further than one, and less where tissue
    between them would fold. The reach is a random distance of :data:`REACH_MM`. Drawings with their margin, all lesions
    of the label, and what is outside the region stay in place, so the label holds.

    Args:
        image: ``(channel, x, y[, z])`` image.
        label: ``(x, y[, z])`` its label.
        lesions: ``(x, y[, z])``, not 0 where the drawn lesions are.
        region: ``(x, y[, z])`` where tissue may move, such as the brain; holes in it, such as ventricles, move, too.
        spacing: millimetres along each axis.
        rng: source of all randomness.
        most_mm: greatest displacement, in mm, 0 to :data:`MOST_MM`.
        margin_mm: distance from the lesions, in mm, within which the drawing changed the image.

    Returns:
        The image, and ``(x, y[, z])`` where it may have changed; elsewhere it is bit-identical.
    """
    far = rng.uniform(0, most_mm)
    reach = rng.uniform(max(REACH_MM[0], 5 * far), REACH_MM[1])
    field = np.zeros((label.ndim, *label.shape), np.float32)
    for lesion, corner in split_lesions(lesions, spacing):
        _push(field, lesion, corner, spacing, far, reach, margin_mm)
    drawn, _ = hole_around(lesions, margin_mm, spacing)
    still = _with_neighbours(drawn | (label > 0)) | ~ndimage.binary_fill_holes(region)
    _hold(field, still, spacing, far)
    moved = (field != 0).any(0)
    source = np.argwhere(moved).T - field[:, moved] / np.reshape(spacing, (-1, 1))
    image = image.copy()
    for channel in image:
        channel[moved] = ndimage.map_coordinates(channel, source, order=1, mode="nearest")
    return image, moved


def check_displacement(most_mm: float, *, needs_mask: bool) -> None:
    """Check that tissue can be displaced.

    Raises:
        ConfigError: if the distance is out of range, or the method takes no masks to displace tissue around.
    """
    if not 0 <= most_mm <= MOST_MM:
        raise ConfigError("`displacement`", f"{most_mm:g} mm is out of range", f"give 0 to {MOST_MM:g}")
    if most_mm and not needs_mask:
        raise ConfigError("`displacement`", "this method takes no masks to displace tissue around", "leave it out")


def _push(
    field: FloatArray,
    lesion: LabelArray,
    corner: Sequence[int],
    spacing: Sequence[float],
    far: float,
    reach: float,
    margin_mm: float,
) -> None:
    """Add the displacement by one lesion, in mm along each axis, to a field."""
    around = [int(np.ceil((reach + margin_mm) / mm)) + 2 for mm in spacing]
    starts = [max(0, first - n) for first, n in zip(corner, around, strict=True)]
    stops = [first + size + n for first, size, n in zip(corner, lesion.shape, around, strict=True)]
    here = field[(slice(None), *(slice(*ends) for ends in zip(starts, stops, strict=True)))]
    inside = np.zeros(here.shape[1:], np.int16)
    inside[tuple(slice(c - s, c - s + n) for c, s, n in zip(corner, starts, lesion.shape, strict=True))] = lesion
    mm = np.indices(inside.shape) * np.reshape(spacing, (-1, *(1,) * inside.ndim))
    offset = mm - mm[:, inside > 0].mean(1).reshape(-1, *(1,) * inside.ndim)
    drawn = _with_neighbours(hole_around(inside, margin_mm, spacing)[0])
    away = ndimage.distance_transform_edt(~drawn, sampling=spacing) / reach
    most = min(far, ndimage.distance_transform_edt(inside, sampling=spacing).max())
    size = np.where(away < 1, most * np.sin(np.pi * away) ** 2, 0)
    here += offset * np.minimum(size / np.maximum(np.linalg.norm(offset, axis=0), 1e-6), NEAREST)


def _hold(field: FloatArray, still: BoolArray, spacing: Sequence[float], far: float) -> None:
    """Limit a field to ``far``, to a share of the distance to what stays in place, and to a rise without folds."""
    found = ndimage.find_objects((field != 0).any(0).view(np.int8))
    if not found:
        return
    around = [int(np.ceil(far / NEAREST / mm)) + 1 for mm in spacing]
    box = tuple(slice(max(0, s.start - n), s.stop + n) for s, n in zip(found[0], around, strict=True))
    limit = np.minimum(far, NEAREST * ndimage.distance_transform_edt(~still[box], sampling=spacing))
    here = field[(slice(None), *box)]
    here *= np.minimum(1, limit / np.maximum(np.linalg.norm(here, axis=0), 1e-6))
    rises = [np.diff(part, axis=axis).max(initial=0) / spacing[axis] for axis, part in enumerate(here)]
    here *= min(1, STEEPEST / max(*rises, 1e-6))


def _with_neighbours(voxels: BoolArray) -> BoolArray:
    """Return voxels and all that touch them, so that interpolation beyond reads none of them."""
    return ndimage.binary_dilation(voxels, np.ones((3,) * voxels.ndim))
