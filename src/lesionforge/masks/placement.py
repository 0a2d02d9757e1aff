"""Placement of a lesion mask inside the brain, near places of real lesions, beside existing lesions."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesionforge.cohort.scan import BoolArray, LabelArray, Scan
from lesionforge.masks.mask import DrawnMask
from lesionforge.preprocessing.brain.region import with_region
from lesionforge.preprocessing.lesions.single_lesions import split_lesions

JITTER_MM = 10.0
"""Standard deviation of the distance between a lesion's original and new place, along each axis."""

TRIES = 10
"""Places that are tried for each of several lesions."""


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


def brain_mm(region: BoolArray, spacing: Sequence[float]) -> tuple[float, ...]:
    """Return the size of the box of a region in mm, along each axis, a voxel or more; see :func:`region_box`."""
    low, high = region_box(region)
    return tuple(float(size) for size in np.maximum(high - low, 1) * np.array(spacing))


def relative_place(mask: LabelArray, region: BoolArray) -> tuple[float, ...]:
    """Return the place of a lesion's centroid in the box of a region, 0 to 1 along each axis."""
    low, high = region_box(region)
    return tuple(float(c) for c in (centroid(mask) - low) / np.maximum(high - low, 1))


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
    min_volume: float = 0.0,
    min_inside: float = 0.5,
    jitter_mm: float = JITTER_MM,
) -> LabelArray | None:
    """Place the lesions of a mask in a scan: each at its own relative place plus its own Gaussian shift.

    All lesions of the mask go to either side with equal chance; lesions without a known place go anywhere. Parts
    outside the allowed region are cut off. A lesion that is cut by too much or touches another new lesion is shifted
    anew, up to ten times, and then left out; the others stay. A lesion that is the only one of its mask gets one shift,
    since its source can draw another mask. A mask with a fixed place stays there as a whole.

    Args:
        drawn: the mask.
        scan: the scan; compute its region first (:func:`with_region`) if you place many masks in it.
        rng: source of all randomness.
        min_volume: least volume of all lesions together that must remain, in mm³ (mm² in 2D); a voxel in any case.
        min_inside: least share of each lesion that must lie in the allowed region, 0 to 1.
        jitter_mm: standard deviation of the shift along each axis.

    Returns:
        ``(x, y[, z])`` the placed mask, 0 elsewhere; ``None`` if no lesion fits, or too little remains.
    """
    scan = with_region(scan)
    if not drawn.mask.any():
        return None
    if drawn.corner is not None and not drawn.clip:
        return _paste_exactly(drawn, scan)
    allowed, voxel = allowed_region(scan), float(np.prod(scan.spacing))
    if not allowed.any():
        return None
    if drawn.corner is None:
        placed = _place_lesions(drawn, scan, allowed, rng, min_inside=min_inside, jitter_mm=jitter_mm)
    else:
        placed = np.where(allowed, _paste(drawn.mask, drawn.corner, scan.spatial_shape), 0)
        min_volume = max(min_volume, min_inside * np.count_nonzero(drawn.mask) * voxel)
    left = np.count_nonzero(placed)
    return placed if left and left * voxel >= min_volume else None


def paste_apart(
    lesion: LabelArray,
    corner: Sequence[int],
    placed: LabelArray,
    taken: BoolArray,
    *,
    allowed: BoolArray,
    min_inside: float,
) -> bool:
    """Paste what is allowed of a lesion into a label map, unless it is too little or touches a lesion of the map.

    Args:
        lesion: ``(x, y[, z])`` crop of the lesion.
        corner: voxel of the map for the first voxel of the crop; it may lie off the grid.
        placed: the map, which receives the lesion.
        taken: ``(x, y[, z])`` the lesions of the map and the voxels beside them, which receive those of the lesion.
        allowed: ``(x, y[, z])`` where lesions may lie.
        min_inside: least share of the lesion that must lie there, 0 to 1.

    Returns:
        Whether the lesion was pasted.
    """
    there, here = overlap(corner, lesion.shape, allowed.shape)
    part = np.zeros(lesion.shape, np.int16)
    part[here] = np.where(allowed[there], lesion[here], 0)
    left = np.count_nonzero(part)
    too_little = left == 0 or left < min_inside * np.count_nonzero(lesion)
    if too_little or taken[there][part[here] > 0].any():
        return False
    np.maximum(placed[there], part[here], out=placed[there])
    around = ndimage.binary_dilation(np.pad(part > 0, 1), np.ones((3,) * part.ndim))
    there, here = overlap([c - 1 for c in corner], around.shape, allowed.shape)
    taken[there] |= around[here]
    return True


def _place_lesions(
    drawn: DrawnMask,
    scan: Scan,
    allowed: BoolArray,
    rng: np.random.Generator,
    *,
    min_inside: float,
    jitter_mm: float,
) -> LabelArray:
    """Return the lesions of a mask that fit, apart from each other; the largest comes first."""
    mask, home = _on_either_side(drawn, scan, rng)
    middle, stretch = centroid(mask), _stretch(drawn, scan)
    lesions = sorted(split_lesions(mask, scan.spacing), key=lambda found: -np.count_nonzero(found[0]))
    placed, taken = np.zeros(allowed.shape, np.int16), np.zeros_like(allowed)
    for lesion, corner in lesions:
        inner = centroid(lesion)
        for _ in range(TRIES if len(lesions) > 1 else 1):
            if home is None:
                target = random_voxel(allowed, rng)
            else:
                shift = within_grid(rng.normal(0, jitter_mm, mask.ndim), scan)
                target = home + (corner + inner - middle) * stretch + shift / np.array(scan.spacing)
            first = np.rint(target - inner).astype(int).tolist()
            if paste_apart(lesion, first, placed, taken, allowed=allowed, min_inside=min_inside):
                break
    return placed


def _on_either_side(
    drawn: DrawnMask, scan: Scan, rng: np.random.Generator
) -> tuple[LabelArray, NDArray[np.float64] | None]:
    """Return the mask, mirrored or not, and the voxel where its centroid belongs; ``None`` = anywhere."""
    if drawn.centre is None:
        return drawn.mask, None
    assert scan.region is not None
    mask, centre = drawn.mask, np.array(drawn.centre)
    if rng.random() < 0.5:
        axis = left_right_axis(scan)
        mask = np.flip(mask, axis)
        centre[axis] = 1 - centre[axis]
    low, high = region_box(scan.region)
    return mask, low + centre * (high - low)


def _stretch(drawn: DrawnMask, scan: Scan) -> NDArray[np.float64]:
    """Return by how much longer the brain of a scan is than that of a mask, along each axis."""
    if drawn.brain_mm is None or scan.region is None:
        return np.ones(scan.spatial_dims)
    return np.divide(brain_mm(scan.region, scan.spacing), drawn.brain_mm)


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
    there, here = overlap(corner, mask.shape, shape)
    placed[there] = mask[here]
    return placed


def overlap(
    corner: Sequence[int], size: Sequence[int], shape: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the part of a grid of ``shape`` that a box covers, and the part of the box that lies on the grid."""
    there = tuple(slice(max(0, c), max(0, c + n)) for c, n in zip(corner, size, strict=True))
    here = tuple(slice(max(0, -c), max(0, s - c)) for c, s in zip(corner, shape, strict=True))
    return there, here
