"""The ventricles and other large pools of fluid in a brain, found in one channel if it shows them.

The image decides whether fluid is dark (FLAIR, T1, diffusion, CT) or bright (T2, ADC). Otsu's method gives several
thresholds at either end of the intensities in the middle of the brain. A threshold counts if the voxels beyond it look
like ventricles: they are few, they form pools in the middle of the brain, and their intensities are far from those of
the tissue around them. The threshold that separates best is taken, a dark one if there is any. It is then moved halfway
between fluid and tissue. This happens on a coarse grid, on which a 2D image is a volume of one slice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_multiotsu
from skimage.measure import block_reduce

from lesionforge.cohort.scan import BoolArray, FloatArray, slicing_spacing
from lesionforge.preprocessing.brain.brain_mask import soft_tissue_window, thickest_last

_ACROSS = 64
"""The coarse grid has 1 to 2 times this number of voxels across the largest slice, or as many as the image."""
_SMOOTHING = 0.6
"""Standard deviation of a Gaussian filter within slices, in voxels of the coarse grid."""
_MIDDLE = 0.6
"""The middle of the brain reaches to this share of the radius of an ellipsoid with the brain's moments."""
_CLASSES = (2, 3, 4)
_LEAST_VOXELS = 10
"""Of the coarse grid; fewer have no reliable mean."""
_SMALLEST_POOL, _SMALLEST_MIDDLE, _LARGEST = 0.001, 0.002, 0.2
"""Shares of the brain: a single pool, the pools in its middle, all pools; larger ones are a tissue such as cortex."""
_LEAST_SEPARATION = 2.1
"""Of pools and tissue: the difference of their means, in sums of their standard deviations.

One tissue that is cut in two reaches 1.3 if its intensities are normally distributed, and 1.7 if they are uniform.
"""
_DARK, _BRIGHT = 0.65, 1.5
"""Shares of the intensity of tissue: fluid lies beyond; white and grey matter differ less from each other."""
_LEAST_ON_ONE_SIDE = 0.05
"""Share of the pools on either side of the brain's centre, along each axis."""
_NEAREST_TISSUE = 20.0
"""Percent of the tissue around pools whose intensities are nearest to fluid, such as grey matter in T1."""
_AROUND = np.ones((3, 3, 1), bool)
_REACH = 5
"""Tissue at 3 to this number of voxels from a pool lies around it; nearer voxels are partly fluid."""


@dataclass(frozen=True, kw_only=True)
class _Brain:
    """A brain on the coarse grid ``(x, y, slice)``.

    Attributes:
        image: mean intensity of the tissue, smoothed within slices; 0 is the lowest intensity of the image.
        tissue: the brain without lesions.
        size: number of voxels of the brain.
        offset: position relative to the brain's centre along each axis, in radii of the brain; for broadcasting.
    """

    image: FloatArray
    tissue: BoolArray
    size: int
    offset: tuple[FloatArray, ...]

    @property
    def middle(self) -> BoolArray:
        """The tissue near the brain's centre."""
        return np.asarray(self.tissue & (sum(part**2 for part in self.offset) < _MIDDLE**2))


@dataclass(frozen=True, kw_only=True)
class _Pools:
    """The pools beyond a threshold, on the coarse grid.

    Attributes:
        where: ``(x, y, slice)`` the pools.
        threshold: intensity between pools and tissue.
        sign: 1 if pools are darker than tissue, -1 if they are brighter.
        separation: see :data:`_LEAST_SEPARATION`.
    """

    where: BoolArray
    threshold: float
    sign: int
    separation: float


def find_fluid(
    image: FloatArray, brain: BoolArray, spacing: Sequence[float], *, lesions: BoolArray | None = None
) -> BoolArray | None:
    """Return the large pools of fluid in a brain, such as the ventricles.

    Args:
        image: ``(x, y[, z])`` one channel.
        brain: ``(x, y[, z])`` the brain.
        spacing: millimetres along each axis.
        lesions: ``(x, y[, z])`` known lesions, which are never fluid. If they are unknown, fluid must lie on both sides
            of the brain's centre, since a lesion seldom does; bright fluid always must.

    Returns:
        ``(x, y[, z])`` bool, inside the brain and outside lesions; ``None`` if fluid cannot be told from tissue.
    """
    if not brain.any():
        return None
    if image.ndim == 2:
        known = None if lesions is None else lesions[..., None]
        found = find_fluid(image[..., None], brain[..., None], (*spacing, np.inf), lesions=known)
        return None if found is None else found[..., 0]
    box = ndimage.find_objects(brain.view(np.uint8))[0]
    tissue = brain[box] if lesions is None else brain[box] & ~lesions[box]
    values = soft_tissue_window(image)
    values = (values[box] - values.min()).astype(np.float32)
    axis = thickest_last(slicing_spacing(spacing, image.shape))
    parts = [np.moveaxis(part, axis, -1) for part in (values, tissue, brain[box])]
    found = _find(*parts, thickness=spacing[axis] / spacing[axis - 1], sides=lesions is None)
    if found is None:
        return None
    fluid = np.zeros(brain.shape, bool)
    fluid[box] = np.moveaxis(found, -1, axis)
    return fluid


