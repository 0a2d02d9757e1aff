"""The brain mask of a scan from a single image channel, without eyes, skull, scalp and air.

Distances are relative to the head, whose largest slice is assumed to be as large as an adult's, since the spacing of 2D
exports is often unknown and heads differ in size; only the distance between slices is as given. "In plane" means within
a slice.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from lesionforge.cohort.scan import BoolArray, FloatArray, slicing_spacing
from lesionforge.preprocessing.brain.skull import inner_contour

HEAD_WIDTH_MM = 150.0
"""Square root of the area of an adult head's largest axial slice."""

_PADDING = 2
_AIR = 0.05
"""In CT, voxels darker than this share of the highest value are air."""
_CROSS = ndimage.generate_binary_structure(2, 1)
_DARK, _BRIGHT, _VERY_BRIGHT = 0.5, 1.65, 1.95
"""Of the brain's intensity: fluid, bone and air lie below the first, fat and bright lesions above the others."""
_LEAST_CONTRAST = 3.0
"""Between the head and its surroundings; less is only noise."""
_LEAST_USUAL = 0.75
"""A slice with a smaller share of voxels as bright as brain shows no brain."""
_LEAST_WALL = 0.8
"""Of the thickness of skull and scalp in the slice that shows most brain: above, they are hardly thinner."""


def brain_region(image: NDArray[np.float32], spacing: Sequence[float]) -> BoolArray:
    """Return the brain mask, without eyes, skull, scalp and air.

    It needs no weights. It works on whole-head MR, on skull-stripped MR (constant background) and on head CT
    (Hounsfield units, or a brain window with saturated bone). Lesions are included. In doubt, as at the skull base, it
    misses brain rather than including other tissue.

    Args:
        image: ``(x, y[, z])`` one channel; the slices of a volume lie along the axis with the largest spacing.
        spacing: millimetres along each axis; used to find this axis, and for the distance between slices.

    Returns:
        ``(x, y[, z])`` bool; empty where no brain was found.
    """
    volume = np.asarray(image, np.float32)
    if volume.ndim == 2:
        return _find(volume[..., None], np.inf)[..., 0]
    axis = thickest_last(slicing_spacing(spacing, volume.shape))
    return np.ascontiguousarray(np.moveaxis(_find(np.moveaxis(volume, axis, -1), spacing[axis]), -1, axis))


def thickest_last(spacing: Sequence[float]) -> int:
    """Return the axis with the largest spacing; among equal ones, the last."""
    rounded = np.round(spacing, 2)
    return int(np.flatnonzero(rounded == rounded.max())[-1])


def soft_tissue_window(image: FloatArray) -> FloatArray:
    """Return CT in Hounsfield units clipped to 0 … 80, and any other image as it is."""
    in_hounsfield_units = np.mean(image < -300) > 0.05
    return np.clip(image, 0, 80) if in_hounsfield_units else image


def _find(volume: FloatArray, between_slices: float) -> BoolArray:
    """Find the brain in a stack of slices ``(x, y, slice)`` at a distance in mm, on a grid of about 128 × 128."""
    step = max(1, round(float(np.sqrt(np.prod(volume.shape[:2]))) / 128))
    volume = soft_tissue_window(volume)
    around = ((_PADDING, _PADDING), (_PADDING, _PADDING), (0, 0))
    small = np.pad(volume[::step, ::step], around, constant_values=float(volume.min())) - volume.min()
    if not small.any():
        return np.zeros(volume.shape, bool)
    is_ct = _has_saturated_bone(small)
    head = _head(small, _AIR * small.max() if is_ct else 0.5 * threshold_otsu(small))
    if not head.any() or np.median(small[head]) < _LEAST_CONTRAST * np.median(small[~head]):
        return np.zeros(volume.shape, bool)
    mm = HEAD_WIDTH_MM / float(np.sqrt(head.sum(axis=(0, 1)).max()))
    if is_ct:
        region = _inside_bone(small, mm)
    elif _is_stripped(small, head):
        region = head
    else:
        region = _inside_skull(small, head, mm, between_slices)
    region = region[_PADDING:-_PADDING, _PADDING:-_PADDING].repeat(step, axis=0).repeat(step, axis=1)
    return region[: volume.shape[0], : volume.shape[1]]


def _head(volume: FloatArray, threshold: float) -> BoolArray:
    """Return the bright parts of each slice, filled, without small pieces."""
    opened = ndimage.binary_opening(volume > threshold, _CROSS[..., None])
    slices = [ndimage.binary_fill_holes(_large(opened[..., k], 0.03)) for k in range(volume.shape[-1])]
    return np.stack(slices, axis=-1)


def _has_saturated_bone(volume: FloatArray) -> bool:
    """Return whether the share of head voxels with the highest value is that of the skull in a CT window."""
    lit = volume[volume > _AIR * volume.max()]
    return bool(0.03 < np.mean(lit > 0.98 * volume.max()) < 0.8)


