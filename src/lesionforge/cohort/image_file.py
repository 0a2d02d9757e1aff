"""Image files: read by content instead of name, and written with only data and geometry."""

from __future__ import annotations

import gzip
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lesionforge.cohort.case import ending_of
from lesionforge.cohort.grid import Affine, Header, affine_of, bare_header, made_header
from lesionforge.errors import CohortError, OutputError
from lesionforge.files import atomic

READ_FORMATS = ".nii.gz, .nii and .png are read"
SIMULATED = "simulated"
"""The only text that a header may carry; it marks the scans of the built-in cohort."""

_SIGNATURES = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"NRRD": "NRRD",
    b"ObjectType": "MetaImage",
    b"NDims": "MetaImage",
    b"\x89HDF": "HDF5 or MINC",
    b"PK\x03\x04": "ZIP",
    b"BM": "BMP",
}
_REMEDIES = {"DICOM": "convert it with dcm2niix", "ZIP": "unpack it"}
_GZIP = b"\x1f\x8b"
_MARKS = {
    size.to_bytes(4, order): kind
    for size, kind in ((348, nib.Nifti1Header), (540, nib.Nifti2Header))
    for order in ("little", "big")
}
"""First bytes of a NIfTI file → class of its header."""
_MOST_DEFLATED = 1040
"""Greatest number of bytes that one byte of a gzip stream can expand to."""
_CHUNK = 1 << 20
_quiet = logging.Logger("nibabel's repairs")
"""Takes the messages of nibabel when it repairs a header, such as a spacing of 0, which becomes 1."""
_quiet.addHandler(logging.NullHandler())


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


def read_stored(path: Path, *, label: bool = False) -> Stored:
    """Read an image file by its content: NIfTI, compressed or not, or 8-bit PNG.

    Args:
        path: the file.
        label: whether the file holds classes; palette indices and 16-bit or few-bit values of a PNG are then kept.

    Raises:
        CohortError: if the file is missing, damaged or in another format; if its header claims more data than the file
            or the memory holds; if it is in colour or complex; if it is not 3D; if its affine is singular.
    """
    if not path.is_file():
        raise CohortError(path, "the file is missing", "restore it, or list its channel in missing_channels")
    try:
        with path.open("rb") as file:
            start = file.read(132)
        _check_format(path, start)
        return _read_png(path, label=label) if ending_of(path) == ".png" else _read_nifti(path)
    except CohortError:
        raise
    except Exception as error:  # nibabel, zlib and Pillow raise a dozen kinds for damaged files
        raise CohortError(path, f"cannot be read ({error})", "copy or export it again") from error


def read_encoding(path: Path) -> Encoding:
    """Return how an image file stores intensities, without reading its voxels; for PNG as 8-bit grey.

    Raises:
        CohortError: if its header is damaged.
    """
    header = read_header(path)
    if header is None:
        return Encoding(dtype=np.dtype(np.uint8))
    slope, inter = _scaling(header)
    return Encoding(dtype=header.get_data_dtype(), slope=slope, inter=inter)


def read_header(path: Path) -> Header | None:
    """Return the header of a NIfTI file without reading its voxels; ``None`` for PNG.

    Raises:
        CohortError: if it is damaged.
    """
    if ending_of(path) == ".png":
        return None
    with _opened(path) as stream:
        return _read_header(path, stream)


def write_stored(
    target: Path,
    array: NDArray[Any],
    place: Affine | Path | Header | None,
    *,
    slope: float = 1.0,
    inter: float = 0.0,
    simulated: bool = False,
) -> None:
    """Write an array with its geometry as NIfTI or PNG, by the ending of ``target``, and read it back.

    Args:
        target: the file, replaced if it exists.
        array: ``(x, y[, z])``, stored bit by bit.
        place: the affine in mm of a new grid; or an image file, or its header, whose complete geometry is taken over;
            ``None`` for PNG.
        slope: factor from stored values to intensities.
        inter: the intensity of a stored 0.
        simulated: mark the file as simulated; a file that takes its place from a marked file is also marked.

    Raises:
        OutputError: if the written file does not hold the array.
    """
    if isinstance(place, Path):
        place, marked = _read_place(place)
        simulated = simulated or marked
    elif isinstance(place, np.ndarray):
        place = made_header(place)
    stored = Stored(array=array, affine=np.eye(4), header=place, slope=slope, inter=inter, simulated=simulated)
    with atomic(target) as temporary:
        if ending_of(target) == ".png":
            _write_png(temporary, stored)
        else:
            _write_nifti(temporary, stored)
        if not _holds(temporary, array):
            raise OutputError(target, "was not written correctly", "check the disk")


def _holds(path: Path, array: NDArray[Any]) -> bool:
    """Return whether an image file stores an array, bit by bit."""
    try:
        back = read_stored(path, label=True).array
    except CohortError:
        return False
    same_type = back.dtype.newbyteorder("=") == array.dtype.newbyteorder("=")
    return same_type and np.array_equal(back, array, equal_nan=array.dtype.kind == "f")


