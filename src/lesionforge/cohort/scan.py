"""Scans in memory: read with checks, written back onto the original grid and data type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionforge.cohort.case import Case, ending_of
from lesionforge.cohort.grid import Affine, same_grid
from lesionforge.cohort.image_file import read_stored, write_stored
from lesionforge.cohort.stored import Stored
from lesionforge.errors import CohortError

FloatArray = NDArray[np.float32]
LabelArray = NDArray[np.int16]
BoolArray = NDArray[np.bool_]

LABEL_TOLERANCE = 1e-3
"""Greatest distance of a label value from a whole number; scaled files hold 2.9999999993 for 3."""
ALL_BUT_0 = "every value except 0 as lesion"
STORED_0_TOP = "store the classes as 1, 2, …, or import it with `binary_masks`"


@dataclass(frozen=True, kw_only=True)
class Scan:
    """The arrays of one case, on the grid of its files.

    Attributes:
        case: the case.
        channels: names of the image channels.
        image: ``(channel, x, y[, z])``, in the units of the files.
        label: ``(x, y[, z])`` lesion classes; all zero for a lesion-free case, ``None`` if unknown.
        anatomy: ``(x, y[, z])`` tissue or structure labels, or ``None``.
        affine: 4×4, voxel indices to millimetres (RAS+), see :mod:`lesionforge.cohort.grid`; for PNG the identity, so
            1 pixel = 1 mm.
        region: ``(x, y[, z])`` the brain or its parenchyma, in which lesions lie, if it has already been computed.
        fluid: ``(x, y[, z])`` pools of fluid in the region, where no new lesion may lie, if they have been found.
        height: relative position, 0 to 1, of a slice along the volume it was cut from.
        affines: file of a channel or of the label → its own affine, less than a tenth of a voxel from ``affine``.
    """

    case: Case
    channels: tuple[str, ...]
    image: FloatArray
    label: LabelArray | None
    affine: NDArray[np.float64]
    anatomy: LabelArray | None = None
    region: BoolArray | None = None
    fluid: BoolArray | None = None
    height: float = 0.5
    affines: Mapping[Path, Affine] = field(default_factory=dict)

    @property
    def spatial_dims(self) -> int:
        """2 for a slice, 3 for a volume."""
        return self.image.ndim - 1

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """Size along each spatial axis, in voxels."""
        return self.image.shape[1:]

    @property
    def file(self) -> Path:
        """The file of the first channel; labels and images made from this scan take over its geometry."""
        return self.case.images[self.channels[0]]

    @cached_property
    def spacing(self) -> tuple[float, ...]:
        """Millimetres between voxel centres along each spatial axis."""
        return tuple(float(s) for s in np.linalg.norm(self.affine[:3, : self.spatial_dims], axis=0))

    @property
    def slicing_spacing(self) -> tuple[float, ...]:
        """The spacing that determines the slice axis; see :func:`slicing_spacing`."""
        return slicing_spacing(self.spacing, self.spatial_shape)


def slicing_spacing(spacing: Sequence[float], size: Sequence[float]) -> tuple[float, ...]:
    """Return the spacing that determines the slice axis of a volume: infinite along an axis of a single voxel.

    Files of one slice often give 0 or 1 mm as its thickness, less than the size of its pixels.
    """
    return tuple(inf if count == 1 else float(step) for step, count in zip(spacing, size, strict=True))


def load_scan(case: Case, channels: Sequence[str], *, binary_masks: bool = False) -> Scan:
    """Read and check the named channels of a case with its label and anatomy.

    Args:
        case: the case to read.
        channels: the image channels, in the order of the result.
        binary_masks: treat every label value except 0 as class 1.

    Raises:
        CohortError: if a file is missing, truncated or has the wrong kind of content, if an image
            holds NaN or infinity or is zero everywhere, if the label holds a value that is not a class, or if the files
            of the case differ in size or affine.

    Example:
        >>> from lesionforge.testing import tiny_cohort
        >>> cohort = tiny_cohort(Path("tiny"), spatial_dims=2)
        >>> scan = load_scan(cohort.cases[0], ["FLAIR"])
        >>> scan.image.shape, scan.label.shape, scan.spacing
        ((1, 64, 64), (64, 64), (1.0, 1.0))
    """
    arrays: list[FloatArray] = []
    affines = dict[Path, Affine]()
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
        affines[path] = this_affine
    if affine is None or first is None:
        raise CohortError(case.case_id, "no channel was asked for", "name at least one channel")
    grid = (first, arrays[0].shape, affine)
    label = None if not case.outlined else np.zeros(arrays[0].shape, np.int16)
    if case.label is not None and label is not None:
        label, affines[case.label] = _read_on_grid(case.label, *grid, binary=binary_masks)
        _check_classes(label, case.label, {} if binary_masks else case.classes)
    anatomy = None if case.anatomy is None else _read_on_grid(case.anatomy, *grid)[0]
    return Scan(
        case=case,
        channels=tuple(channels),
        image=np.stack(arrays),
        label=label,
        affine=affine,
        anatomy=anatomy,
        affines=affines,
    )


def _check_classes(label: LabelArray, path: Path, classes: Mapping[str, int]) -> None:
    strange = sorted(set(np.unique(label).tolist()) - set(classes.values())) if classes else []
    if strange:
        known = ", ".join(f"{value} {name}" for name, value in classes.items())
        raise CohortError(path, f"holds the label values {strange}, known are {known}", "correct it or name the class")


def read_image(path: Path) -> tuple[FloatArray, Affine]:
    """Read one image channel as float32 with its affine.

    Raises:
        CohortError: see :func:`load_scan`.
    """
    stored = read_stored(path)
    with np.errstate(over="ignore", invalid="ignore"):
        values = _scaled(stored).astype(np.float32)
    if not np.isfinite(values).all():
        what = "holds NaN or infinite intensities, or some beyond 3·10³⁸"
        raise CohortError(path, what, "replace them, or leave the case out")
    if not values.any():
        raise CohortError(path, "is zero everywhere", "check the export of this scan, or leave the case out")
    return values, stored.affine


def read_label(path: Path, *, binary: bool = False) -> tuple[LabelArray, Affine]:
    """Read a label map as int16 with its affine; values within 0.001 of a whole number are rounded.

    Args:
        path: the label file.
        binary: treat every value except 0 as class 1, whole number or not.

    Raises:
        CohortError: if the file cannot be read, or holds values that are not whole numbers or exceed int16.
    """
    stored = read_stored(path, label=True)
    with np.errstate(over="ignore", invalid="ignore"):
        values = _scaled(stored)
    if not np.isfinite(values).all():
        raise CohortError(path, "label values are not whole numbers: some are NaN or infinite", "set them to a class")
    if binary:
        return (values != 0).astype(np.int16), stored.affine
    limits = np.iinfo(np.int16)
    if values.max() > limits.max or values.min() < limits.min:
        raise CohortError(path, *_beyond(values))
    if values.dtype.kind == "f" and np.abs(values - np.rint(values)).max() > LABEL_TOLERANCE:
        raise CohortError(path, *_not_whole(values))
    return np.rint(values).astype(np.int16), stored.affine


def _scaled(stored: Stored) -> NDArray[Any]:
    plain = (stored.slope, stored.inter) == (1, 0)
    return stored.array if plain else stored.array * np.float64(stored.slope) + np.float64(stored.inter)


def _beyond(values: NDArray[Any]) -> tuple[str, str]:
    """Return the problem and the remedy for a label with values beyond int16."""
    top = values.max()
    if set(np.unique(values)) <= {0, top} and top == np.iinfo(np.uint16).max:
        return f"the mask is stored as 0 and {top:g}", STORED_0_TOP
    far = top if top > np.iinfo(np.int16).max else values.min()
    return f"holds the label value {far:g}, but classes go up to {np.iinfo(np.int16).max}", "renumber the classes"


def _not_whole(values: NDArray[Any]) -> tuple[str, str]:
    """Return the problem and the remedy for a label with values that are not whole numbers."""
    example = values[np.abs(values - np.rint(values)) > LABEL_TOLERANCE][0]
    if values.min() >= 0 and values.max() <= 1 + LABEL_TOLERANCE:
        what = f"label values are not whole numbers: a soft mask from 0 to 1, such as {example:.3g}"
        return what, f"store classes as integers 0, 1, 2, …; `binary_masks` takes {ALL_BUT_0}"
    return f"label values are not whole numbers, such as {example:.6g}", "store classes as integers 0, 1, 2, …"


def read_raw(path: Path) -> tuple[NDArray[Any], Affine, float, float]:
    """Return the stored array of a file, its affine, slope and intercept."""
    stored = read_stored(path)
    return stored.array, stored.affine, stored.slope, stored.inter


def _read_on_grid(
    path: Path, first: Path, shape: tuple[int, ...], affine: Affine, *, binary: bool = False
) -> tuple[LabelArray, Affine]:
    label, label_affine = read_label(path, binary=binary)
    _check_same_grid(path, label.shape, label_affine, first, shape, affine)
    return label, label_affine


def _check_same_grid(
    path: Path,
    shape: tuple[int, ...],
    affine: Affine,
    first: Path,
    first_shape: tuple[int, ...],
    first_affine: Affine,
) -> None:
    if shape != first_shape:
        raise CohortError(path, f"has size {shape} but {first.name} has {first_shape}", "resample it to that grid")
    if not same_grid(shape, affine, first_affine):
        raise CohortError(path, f"its affine differs from {first.name}", "resample it to that grid")


def save_edited(source: Path, target: Path, values: FloatArray, touched: BoolArray) -> None:
    """Write ``source`` to ``target`` with the touched voxels replaced; all others stay bit-identical.

    Args:
        source: the original image; only geometry, data type and scaling of its header are kept.
        target: the file to write, in the image format of the source.
        values: ``(x, y[, z])`` new intensities, in the units of the source; rounded for integer types.
        touched: ``(x, y[, z])`` voxels to replace.

    Raises:
        CohortError: if a new intensity is not finite.
    """
    stored = read_stored(source)
    if not np.isfinite(values[touched]).all():
        raise CohortError(source, "would get intensities that are not finite", "train the model again")
    edited = stored.array.copy()
    edited[touched] = stored.encoding.stored(values[touched])
    _save(target, replace(stored, array=edited))


def save_copy(source: Path, target: Path) -> None:
    """Write an image as NIfTI or PNG with only its stored values, data type, scaling and geometry."""
    _save(target, read_stored(source))


def _save(target: Path, stored: Stored) -> None:
    scaling = {"slope": stored.slope, "inter": stored.inter}
    write_stored(target, stored.array, stored.header, simulated=stored.simulated, **scaling)


def save_label(target: Path, label: LabelArray, place: Affine | Path) -> None:
    """Write a label map as 8-bit PNG or as NIfTI (uint8 if the classes fit, else int16).

    Args:
        target: the file.
        label: ``(x, y[, z])``.
        place: the image whose complete geometry it takes over; or the affine, in mm, of a new grid.

    Raises:
        CohortError: if a PNG would hold a class above 255 or a negative one.
    """
    small = label.min(initial=0) >= 0 and label.max(initial=0) < 256
    if ending_of(target) == ".png" and not small:
        raise CohortError(target, "cannot hold label values below 0 or above 255", "renumber the classes")
    write_stored(target, label.astype(np.uint8 if small else np.int16), place)


def save_image(target: Path, image: FloatArray, place: Affine | Path) -> None:
    """Write an image channel as float32 NIfTI; ``place`` as in :func:`save_label`."""
    write_stored(target, image.astype(np.float32), place)