def _is_stripped(volume: FloatArray, head: BoolArray) -> bool:
    """Return whether almost all of the background has the same value."""
    within = slice(_PADDING, -_PADDING)
    outside = volume[within, within][~head[within, within]]
    return outside.size == 0 or bool(np.mean(outside == np.median(outside)) > 0.95)


def _inside_bone(volume: FloatArray, mm: float) -> BoolArray:
    """Return the largest piece of soft tissue in each slice, if bone encloses it (CT)."""
    region = np.zeros(volume.shape, bool)
    for k in range(volume.shape[-1]):
        bone = volume[..., k] > 0.85 * volume.max()
        inside = ndimage.binary_fill_holes(_close(bone, 5, mm)) & ~bone
        deep = _depth(inside, mm) > 8
        if not deep.any():
            continue
        smooth = ndimage.uniform_filter(volume[..., k], 3)
        soft = inside & (smooth > 0.5 * np.median(smooth[deep]))
        core = _large(_depth(soft, mm) > 3, 1)
        brain = ndimage.binary_fill_holes(_close(soft & _near(core, 5, mm), 3, mm))
        rim = _near(brain, 4, mm) & ~brain
        if np.count_nonzero(brain) * mm**2 > 2000 and np.count_nonzero(_near(bone, 2, mm) & rim) > 0.8 * rim.sum():
            region[..., k] = brain
    return region


