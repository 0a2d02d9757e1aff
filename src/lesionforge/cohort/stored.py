"""What an image file holds, whatever its format, and what a header may claim."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionforge.cohort.grid import Affine, Header
from lesionforge.errors import CohortError

SIMULATED = "simulated"
"""The only text that a header may carry; it marks the scans of the built-in cohort."""
_MOST_DEFLATED = 1040
"""Greatest number of bytes that one byte of a gzip stream can expand to."""


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How an image file stores intensities; integer types round them and cut them at the limits of the type.

    Attributes:
        dtype: of the stored values.
        slope: factor from stored values to intensities.
        inter: the intensity of a stored 0.
    """

    dtype: np.dtype[Any]
    slope: float = 1.0
    inter: float = 0.0

    def stored(self, intensities: NDArray[Any]) -> NDArray[Any]:
        """Return the stored values of intensities; in an integer type, NaN becomes an arbitrary value."""
        values = (intensities.astype(np.float64) - self.inter) / self.slope
        if self.dtype.kind in "iu":
            limits = np.iinfo(self.dtype)
            values = np.clip(np.rint(values), limits.min, limits.max)
        with np.errstate(invalid="ignore"):
            return values.astype(self.dtype)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What an image file holds.

    Attributes:
        array: ``(x, y[, z])`` in the data type of the file.
        affine: voxel indices to millimetres; for PNG the identity.
        header: only the geometry, see :func:`~lesionforge.cohort.grid.bare_header`; ``None`` for PNG.
        slope: factor from stored values to intensities.
        inter: the intensity of a stored 0.
        simulated: whether the file is marked as simulated.
    """

    array: NDArray[Any]
    affine: Affine
    header: Header | None = None
    slope: float = 1.0
    inter: float = 0.0
    simulated: bool = False

    @property
    def encoding(self) -> Encoding:
        """How the file stores intensities."""
        return Encoding(dtype=self.array.dtype, slope=self.slope, inter=self.inter)


def check_claim(path: Path, claimed: int, *, voxels: int, packed: bool, held: int | None = None) -> None:
    """Raise for an image that is larger than its file or this machine can hold.

    Args:
        path: the file.
        claimed: its bytes, as its header says.
        voxels: their number.
        packed: whether they are compressed.
        held: bytes on disk, if not those of ``path``.

    Raises:
        CohortError: if they are more than there can be.
    """
    if claimed > (path.stat().st_size if held is None else held) * (_MOST_DEFLATED if packed else 1):
        raise CohortError(path, f"cannot be read (its header claims {claimed} bytes)", "copy or export it again")
    if claimed + 4 * voxels > _memory():
        what = f"claims {voxels} voxels, which this machine's memory does not hold"
        raise CohortError(path, what, "crop or resample it, or use a machine with more memory")


def check_type(path: Path, dtype: np.dtype[Any]) -> None:
    """Raise for an image whose voxels are not real numbers.

    Raises:
        CohortError: if they are complex, colours, or anything else.
    """
    if dtype.kind == "c":
        raise CohortError(path, "is complex", "store the magnitude")
    if dtype.kind not in "iuf":
        what = "a colour image (RGB)" if dtype.kind == "V" else f"of the type {dtype}"
        raise CohortError(path, f"is {what}", "store one real number for each voxel")


def check_size(path: Path, shape: tuple[int, ...]) -> None:
    """Raise for an image that holds no voxel, or has fewer than two axes.

    Raises:
        CohortError: if so.
    """
    if min(shape, default=0) < 1:
        raise CohortError(path, f"has the size {shape}, so it holds no voxel", "copy or export it again")
    if len(shape) < 2:
        raise CohortError(path, f"has {len(shape)} dimensions, expected 3", "copy or export it again")


def missing_file(path: Path, *, label: bool = False) -> CohortError:
    """Return the error of an image, or of a mask or map (``label``), that is not there."""
    if path.is_symlink():
        return CohortError(path, "is a link to a file that is not there", "fetch it (datalad get, git annex get)")
    remedy = "take its case out of the table" if label else "list its channel in missing_channels"
    return CohortError(path, "the file is missing", f"restore it, or {remedy}")


def _memory() -> int:
    """Return the bytes of this machine's memory, or a tebibyte if they are unknown."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 1 << 40
