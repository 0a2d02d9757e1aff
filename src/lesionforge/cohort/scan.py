"""Scans in memory: read with checks, written back onto the original grid and data type."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray
from PIL import Image

from lesionforge.cohort.case import Case
from lesionforge.errors import CohortError
from lesionforge.files import atomic

FloatArray = NDArray[np.float32]
LabelArray = NDArray[np.int16]
BoolArray = NDArray[np.bool_]

UNREADABLE = (ImageFileError, HeaderDataError, WrapStructError, EOFError, OSError, ValueError, zlib.error)
IMAGE_ENDINGS = (".nii.gz", ".nii", ".png")


@dataclass(frozen=True, kw_only=True)
class Scan:
    """The arrays of one case, on the grid of its files.

    Attributes:
        case: where it comes from.
        channels: names of the image channels.
        image: ``(channel, x, y[, z])``, in the units of the files.
        label: ``(x, y[, z])`` lesion classes; all zero for a lesion-free case, ``None`` where unknown.
        anatomy: ``(x, y[, z])`` tissue or structure labels, or ``None``.
        affine: 4×4, voxel indices to millimetres (RAS+); for PNG the identity, so 1 pixel = 1 mm.
        region: where lesions may be put, if it has been worked out already.
        height: of a slice cut from a volume, its relative position along it, 0 to 1.
    """

    case: Case
    channels: tuple[str, ...]
    image: FloatArray
    label: LabelArray | None
    affine: NDArray[np.float64]
    anatomy: LabelArray | None = None
    region: BoolArray | None = None
    height: float = 0.5

    @property
    def spatial_dims(self) -> int:
        """2 for a slice, 3 for a volume."""
        return self.image.ndim - 1

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """Size along each spatial axis, in voxels."""
        return self.image.shape[1:]

    @cached_property
    def spacing(self) -> tuple[float, ...]:
        """Millimetres between voxel centres along each spatial axis."""
        return tuple(float(s) for s in np.linalg.norm(self.affine[:3, : self.spatial_dims], axis=0))


def load_scan(case: Case, channels: Sequence[str]) -> Scan:
    """Read and check the named channels of a case with its label and anatomy.

    Raises:
        CohortError: if a file is missing, truncated or has the wrong kind of content, if an image
            holds NaN or infinity or is zero everywhere, if the label holds a value that is no class, or if the files of
            the case differ in size or affine.
    """
    arrays: list[FloatArray] = []
    affine, first = None, None
    for channel in channels:
        if channel not in case.images:
            raise CohortError(case.case_id, f"channel {channel} is missing", "leave the case or the channel out")
        path = case.images[channel]
        array, this_affine = read_image(path)
        if affine is None or first is None:
            affine, first = this_affine, path
        _check_same_grid(path, array.shape, this_affine, first, arrays[0].shape if arrays else array.shape, affine)
        arrays.append(array)
    if affine is None or first is None:
        raise CohortError(case.case_id, "no channel was asked for", "name at least one channel")
    grid = (first, arrays[0].shape, affine)
    label = None if not case.outlined else np.zeros(arrays[0].shape, np.int16)
    if case.label is not None and label is not None:
        label = _read_on_grid(case.label, *grid)
        _check_classes(label, case.label, case.classes)
    anatomy = None if case.anatomy is None else _read_on_grid(case.anatomy, *grid)
    return Scan(
        case=case, channels=tuple(channels), image=np.stack(arrays), label=label, affine=affine, anatomy=anatomy
    )


def _check_classes(label: LabelArray, path: Path, classes: Mapping[str, int]) -> None:
    strange = sorted(set(np.unique(label).tolist()) - set(classes.values())) if classes else []
    if strange:
        known = ", ".join(f"{value} {name}" for name, value in classes.items())
        raise CohortError(path, f"holds the label values {strange}, known are {known}", "correct it or name the class")


def read_image(path: Path) -> tuple[FloatArray, NDArray[np.float64]]:
    """Read one image channel as float32 with its affine.

    Raises:
        CohortError: see :func:`load_scan`.
    """
    raw, affine, slope, inter = read_raw(path)
    values = raw.astype(np.float32) if (slope, inter) == (1, 0) else (raw * slope + inter).astype(np.float32)
    if not np.isfinite(values).all():
        raise CohortError(path, "holds NaN or infinite intensities", "replace them, or leave the case out")
    if not values.any():
        raise CohortError(path, "is zero everywhere", "check the export of this scan, or leave the case out")
    return values, affine


def read_label(path: Path) -> tuple[LabelArray, NDArray[np.float64]]:
    """Read a label map as int16 with its affine.

    Raises:
        CohortError: if the file cannot be read or holds values that are not whole numbers.
    """
    raw, affine, slope, inter = read_raw(path)
    values = raw if (slope, inter) == (1, 0) else raw * slope + inter
    with np.errstate(invalid="ignore"):
        label = np.asarray(values).astype(np.int16)
    if not np.array_equal(label, values):
        raise CohortError(path, "label values are not whole numbers", "store classes as integers 0, 1, 2, …")
    return label, affine


def read_raw(path: Path) -> tuple[NDArray[Any], NDArray[np.float64], float, float]:
    """Read a file's stored array, its affine, and the slope and intercept that scale it to intensities."""
    if not path.is_file():
        raise CohortError(path, "the file is missing", "restore it, or list its channel in missing_channels")
    if path.name.endswith(".png"):
        return _read_png(path), np.eye(4), 1.0, 0.0
    try:
        image = _open_nifti(path)
        proxy = image.dataobj
        raw = np.asarray(proxy.get_unscaled())
        affine: NDArray[np.float64] = np.asarray(image.affine, np.float64)
    except UNREADABLE as error:
        raise CohortError(path, f"cannot be read ({error})".replace("\n", " "), "copy or export it again") from error
    if raw.ndim == 4 and raw.shape[-1] == 1:
        raw = raw[..., 0]
    if raw.ndim != 3:
        raise CohortError(path, f"has {raw.ndim} dimensions, expected 3", "store each channel in a 3D file of its own")
    return raw, affine, float(proxy.slope), float(proxy.inter)


