"""Where the brain is, found from one image channel alone: no eyes, skull, scalp or air.

Distances are measured in units of the head, whose largest slice is taken to be as large as an adult's; the true
spacing of 2D exports is often unknown, and heads differ in size.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from lesionforge.cohort.scan import BoolArray, FloatArray

HEAD_WIDTH_MM = 150.0
"""Square root of the area of an adult head's largest axial slice."""

WORKING_SPACING_MM = 1.8
"""In-plane spacing of the grid the brain is searched on."""

_IN_PLANE = np.stack([np.zeros((3, 3)), ndimage.generate_binary_structure(2, 1), np.zeros((3, 3))], axis=-1).astype(
    bool
)


def brain_region(image: NDArray[np.float32], spacing: Sequence[float]) -> BoolArray:
    """Return the voxels that are brain, without eyes, skull, scalp and air.

    Works on whole-head MR, on skull-stripped MR and on head CT (Hounsfield units, or a brain window whose bone is
    saturated), without weights. Where it is unsure, as at the skull base, it rather misses brain.

    Args:
        image: ``(x, y[, z])`` one channel; slices are taken along the axis with the widest spacing.
        spacing: millimetres along each axis; only their order matters.

    Returns:
        ``(x, y[, z])`` bool; empty where no brain was found.
    """
    volume = np.asarray(image, np.float32)
    axis = slice_axis(spacing) if volume.ndim == 3 else None
    volume = volume[..., None] if axis is None else np.moveaxis(volume, axis, -1)
    region = _find(volume)
    return region[..., 0] if axis is None else np.ascontiguousarray(np.moveaxis(region, -1, axis))


def slice_axis(spacing: Sequence[float]) -> int:
    """Return the axis with the widest spacing, the last of them where several are as wide."""
    rounded = np.round(spacing, 2)
    return int(np.flatnonzero(rounded == rounded.max())[-1])


def _find(volume: FloatArray) -> BoolArray:
    """Find the brain in a stack of slices ``(x, y, n)``."""
    step = max(1, round(np.sqrt(np.prod(volume.shape[:2])) / 128))
    small = np.pad(
        volume[::step, ::step], ((2, 2), (2, 2), (0, 0)), mode="constant", constant_values=float(volume.min())
    )
    head = _head(small)
    if not head.any():
        return np.zeros(volume.shape, bool)
    mm = HEAD_WIDTH_MM / np.sqrt(head.sum(axis=(0, 1)).max())
    if _is_stripped(small, head):
        region = head
    else:
        region = _inside_skull(small, head, mm)
    region = region[2:-2, 2:-2]
    region = region.repeat(step, axis=0).repeat(step, axis=1)[: volume.shape[0], : volume.shape[1]]
    return region


def _head(volume: FloatArray) -> BoolArray:
    bright = volume > volume.min() + 0.5 * (threshold_otsu(volume) - volume.min())
    opened = ndimage.binary_opening(bright, _IN_PLANE)
    return _fill(opened)


def _is_stripped(volume, head):
    outside = volume[~head]
    return outside.size > 0 and np.mean(outside == volume.min()) > 0.95


def _depth(mask: BoolArray, mm: float) -> FloatArray:
    """Return the in-plane distance in mm of every voxel of ``mask`` to the outside."""
    return ndimage.distance_transform_edt(mask, sampling=(mm, mm, 1e6)).astype(np.float32)


def _fill(mask: BoolArray) -> BoolArray:
    return np.stack([ndimage.binary_fill_holes(mask[..., k]) for k in range(mask.shape[-1])], axis=-1)


def _inside_skull(volume: FloatArray, head: BoolArray, mm: float) -> BoolArray:
    depth = _depth(head, mm)
    reference = np.array(
        [
            np.median(v[d > 0.5 * d.max()]) if d.any() else 0
            for v, d in zip(np.moveaxis(volume, -1, 0), np.moveaxis(depth, -1, 0))
        ]
    )
    tissue = (volume > 0.6 * reference) & (depth > 6)
    core = _depth(tissue, mm) > 5
    parts, _ = ndimage.label(core)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    core = parts == sizes.argmax()
    grown = tissue & (_depth(~core, mm) < 8)
    closed = _depth(~(_depth(~grown, mm) < 8), mm) >= 8
    region = _fill(closed | grown) & (depth > 6)
    return region
