"""The place of voxels according to a NIfTI header, and how other files take it over.

A header gives the place in three ways. The sform counts if its code is above 0, else the qform if its code is above 0,
else only the spacing, as in nibabel and MONAI. Other readers choose otherwise if the forms differ. Files made from an
image therefore carry both forms, both codes, spacing and unit unchanged.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

Affine = NDArray[np.float64]
Header = Any
"""A header of nibabel: ``Nifti1Header`` or ``Nifti2Header``."""

MM_PER_UNIT = {"meter": 1e3, "mm": 1.0, "micron": 1e-3, "unknown": 1.0}
SPACINGS = (1e-6, 1e6)
"""In mm: a nanometre to a kilometre."""
LONGEST = 32767
"""Greatest number of voxels along an axis in NIfTI-1."""
LEAST_VOLUME = 1e-3
"""Of a voxel, as a share of the block with the same edges; below it, two axes are nearly parallel."""
FORMS_APART = 0.5
"""In mm: greatest distance between the places by sform and qform that comes from rounding."""
SHEAR = 1e-3
"""Greatest cosine of the angle between two axes that comes from rounding."""
GRID_TOLERANCE = 0.1
"""In voxels: greatest distance between the corners of two grids that count as one."""

_FORMS = ("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
_ROWS = ("srow_x", "srow_y", "srow_z")


def bare_header(header: Header) -> Header:
    """Return a header with only the geometry and the byte order of another header.

    The result is NIfTI-1, which every reader knows (ITK does not read NIfTI-2), unless an axis is too long for it.
    """
    kind = type(header) if max(header.get_data_shape()) > LONGEST else nib.Nifti1Header
    bare = kind(endianness=header.endianness)
    for name in (*_FORMS, *_ROWS):
        bare[name] = header[name]
    bare["pixdim"][:4] = header["pixdim"][:4]
    bare.set_xyzt_units(_unit(header))
    return bare


def made_header(affine: Affine) -> Header:
    """Return the header of a new grid, in mm; both forms agree, except that a qform cannot express shear."""
    header = nib.Nifti1Header()
    header.set_data_shape((1, 1, 1))
    header.set_xyzt_units("mm")
    header.set_qform(affine, "aligned")
    if not np.allclose(header.get_qform(), affine, atol=1e-4):
        header["qform_code"] = 0
    header.set_sform(affine, "aligned")
    return header


def affine_of(header: Header) -> Affine:
    """Return the affine that counts, voxel indices to millimetres (RAS+).

    Raises:
        ValueError: if the form that counts is not finite or singular, or if voxels are narrower than 10⁻⁶ mm or wider
            than 10⁶ mm.
    """
    form = next((name for name in ("sform", "qform") if header[f"{name}_code"] > 0), "pixdim")
    try:
        affine = np.asarray(header.get_best_affine(), np.float64).copy()
    except HeaderDataError as error:
        raise ValueError(f"its {form} cannot be understood") from error
    affine[:3] *= MM_PER_UNIT[_unit(header)]
    if not np.isfinite(affine).all():
        raise ValueError(f"its {form} is not finite")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if spacing.min() > 0 and not (SPACINGS[0] <= spacing.min() and spacing.max() <= SPACINGS[1]):
        raise ValueError(f"its {form} says that voxels are {' × '.join(f'{step:.3g}' for step in spacing)} mm wide")
    if spacing.min() == 0 or abs(np.linalg.det(affine[:3, :3] / spacing)) < LEAST_VOLUME:
        raise ValueError(f"its {form} is singular")
    return affine


def forms_apart(header: Header) -> float:
    """Return the largest distance in mm between the corners of a grid by sform and by qform; 0 unless both are set."""
    if not (header["sform_code"] > 0 and header["qform_code"] > 0):
        return 0.0
    try:
        difference = header.get_sform() - header.get_qform()
    except HeaderDataError:
        return 0.0
    apart = _corners(header.get_data_shape()[:3]) @ difference.T
    return float(np.linalg.norm(apart[:, :3], axis=1).max()) * MM_PER_UNIT[_unit(header)]


def same_grid(shape: tuple[int, ...], affine: Affine, other: Affine) -> bool:
    """Return whether two affines agree on the corners of a grid within a tenth of a voxel."""
    apart = corners_apart(shape, affine, other)
    return bool(apart <= GRID_TOLERANCE * np.linalg.norm(affine[:3, : len(shape)], axis=0).min())


def corners_apart(shape: tuple[int, ...], affine: Affine, other: Affine) -> float:
    """Return the largest distance in mm between the corners of a grid by two affines."""
    return float(np.linalg.norm((_corners(shape) @ (affine - other).T)[:, :3], axis=1).max())


def is_sheared(affine: Affine) -> bool:
    """Return whether the axes of a grid are not at right angles, which a qform cannot express."""
    axes = affine[:3, :3] / np.maximum(np.linalg.norm(affine[:3, :3], axis=0), np.finfo(float).tiny)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() > SHEAR)


def _corners(shape: tuple[int, ...]) -> Affine:
    """Return the homogeneous indices of a grid's corners, ``(8, 4)``."""
    ends = [(0, size - 1) for size in (*shape, *[1] * (3 - len(shape)))]
    return np.array([(*corner, 1) for corner in product(*ends)], np.float64)


def _unit(header: Header) -> str:
    """Return the spatial unit of a header; a unit outside the NIfTI standard counts as unknown."""
    try:
        unit = str(header.get_xyzt_units()[0])
    except KeyError:
        return "unknown"
    return unit if unit in MM_PER_UNIT else "unknown"