def _open_nifti(path: Path) -> Any:
    """Open a NIfTI file; a compressed one is read to its end, so that its checksum is verified."""
    if not path.name.endswith(".gz"):
        return nib.load(path)
    content = gzip.decompress(path.read_bytes())
    second = content[:4] in (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c")
    return (nib.Nifti2Image if second else nib.Nifti1Image).from_bytes(content)


def _read_png(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            mode = image.mode
            array = np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise CohortError(path, f"cannot be read ({error})".replace("\n", " "), "copy or export it again") from error
    if mode not in ("L", "1"):
        kind = "a 16-bit or 32-bit" if mode.startswith(("I", "F")) else f"a colour ({mode})"
        raise CohortError(path, f"is {kind} PNG", "convert it to 8-bit grey, or keep its range in a .nii.gz")
    return array.astype(np.uint8)


def _read_on_grid(path: Path, first: Path, shape: tuple[int, ...], affine: NDArray[np.float64]) -> LabelArray:
    label, label_affine = read_label(path)
    _check_same_grid(path, label.shape, label_affine, first, shape, affine)
    return label


def _check_same_grid(
    path: Path,
    shape: tuple[int, ...],
    affine: NDArray[np.float64],
    first: Path,
    first_shape: tuple[int, ...],
    first_affine: NDArray[np.float64],
) -> None:
    if shape != first_shape:
        raise CohortError(path, f"has size {shape} but {first.name} has {first_shape}", "resample it to that grid")
    if not np.allclose(affine, first_affine, atol=1e-2):
        raise CohortError(path, f"its affine differs from {first.name}", "resample it to that grid")


def save_edited(source: Path, target: Path, values: FloatArray, touched: BoolArray) -> None:
    """Write ``source`` to ``target`` with the touched voxels replaced, all others bit-identical.

    Args:
        source: the original image; its header, affine and data type are kept.
        target: where to write; another image format than the source's is not converted.
        values: ``(x, y[, z])`` new intensities, in the units of the source; rounded for integer types.
        touched: ``(x, y[, z])`` voxels to replace.
    """
    raw, affine, slope, inter = read_raw(source)
    new = (values[touched].astype(np.float64) - inter) / slope
    if np.issubdtype(raw.dtype, np.integer):
        limits = np.iinfo(raw.dtype)
        new = np.clip(np.rint(new), limits.min, limits.max)
    edited = raw.copy()
    edited[touched] = new.astype(raw.dtype)
    with atomic(target) as temporary:
        if target.name.endswith(".png"):
            Image.fromarray(edited).save(temporary)
            return
        original = _open_nifti(source)
        image = type(original)(edited, affine, original.header)
        image.header.set_slope_inter(slope, inter)
        nib.save(image, temporary)


def save_label(target: Path, label: LabelArray, affine: NDArray[np.float64]) -> None:
    """Write a label map, as 8-bit PNG or as NIfTI (uint8 where the classes fit, else int16)."""
    with atomic(target) as temporary:
        if target.name.endswith(".png"):
            Image.fromarray(label.astype(np.uint8)).save(temporary)
        else:
            small = label.min(initial=0) >= 0 and label.max(initial=0) < 256
            nib.save(nib.Nifti1Image(label.astype(np.uint8 if small else np.int16), affine), temporary)


def save_image(target: Path, image: FloatArray, affine: NDArray[np.float64]) -> None:
    """Write an image channel as float32 NIfTI."""
    with atomic(target) as temporary:
        nib.save(nib.Nifti1Image(image.astype(np.float32), affine), temporary)