def _inside_skull(volume: FloatArray, head: BoolArray, mm: float, between_slices: float) -> BoolArray:
    """Return the brain in whole-head MR.

    In the slice that shows most brain, everything inside the skull counts. From there the brain is followed slice by
    slice in both directions; each slice lies within the slightly widened previous one. Towards the skull base (where
    there is more bone and air), only homogeneous tissue counts.
    """
    depth = np.stack([_depth(head[..., k], mm) for k in range(head.shape[-1])], axis=-1)
    relative, reference = _relative_to_brain(volume, depth, mm)
    biggest = np.argsort(-head.sum(axis=(0, 1)))[: max(1, head.shape[-1] // 3)]
    centre = ndimage.center_of_mass(head[..., biggest].sum(axis=-1))
    inside = inner_contour(relative, depth, centre, mm)
    usual = (relative > _DARK) & (relative < _BRIGHT)
    area = inside.sum(axis=(0, 1))
    share = (usual & inside).sum(axis=(0, 1)) / np.maximum(area, 1)
    lit = (area > 0) & (reference > 0.25 * np.median(reference))
    start = int(np.argmax(area * share**2 * lit))
    region = np.zeros(volume.shape, bool)
    if share[start] < _LEAST_USUAL:
        return region
    region[..., start] = inside[..., start]
    if volume.shape[-1] == 1:
        return _lone_slice(relative, region, mm)
    dark = ((relative < _DARK) & inside).sum(axis=(0, 1)) * head.sum(axis=(0, 1)) / np.maximum(area, 1)
    below, above = dark[:start][lit[:start]], dark[start + 1 :][lit[start + 1 :]]
    base_first = below.size > 0 and (above.size == 0 or below.mean() > above.mean())
    down, up = range(start - 1, -1, -1), range(start + 1, volume.shape[-1])
    inside = _off_scalp(inside, head, depth, up if base_first else down, (mm, mm, between_slices))
    _follow(region, relative, inside, down, mm, base=base_first)
    _follow(region, relative, inside, up, mm, base=not base_first)
    return region


def _off_scalp(
    inside: BoolArray, head: BoolArray, depth: FloatArray, slices: range, spacing: tuple[float, float, float]
) -> BoolArray:
    """Return the inside of the skull without skull and scalp in slices where the contour lies on the scalp.

    Near the vertex, scalp and brain are often equally bright, and the contour runs along the scalp. There, the wall of
    skull and scalp is taken to be as thick as in the slice where ``slices`` begin, measured at right angles to the
    surface of the head.
    """
    before = slices.start - slices.step
    wall = [
        np.median(depth[..., k][_edge(inside[..., k])]) if inside[..., k].any() else np.inf for k in (before, *slices)
    ]
    thinnest = _LEAST_WALL * wall[0]
    on_scalp = [k for k, thickness in zip(slices, wall[1:], strict=True) if thickness < thinnest]
    if not on_scalp:
        return inside
    reach = int(np.ceil(thinnest / spacing[2]))
    first, last = max(min(on_scalp) - reach, 0), max(on_scalp) + reach
    padded = np.pad(head[..., first : last + 1], 1, mode="edge")
    from_surface = ndimage.distance_transform_edt(padded, sampling=spacing)[1:-1, 1:-1, 1:-1]
    off = inside.copy()
    off[..., on_scalp] &= from_surface[..., np.subtract(on_scalp, first)] >= thinnest
    return off


def _relative_to_brain(volume: FloatArray, depth: FloatArray, mm: float) -> tuple[FloatArray, NDArray[np.float64]]:
    """Return the volume divided by the smooth local intensity of the brain, and the typical intensity of each slice."""
    deep = depth > 0.5 * depth.max(axis=(0, 1))
    slices = range(volume.shape[-1])
    reference = np.array([np.median(volume[..., k][deep[..., k]]) if deep[..., k].any() else 0 for k in slices])
    relative = volume / np.maximum(reference, 1e-3 * volume.max())
    typical = ((depth > 12) & (relative > 0.4) & (relative < 1.5)).astype(np.float32)
    sigma = (20 / mm, 20 / mm, 0)
    weight = ndimage.gaussian_filter(typical, sigma, truncate=2) + 0.05
    field = (ndimage.gaussian_filter(typical * relative, sigma, truncate=2) + 0.05) / weight
    return (relative / field).astype(np.float32), reference


def _follow(
    region: BoolArray, relative: FloatArray, inside: BoolArray, slices: range, mm: float, *, base: bool
) -> None:
    """Fill ``region`` along ``slices``, from the neighbour of a filled slice until the brain ends."""
    previous = slices.start - slices.step
    largest = np.count_nonzero(region[..., previous])
    for k in slices:
        image, before = relative[..., k], region[..., previous]
        lesion = _thick(before & (relative[..., previous] > 1.5), mm)
        image = np.where(_near(lesion, 5, mm), np.minimum(image, 1.4), image)
        brain = inside[..., k] & _near(before, 2.5 if base else 5, mm)
        usual = np.mean(((image > _DARK) & (image < _BRIGHT))[brain]) if brain.any() else 0.0
        if base:
            brain = _homogeneous(image, brain, mm)
        least, least_usual = (0.35, _LEAST_USUAL) if base else (0.25, 0.6)
        if np.count_nonzero(brain) < least * largest or usual < least_usual:
            return
        region[..., k] = brain
        previous = k


def _lone_slice(relative: FloatArray, inside: BoolArray, mm: float) -> BoolArray:
    """Return the brain of a single slice; only its homogeneous tissue if the slice has much air, bone or fluid."""
    if np.mean(relative[inside] < _DARK) < 0.06:
        return inside
    brain = _homogeneous(relative[..., 0], inside[..., 0], mm)
    return (brain & (np.count_nonzero(brain) > 0.6 * np.count_nonzero(inside)))[..., None]


def _homogeneous(image: FloatArray, brain: BoolArray, mm: float) -> BoolArray:
    """Return the large pieces of tissue as bright as brain, including enclosed voxels."""
    tissue = ndimage.binary_fill_holes(brain & (image > 0.6) & (image < _BRIGHT))
    parts, _ = ndimage.label(_depth(tissue, mm) > 5)
    large = np.bincount(parts.ravel()) * mm**2 > 150
    large[0] = False
    grown = brain & (image > 0.45) & (image < _VERY_BRIGHT) & _near(large[parts], 7.5, mm)
    return np.asarray(ndimage.binary_fill_holes(_close(grown, 5, mm)) & brain)


def _edge(mask: BoolArray) -> BoolArray:
    return np.asarray(mask & ~ndimage.binary_erosion(mask))


def _thick(mask: BoolArray, mm: float) -> BoolArray:
    return np.asarray(mask & _near(_depth(mask, mm) > 4, 5, mm))


def _depth(mask: BoolArray, mm: float) -> FloatArray:
    """Return the distance in mm of every pixel of ``mask`` to the outside, 0 outside; the border counts as outside."""
    depth, box = np.zeros(mask.shape, np.float32), _box(mask)
    padded = ndimage.distance_transform_edt(np.pad(mask[box], 1), sampling=mm)
    depth[box] = padded[1:-1, 1:-1]
    return depth


def _box(mask: BoolArray, margin: int = 0) -> tuple[slice, ...]:
    """Return the bounding box of a mask with a margin in pixels; empty if the mask is."""
    sides = [np.flatnonzero(mask.any(axis=1 - axis)) for axis in range(2)]
    return tuple(slice(max(side[0] - margin, 0), side[-1] + 1 + margin) if side.size else slice(0) for side in sides)


def _near(mask: BoolArray, distance: float, mm: float) -> BoolArray:
    """Return the pixels less than ``distance`` mm from ``mask``."""
    near = np.zeros(mask.shape, bool)
    if mask.any():
        box = _box(mask, int(np.ceil(distance / mm)))
        near[box] = ndimage.distance_transform_edt(~mask[box], sampling=mm) < distance
    return near


def _close(mask: BoolArray, distance: float, mm: float) -> BoolArray:
    """Return ``mask`` with gaps of up to twice ``distance`` mm closed."""
    margin = int(np.ceil(distance / mm)) + 1
    padded = np.pad(mask, margin)
    closed = ~_near(~_near(padded, distance, mm), distance, mm)
    return np.asarray((closed | padded)[margin:-margin, margin:-margin])


def _large(mask: BoolArray, share: float) -> BoolArray:
    """Return the connected pieces that have at least ``share`` of the size of the largest."""
    parts, _ = ndimage.label(mask)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray(mask & (sizes >= share * sizes.max())[parts])
