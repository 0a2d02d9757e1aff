"""From the grid of a file to the grid of a model, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    io_orientation,
    ornt_transform,
)
from numpy.typing import NDArray
from skimage.transform import resize

from lesionforge.cohort.scan import Scan, slicing_spacing
from lesionforge.errors import CohortError

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """The mapping from the grid of a scan to the grid of a model.

    The steps are: turn the axes to RAS+ (volumes only); put the slice axis last (only for 2D models on volumes);
    resample; crop or pad around the centre. Arrays may have any number of leading channel axes.

    Attributes:
        orientation: nibabel orientation transform to RAS+, or ``None`` for a slice.
        slice_axis: the axis, after turning, that is put last.
        turned_shape: size after turning.
        resampled_shape: size after resampling.
        shape: size in the model.
        spacing: millimetres in the model.
    """

    orientation: Array | None
    slice_axis: int
    turned_shape: tuple[int, ...]
    resampled_shape: tuple[int, ...]
    shape: tuple[int, ...]
    spacing: tuple[float, ...]

    @property
    def resamples(self) -> bool:
        """Whether the scan is resampled."""
        return self.resampled_shape != self.turned_shape

    def to_model(self, array: Array, *, label: bool = False) -> Array:
        """Map ``([channel,] x, y[, z])`` from the file's grid to the model's grid; outside is 0."""
        dims = len(self.shape)
        turned = self._turn(array)
        return _crop_or_pad(_resample(turned, self.resampled_shape, label=label), self.shape, dims)

    def to_scan(self, array: Array, *, label: bool = False) -> Array:
        """Map ``([channel,] x, y[, z])`` from the model's grid back; voxels that were cropped away are 0."""
        dims = len(self.shape)
        whole = _crop_or_pad(array, self.resampled_shape, dims)
        return self._turn_back(_resample(whole, self.turned_shape, label=label))

    def points_to_scan(self, points: Array) -> Array:
        """Map ``(n, dimensions)`` positions in voxels of the model's grid to voxels of the file's grid."""
        whole, turned, shape = (np.array(of) for of in (self.resampled_shape, self.turned_shape, self.shape))
        surplus = whole - shape
        start = np.where(surplus > 0, surplus // 2, -(-surplus // 2))
        return self._turn_points_back((points + start + 0.5) * turned / whole - 0.5)

    def _turn_points_back(self, points: Array) -> Array:
        if self.orientation is None:
            return points
        axes = [*(axis for axis in range(3) if axis != self.slice_axis), self.slice_axis]
        ras = points[:, np.argsort(axes)]
        last = np.array(self.turned_shape)[np.argsort(axes)] - 1
        found = [
            ras[:, int(axis)] if flip > 0 else last[int(axis)] - ras[:, int(axis)] for axis, flip in self.orientation
        ]
        return np.stack(found, axis=1)

    def _turn(self, array: Array) -> Array:
        if self.orientation is None:
            return array
        return np.ascontiguousarray(np.moveaxis(_orient(array, self.orientation), self.slice_axis - 3, -1))

    def _turn_back(self, array: Array) -> Array:
        if self.orientation is None:
            return array
        inverse = np.empty_like(self.orientation)
        for source, (target, flip) in enumerate(self.orientation):
            inverse[int(target)] = (source, flip)
        return np.ascontiguousarray(_orient(np.moveaxis(array, -1, self.slice_axis - 3), inverse))


def plan_geometry(
    scan: Scan, *, spatial_dims: int, spacing: tuple[float, ...] | None, shape: tuple[int, ...] | None
) -> Geometry:
    """Compute the geometry of a scan.

    Args:
        scan: the scan.
        spatial_dims: dimensions of the model; a 2D model takes a volume slice by slice along its thickest axis.
        spacing: spacing of the model in mm per axis, or ``None`` for the scan's own. Axes within 5 % of it are not
            resampled, nor is the slice axis of a 2D model.
        shape: size of the model per axis, or ``None`` for any size; for a 2D model the in-plane size.

    Raises:
        CohortError: if the model takes volumes and the scan is a slice.
    """
    if scan.spatial_dims < spatial_dims:
        raise CohortError(scan.case.case_id, "is a slice, but the model takes volumes", "use a model of spatial_dims=2")
    orientation, slice_axis = None, scan.spatial_dims - 1
    turned, source_spacing = tuple(range(scan.spatial_dims)), scan.spacing
    if scan.spatial_dims == 3:
        orientation = ornt_transform(io_orientation(scan.affine), axcodes2ornt("RAS"))
        turned, slice_axis = _turned_axes(scan.slicing_spacing, orientation, spatial_dims)
    turned_shape = tuple(scan.spatial_shape[axis] for axis in turned)
    source_spacing = tuple(source_spacing[axis] for axis in turned)
    factors = [1.0] * len(turned_shape)
    for axis, target in enumerate(spacing or ()):
        factor = source_spacing[axis] / target
        factors[axis] = factor if abs(factor - 1) > 0.05 else 1.0
    resampled = tuple(max(1, round(n * f)) for n, f in zip(turned_shape, factors, strict=True))
    model_shape = resampled if shape is None else (*shape, *resampled[len(shape) :])
    return Geometry(
        orientation=orientation,
        slice_axis=slice_axis,
        turned_shape=turned_shape,
        resampled_shape=resampled,
        shape=model_shape,
        spacing=tuple(s * n / m for s, n, m in zip(source_spacing, turned_shape, resampled, strict=True)),
    )


def turned_spacing(
    spacing: tuple[float, ...], orientation: str, spatial_dims: int, *, size: tuple[int, ...]
) -> tuple[float, ...]:
    """Return the spacing of a file in the order of the model's axes.

    Args:
        spacing: millimetres along the axes of the file.
        orientation: directions of these axes, such as ``"LPS"``; empty for a slice.
        spatial_dims: dimensions of the model.
        size: voxels along the axes of the file.
    """
    if not orientation:
        return spacing
    turn = ornt_transform(axcodes2ornt(orientation), axcodes2ornt("RAS"))
    return tuple(spacing[axis] for axis in _turned_axes(slicing_spacing(spacing, size), turn, spatial_dims)[0])


def _turned_axes(spacing: tuple[float, ...], orientation: Array, spatial_dims: int) -> tuple[tuple[int, ...], int]:
    """Return the file axis of each model axis, and the RAS axis across the slices of a 2D model."""
    order = [int(np.flatnonzero(orientation[:, 0] == axis)[0]) for axis in range(3)]
    slice_axis = thickest_axis(tuple(spacing[axis] for axis in order)) if spatial_dims == 2 else 2
    return (*(order[axis] for axis in range(3) if axis != slice_axis), order[slice_axis]), slice_axis


def thickest_axis(spacing: tuple[float, ...]) -> int:
    """Return the axis with the largest spacing; among equal ones (within 1 %), the last."""
    largest = max(spacing)
    return max(axis for axis, step in enumerate(spacing) if step >= 0.99 * largest)


def between_voxels(spacing: Sequence[float]) -> str:
    """Describe the place of lesions that have no voxel on a model's grid of this spacing, in mm."""
    shown = " × ".join(f"{mm:.3g}" for mm in spacing)
    return f"between the voxels of the model, whose spacing is {shown} mm"


def _orient(array: Array, orientation: Array) -> Array:
    """Apply a nibabel orientation transform to the last three axes."""
    if array.ndim == 3:
        return np.asarray(apply_orientation(array, orientation))
    return np.stack([_orient(channel, orientation) for channel in array])


def _resample(array: Array, shape: tuple[int, ...], *, label: bool) -> Array:
    if array.shape[-len(shape) :] == shape:
        return array
    if array.ndim > len(shape):
        return np.stack([_resample(channel, shape, label=label) for channel in array])
    if label:
        return np.asarray(resize(array, shape, order=0, preserve_range=True, anti_aliasing=False)).astype(array.dtype)
    return np.asarray(resize(array.astype(np.float32), shape, order=1, preserve_range=True)).astype(np.float32)


def _crop_or_pad(array: Array, shape: tuple[int, ...], dims: int) -> Array:
    """Crop or pad with 0 around the centre of the last ``dims`` axes; its own inverse if nothing is cut."""
    for axis, size in zip(range(-dims, 0), shape, strict=True):
        surplus = array.shape[axis] - size
        if surplus > 0:
            array = np.take(array, range(surplus // 2, surplus // 2 + size), axis=axis)
        elif surplus < 0:
            widths = [(0, 0)] * array.ndim
            widths[axis] = (-surplus // 2, -surplus - -surplus // 2)
            array = np.pad(array, widths)
    return array
