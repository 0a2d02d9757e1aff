"""Placement of a lesion mask inside the brain, near places of real lesions, beside existing lesions."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesionforge.cohort.scan import BoolArray, LabelArray, Scan
from lesionforge.masks.mask import DrawnMask
from lesionforge.preprocessing.brain.region import with_region

JITTER_MM = 10.0
"""Standard deviation of the distance between a mask's original and new place, along each axis."""


def allowed_region(scan: Scan) -> BoolArray:
    """Return the voxels where a new lesion may lie: the region of :func:`with_region` without fluid and lesions.

    A gap of one voxel around existing lesions is also left out, so that lesions stay apart.

    Returns:
        ``(x, y[, z])`` bool, a new array.
    """
    scan = with_region(scan)
    assert scan.region is not None
    allowed = scan.region.copy() if scan.fluid is None else scan.region & ~scan.fluid
    if scan.label is not None and scan.label.any():
        around = tuple(
            slice(max(0, s.start - 1), s.stop + 1) for s in ndimage.find_objects((scan.label > 0).view(np.uint8))[0]
        )
        allowed[around] &= ~ndimage.binary_dilation(scan.label[around] > 0)
    return allowed


def region_box(region: BoolArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the low and high corner of a region, in voxels, without the outermost 1 % at either end of each axis.

    Raises:
        ValueError: if the region is empty.
    """
    if not region.any():
        raise ValueError("an empty region has no box")
    low, high = [], []
    for axis in range(region.ndim):
        share = np.cumsum(np.count_nonzero(region, axis=tuple(a for a in range(region.ndim) if a != axis)), dtype=float)
        share /= share[-1]
        low.append(float(np.searchsorted(share, 0.01)))
        high.append(float(np.searchsorted(share, 0.99)))
    return np.array(low), np.array(high)


def left_right_axis(scan: Scan) -> int:
    """Return the spatial axis that runs between left and right; for a PNG image, the columns."""
    if scan.spatial_dims == 2 and np.array_equal(scan.affine, np.eye(4)):
        return 1
    return int(np.argmax(np.abs(scan.affine[0, : scan.spatial_dims]) / np.array(scan.spacing)))


def centroid(mask: LabelArray) -> NDArray[np.float64]:
    """Return the mean position of the lesion voxels, in voxels."""
    return np.array([points.mean() for points in np.nonzero(mask)])


def crop_to_lesion(mask: LabelArray) -> tuple[LabelArray, tuple[int, ...]]:
    """Return the tight crop around the lesion and its first voxel.

    Raises:
        ValueError: if the mask is empty.
    """
    if not mask.any():
        raise ValueError("an empty mask cannot be cropped")
    box = ndimage.find_objects((mask > 0).view(np.uint8))[0]
    return np.ascontiguousarray(mask[box]), tuple(int(s.start) for s in box)


def place(
    drawn: DrawnMask,
    scan: Scan,
    rng: np.random.Generator,
    *,
    min_volume: float = 200.0,
    min_inside: float = 0.5,
    jitter_mm: float = JITTER_MM,
) -> LabelArray | None:
    """Place a mask in a scan: at its relative place, on either side with equal chance, plus a Gaussian shift.

    Parts outside the allowed region are cut off. A mask with a fixed place stays there.

    Args:
        drawn: the mask.
        scan: the scan; compute its region first (:func:`with_region`) if you place many masks in it.
        rng: source of all randomness.
        min_volume: least volume that must remain, in mm³ (mm² in 2D).
        min_inside: least share of the mask that must lie in the allowed region, 0 to 1.
        jitter_mm: standard deviation of the shift along each axis.

    Returns:
        ``(x, y[, z])`` the placed mask, 0 elsewhere; ``None`` if it does not fit there.
    """
    scan = with_region(scan)
    if not drawn.mask.any():
        return None
    if drawn.corner is not None and not drawn.clip:
        return _paste_exactly(drawn, scan)
    allowed = allowed_region(scan)
    if not allowed.any():
        return None
    mask, corner = drawn.mask, drawn.corner
    if corner is None:
        if drawn.centre is None:
            target = random_voxel(allowed, rng)
        else:
            mask, target = _near_origin(drawn, scan, rng, jitter_mm)
        corner = tuple(int(c) for c in np.rint(target - centroid(mask)))
    placed = _paste(mask, corner, scan.spatial_shape)
    placed[~allowed] = 0
    left = np.count_nonzero(placed)
    too_small = left * float(np.prod(scan.spacing)) < min_volume
    if left == 0 or too_small or left < min_inside * np.count_nonzero(mask):
        return None
    return placed


def _near_origin(
    drawn: DrawnMask, scan: Scan, rng: np.random.Generator, jitter_mm: float
) -> tuple[LabelArray, NDArray[np.float64]]:
    """Return the mask, mirrored or not, and the target of its centroid."""
    assert scan.region is not None
    mask, centre = drawn.mask, np.array(drawn.centre)
    if rng.random() < 0.5:
        axis = left_right_axis(scan)
        mask = np.flip(mask, axis)
        centre[axis] = 1 - centre[axis]
    low, high = region_box(scan.region)
    shift = within_grid(rng.normal(0, jitter_mm, centre.size), scan)
    return mask, low + centre * (high - low) + shift / np.array(scan.spacing)


def within_grid(shift: NDArray[np.float64], scan: Scan) -> NDArray[np.float64]:
    """Return a shift that is 0 along axes of one voxel, since a volume of one slice has no place beside it."""
    return np.where(np.array(scan.spatial_shape) > 1, shift, 0.0)


def random_voxel(allowed: BoolArray, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a random voxel of a region that is not empty."""
    candidates = np.flatnonzero(allowed)
    return np.array(np.unravel_index(rng.choice(candidates), allowed.shape), float)


def _paste_exactly(drawn: DrawnMask, scan: Scan) -> LabelArray | None:
    assert drawn.corner is not None
    placed = _paste(drawn.mask, drawn.corner, scan.spatial_shape)
    if scan.label is not None:
        placed[scan.label > 0] = 0
    return placed if placed.any() else None


def _paste(mask: LabelArray, corner: Sequence[int], shape: tuple[int, ...]) -> LabelArray:
    """Return ``mask`` on a grid of ``shape``, without the parts outside the grid."""
    placed = np.zeros(shape, np.int16)
    there = tuple(slice(max(0, c), max(0, c + n)) for c, n in zip(corner, mask.shape, strict=True))
    here = tuple(slice(max(0, -c), max(0, s - c)) for c, s in zip(corner, shape, strict=True))
    if placed[there].size:
        placed[there] = mask[here]
    return placed