def _find(
    values: FloatArray, tissue: BoolArray, brain: BoolArray, *, thickness: float, sides: bool
) -> BoolArray | None:
    """Return the fluid in a stack of slices ``(x, y, slice)``.

    Args:
        values: intensities from 0.
        tissue: the brain without lesions.
        brain: the brain.
        thickness: distance of two slices in voxels of a slice.
        sides: whether dark fluid must lie on both sides of the centre.
    """
    step = max(1, int(np.sqrt(brain.sum(axis=(0, 1)).max()) / _ACROSS))
    steps = (step, step, max(1, round(step / thickness)))
    coarse = _coarse(values, tissue, brain, steps)
    candidates = [
        pools for pools in _candidates(coarse) if (not sides and pools.sign > 0) or _both_sides(pools, coarse)
    ]
    if not candidates:
        return None
    best = max(candidates, key=lambda pools: (pools.sign, pools.separation))
    near = ndimage.binary_dilation(best.where, _AROUND)
    for axis, size in enumerate(steps):
        near = near.repeat(size, axis)
    smooth = _smoothed(np.where(tissue, values, 0), tissue.astype(np.float32), _SMOOTHING * step)
    return near[tuple(map(slice, tissue.shape))] & tissue & (best.sign * (best.threshold - smooth) > 0)


def _coarse(values: FloatArray, tissue: BoolArray, brain: BoolArray, steps: tuple[int, ...]) -> _Brain:
    weight = block_reduce(tissue.astype(np.float32), steps, np.mean)
    total = block_reduce(np.where(tissue, values, 0), steps, np.mean)
    coarse = block_reduce(brain.astype(np.float32), steps, np.mean) >= 0.5
    size = int(np.count_nonzero(coarse))
    places = np.argwhere(coarse if size else weight > 0)
    axes = sum(n > 1 for n in coarse.shape)
    radius = np.maximum(places.std(axis=0), 1e-6) * np.sqrt(axes + 2)
    offset = [(np.arange(n) - c) / r for n, c, r in zip(coarse.shape, places.mean(axis=0), radius, strict=True)]
    return _Brain(
        image=_smoothed(total, weight, _SMOOTHING),
        tissue=weight >= 0.5,
        size=size,
        offset=tuple(part.astype(np.float32) for part in np.ix_(*offset)),
    )


def _smoothed(total: FloatArray, weight: FloatArray, sigma: float) -> FloatArray:
    """Return the weighted mean around each voxel, within slices."""
    smooth, sum_of_weights = (ndimage.gaussian_filter(part, (sigma, sigma, 0)) for part in (total, weight))
    return np.asarray(smooth / np.maximum(sum_of_weights, 1e-3), np.float32)


def _candidates(brain: _Brain) -> Iterator[_Pools]:
    """Yield the pools beyond each threshold, where they look like fluid."""
    middle = brain.middle
    if np.count_nonzero(middle) < _LEAST_VOXELS:
        return
    values = np.clip(brain.image[middle], *np.percentile(brain.image[middle], (1, 99)))
    for classes in _CLASSES:
        try:
            thresholds = threshold_multiotsu(values, classes=classes, nbins=64)
        except ValueError:  # fewer different intensities than classes
            return
        for sign, threshold in ((1, thresholds[0]), (-1, thresholds[-1])):
            pools = _judged(brain, middle, float(threshold), sign)
            if pools is not None:
                yield pools


def _judged(brain: _Brain, middle: BoolArray, threshold: float, sign: int) -> _Pools | None:
    """Return the pools beyond a threshold, moved halfway between fluid and tissue; ``None`` if they are no fluid."""
    beyond = _beyond(brain, threshold, sign)
    pools = _wide_parts(beyond, brain.size)
    central = pools & middle
    few = max(_LEAST_VOXELS, _SMALLEST_MIDDLE * brain.size)
    if np.count_nonzero(central) < few or np.count_nonzero(pools) > _LARGEST * brain.size:
        return None
    inside = central & ndimage.binary_erosion(pools, _AROUND)
    fluid = brain.image[inside if np.count_nonzero(inside) >= _LEAST_VOXELS else central]
    near = ndimage.binary_dilation(central, _AROUND, iterations=_REACH)
    tissue = brain.image[near & brain.tissue & ~ndimage.binary_dilation(beyond, _AROUND, iterations=2)]
    if tissue.size < _LEAST_VOXELS:
        return None
    ratio = float(fluid.mean()) / max(float(tissue.mean()), 1e-6)
    separation = abs(float(fluid.mean() - tissue.mean())) / max(float(fluid.std() + tissue.std()), 1e-6)
    if separation < _LEAST_SEPARATION or (ratio > _DARK if sign > 0 else ratio < _BRIGHT):
        return None
    nearest = np.percentile(tissue, _NEAREST_TISSUE if sign > 0 else 100 - _NEAREST_TISSUE)
    halfway = float(fluid.mean() + nearest) / 2
    where = _wide_parts(_beyond(brain, halfway, sign), brain.size)
    return _Pools(where=where, threshold=halfway, sign=sign, separation=separation)


def _beyond(brain: _Brain, threshold: float, sign: int) -> BoolArray:
    return np.asarray(brain.tissue & (sign * (threshold - brain.image) > 0))


def _wide_parts(beyond: BoolArray, brain_size: int) -> BoolArray:
    """Return the large connected parts, without those that are thin in their slices."""
    wide = beyond & (ndimage.uniform_filter(beyond.astype(np.float32), _AROUND.shape) > 0.6)
    parts, _ = ndimage.label(beyond & ndimage.binary_dilation(wide, _AROUND))
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray((sizes >= _SMALLEST_POOL * brain_size)[parts])


def _both_sides(pools: _Pools, brain: _Brain) -> bool:
    """Return whether the pools in the middle of the brain lie on both sides of its centre, along each axis."""
    places = np.nonzero(pools.where & brain.middle)
    positions = [part.ravel()[index] for part, index in zip(brain.offset, places, strict=True) if part.size > 1]
    return all(_LEAST_ON_ONE_SIDE <= np.mean(position < 0) <= 1 - _LEAST_ON_ONE_SIDE for position in positions)