def _check_format(path: Path, start: bytes) -> None:
    """Raise for a file whose content has another format than its name says."""
    found = next((name for mark, name in _SIGNATURES.items() if start.startswith(mark)), "")
    if start[128:132] == b"DICM":
        found = "DICOM"
    if not found and not ending_of(path) and not start.startswith((_GZIP, *_MARKS)):
        found = path.suffix
    if found and not (found == "PNG" and ending_of(path) == ".png"):
        remedy = _REMEDIES.get(found, "convert it to .nii.gz, or slices to 8-bit .png")
        raise CohortError(path, f"is a file of the format {found}, but only {READ_FORMATS}", remedy)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file, and decompress it if its content is compressed."""
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP
        file.seek(0)
        if not packed:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as stream:
            yield stream  # type: ignore[misc]


def _read_header(path: Path, stream: BinaryIO) -> Header:
    """Read the header at the beginning of a stream, and check that its data are numbers and fit into memory."""
    start = stream.read(4)
    kind = _MARKS.get(start)
    if kind is None:
        raise CohortError(path, f"cannot be read as NIfTI, and only {READ_FORMATS}", "copy or export it again")
    header = kind(start + stream.read(kind.sizeof_hdr - 4), check=False)
    header.check_fix(logger=_quiet)
    if not header["magic"].item().startswith(b"n+"):
        raise CohortError(path, "is one half of a pair of .hdr and .img", "convert the pair to .nii.gz")
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        kinds = {"V": "a colour image (RGB)", "c": "complex"}
        remedy = "store the magnitude" if dtype.kind == "c" else "store one number for each voxel"
        raise CohortError(path, f"is {kinds.get(dtype.kind, f'of the type {dtype}')}", remedy)
    return header


def _read_nifti(path: Path) -> Stored:
    """Read a NIfTI file; a compressed file is read to its end, so that its checksum is verified."""
    with _opened(path) as stream:
        header = _read_header(path, stream)
        dtype, shape = header.get_data_dtype(), tuple(int(size) for size in header.get_data_shape())
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        if len(shape) != 3 or min(shape) < 1:
            what = f"has {len(shape)} dimensions, expected 3" if min(shape, default=1) > 0 else f"has the size {shape}"
            raise CohortError(path, what, "store each channel in its own 3D file")
        offset, size = int(header.get_data_offset()), prod(shape) * dtype.itemsize
        _check_claim(path, offset + size, voxels=prod(shape), packed=isinstance(stream, gzip.GzipFile))
        stream.seek(offset)
        content = stream.read(size)
        if len(content) != size:
            raise ValueError(f"expected {size} bytes, got {len(content)}")
        while stream.read(_CHUNK):
            pass
    slope, inter = _scaling(header)
    return Stored(
        array=np.frombuffer(content, dtype).reshape(shape, order="F"),
        affine=affine_of(header),
        header=bare_header(header),
        slope=slope,
        inter=inter,
        simulated=_says_simulated(header),
    )


def _scaling(header: Header) -> tuple[float, float]:
    """Return slope and intercept; without them the file stores intensities directly."""
    slope, inter = header.get_slope_inter()
    return 1.0 if slope is None else float(slope), 0.0 if inter is None else float(inter)


def _read_place(path: Path) -> tuple[Header | None, bool]:
    """Return the geometry of an image file and whether it was simulated, without reading its voxels."""
    header = read_header(path)
    if header is None:
        with Image.open(path, formats=("PNG",)) as image:
            return None, _is_marked(image)
    return bare_header(header), _says_simulated(header)


def _says_simulated(header: Header) -> bool:
    return bool(header["descrip"].item() == SIMULATED.encode())


def _is_marked(image: Image.Image) -> bool:
    return bool(image.info.get("Description") == SIMULATED)


def _check_claim(path: Path, claimed: int, *, voxels: int, packed: bool) -> None:
    """Raise for an image that is larger than its file or this machine can hold."""
    held = path.stat().st_size * (_MOST_DEFLATED if packed else 1)
    if claimed > held:
        raise CohortError(path, f"cannot be read (its header claims {claimed} bytes)", "copy or export it again")
    if claimed + 4 * voxels > _memory():
        what = f"claims {voxels} voxels, which this machine's memory does not hold"
        raise CohortError(path, what, "crop or resample it, or use a machine with more memory")


def _memory() -> int:
    """Return the bytes of this machine's memory, or a tebibyte if they are unknown."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 1 << 40


def _write_nifti(path: Path, stored: Stored) -> None:
    assert stored.header is not None
    header = stored.header.copy()
    header.set_data_dtype(stored.array.dtype.newbyteorder(header.endianness))
    kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    image = kind(stored.array, None, header)
    image.header.set_slope_inter(stored.slope, stored.inter)
    if stored.simulated:
        image.header["descrip"] = SIMULATED.encode()
    nib.save(image, path)


def _read_png(path: Path, *, label: bool) -> Stored:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(path, formats=("PNG",)) as image:
                mode, marked = image.mode, _is_marked(image)
                array = np.asarray(image)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise CohortError(path, "claims more pixels than a slice has", "crop or shrink it") from error
    if label:
        return Stored(array=_classes(path, mode, array), affine=np.eye(4), simulated=marked)
    if mode not in ("L", "1"):
        kind = "a 16-bit or 32-bit" if mode.startswith(("I", "F")) else f"a colour ({mode})"
        raise CohortError(path, f"is {kind} PNG", "convert it to 8-bit grey, or keep its range in a .nii.gz")
    return Stored(array=array.astype(np.uint8), affine=np.eye(4), simulated=marked)


def _classes(path: Path, mode: str, array: NDArray[Any]) -> NDArray[Any]:
    """Return the stored values of a PNG label; Pillow spreads grey of 2 and 4 bits over 0 to 255."""
    if mode not in ("1", "L", "P", "I", "I;16", "I;16B"):
        remedy = "save it as 8-bit grey, with the classes 0, 1, 2, … as values"
        raise CohortError(path, f"is a colour ({mode}) PNG", remedy)
    with path.open("rb") as file:
        bits = file.read(25)[24]
    if mode == "L" and bits < 8:
        array = array // (255 // (2**bits - 1))
    return array.astype(np.uint8) if mode in ("1", "L", "P") else array


def _write_png(path: Path, stored: Stored) -> None:
    info = PngInfo()
    if stored.simulated:
        info.add_text("Description", SIMULATED)
    Image.fromarray(stored.array).save(path, format="PNG", pnginfo=info)
