"""The axes of nnU-Net's patches, of files, and of synthesizers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionforge.cohort.case import Annotation, Case
from lesionforge.cohort.scan import Scan
from lesionforge.errors import CohortError, ConfigError
from lesionforge.preprocessing.geometry import Geometry, plan_geometry
from lesionforge.preprocessing.pipeline import Preprocessing

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Axes:
    """How the patches of a case turn into a synthesizer's space and back; nothing is resampled.

    Attributes:
        directions: unit vectors of the axes of the file, as the columns of a 3×3 matrix.
        flat: whether the file is a slice.
        order: for each axis of the file, the axis of nnU-Net's array; a slice has a third axis of 1.
        spacing: millimetres along the three axes of nnU-Net's array; the first one is across the slices.
        dims: dimensions of the patches and of the synthesizer.
    """

    directions: NDArray[np.float64]
    flat: bool
    order: tuple[int, ...]
    spacing: tuple[float, ...]
    dims: int

    @property
    def turned_spacing(self) -> tuple[float, ...]:
        """Millimetres along the axes of the synthesizer."""
        return self._geometry((1 if self.dims == 2 else 64, 64, 64)).spacing[: self.dims]

    def to_model(self, patch: Array) -> Array:
        """Turn ``([channel,] a, b[, c])`` of nnU-Net into ``([channel,] x, y[, z])`` of the synthesizer."""
        volume = self._volume(patch)
        file = _transpose(volume, self.order)
        turned = self._geometry(volume.shape[-3:]).to_model(file[..., 0] if self.flat else file)
        return np.ascontiguousarray(turned[..., 0] if self.dims == 2 and not self.flat else turned)

    def to_patch(self, turned: Array, shape: Sequence[int]) -> Array:
        """Turn ``([channel,] x, y[, z])`` of the synthesizer into a patch of nnU-Net of this spatial shape."""
        whole = turned[..., None] if self.dims == 2 and not self.flat else turned
        file = self._geometry((1, *shape) if self.dims == 2 else tuple(shape)).to_scan(whole)
        volume = to_nnunet(file[..., None] if self.flat else file, self.order)
        return volume[..., 0, :, :] if self.dims == 2 else volume

    def _volume(self, patch: Array) -> Array:
        return patch[..., None, :, :] if self.dims == 2 else patch

    def _geometry(self, shape: tuple[int, ...]) -> Geometry:
        """Return the mapping from a patch, with the axes of the file, to the synthesizer's axes."""
        sides = [shape[axis] for axis in self.order]
        affine = np.eye(4)
        affine[:3, :3] = self.directions * [self.spacing[axis] for axis in self.order]
        image = np.broadcast_to(np.float32(0), (1, *(sides[:2] if self.flat else sides)))
        case = Case(case_id="a patch", subject_id="", images={}, annotation=Annotation.UNKNOWN)
        scan = Scan(case=case, channels=("",), image=image, label=None, affine=affine)
        return plan_geometry(scan, spatial_dims=self.dims, spacing=None, shape=None)


def axes_of(scan: Scan, model: Preprocessing, order: tuple[int, ...], spacing: Sequence[float], *, dims: int) -> Axes:
    """Return the axes of a case's patches.

    Args:
        scan: the case as its files have it.
        model: preprocessing of the synthesizer.
        order: see :class:`Axes`.
        spacing: see :class:`Axes`.
        dims: dimensions of the patches.

    Raises:
        ConfigError: if the synthesizer has other dimensions or another spacing than the patches.
        CohortError: if nnU-Net cuts this case into other slices than those that the synthesizer draws in.
    """
    if dims != model.spatial_dims:
        what = f"draws in {model.spatial_dims}D, but nnU-Net's patches are {dims}D"
        raise ConfigError("the model", what, "train 2d with a 2D model, and 3d_fullres with a 3D one")
    axes = Axes(
        directions=scan.affine[:3, :3] / np.linalg.norm(scan.affine[:3, :3], axis=0),
        flat=scan.spatial_dims == 2,
        order=order,
        spacing=tuple(spacing),
        dims=dims,
    )
    if dims == 2 and not axes.flat and _sliced(model.geometry(scan)) != order.index(0):
        what = "nnU-Net's slices of it lie across another axis than those that the model draws in"
        raise CohortError(scan.case.case_id, what, "leave it out, or train 3d_fullres with a 3D model")
    pairs = list(zip(axes.turned_spacing, model.spacing or axes.turned_spacing, strict=True))
    if any(abs(own / fitted - 1) > NEAR for own, fitted in pairs):
        own, fitted = (" × ".join(f"{mm:.3g}" for mm in spacings) for spacings in zip(*pairs, strict=True))
        what = f"was fitted at a spacing of {fitted} mm, but nnU-Net's patches have {own} mm"
        raise ConfigError("the model", what, "fit it at the spacing of the patches")
    return axes


NEAR = 0.05
"""Spacings that differ by less are taken as equal, as everywhere in this package."""


def to_nnunet(array: Array, order: Sequence[int]) -> Array:
    """Turn ``([channel,] i, j, k)`` of a file into the order of nnU-Net's axes."""
    return _transpose(array, np.argsort(order))


def _transpose(array: Array, order: Sequence[int] | Array) -> Array:
    lead = array.ndim - 3
    return np.ascontiguousarray(np.transpose(array, (*range(lead), *(int(axis) + lead for axis in order))))


def _sliced(geometry: Geometry) -> int:
    """Return the axis of the file across the slices of a 2D model."""
    assert geometry.orientation is not None
    return int(np.flatnonzero(geometry.orientation[:, 0] == geometry.slice_axis)[0])
