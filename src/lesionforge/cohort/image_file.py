"""Image files: read by content instead of name, and written as NIfTI or PNG with only data and geometry."""

from __future__ import annotations

import gzip
import logging
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lesionforge.cohort.case import FORMATS, ending_of
from lesionforge.cohort.grid import Affine, Header, affine_of, bare_header, made_header
from lesionforge.cohort.slice_file import is_marked, read_slice, slice_type, write_png
from lesionforge.cohort.stored import SIMULATED, Encoding, Stored, check_claim, check_size, check_type, missing_file
from lesionforge.cohort.volume_formats import ITK_READERS, is_stack, read_mgh, read_pair, read_tiff, read_with_itk
from lesionforge.errors import CohortError, OutputError
from lesionforge.files import atomic

READ_FORMATS = f"only {', '.join(dict.fromkeys(FORMATS.values()))} are read"
SLICES = ("PNG", "JPEG", "BMP")
VOLUME = re.compile(r"volume_(\d{1,6})\.nii\.gz")

_SIGNATURES = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"NRRD": "NRRD",
    b"ObjectType": "MetaImage",
    b"NDims": "MetaImage",
    b"\x89HDF": "HDF5 or MINC",
    b"PK\x03\x04": "ZIP",
    b"BM": "BMP",
}
_GIPL = (b"\xef\xff\xe9\xb0", b"\x2a\xe3\x89\xb8")
"""Marks of GIPL, in the last 4 of the 256 bytes of its header."""
_REMEDIES = {"DICOM": "import its folder with `layout=dicom`, or convert it with dcm2niix", "ZIP": "unpack it"}
_GZIP = b"\x1f\x8b"
_MARKS = {
    size.to_bytes(4, order): kind
    for size, kind in ((348, nib.Nifti1Header), (540, nib.Nifti2Header))
    for order in ("little", "big")
}
"""First bytes of a NIfTI file → class of its header."""
_CHUNK = 1 << 20
_KEPT_BYTES = 1 << 30
"""Most bytes of an unpacked 4D file that are kept for its next volume."""
_quiet = logging.Logger("nibabel's repairs")
"""Takes the messages of nibabel when it repairs a header, such as a spacing of 0, which becomes 1."""
_quiet.addHandler(logging.NullHandler())
_composed: dict[Path, Callable[[], Stored]] = {}


def compose(path: Path, read: Callable[[], Stored]) -> None:
    """Let this process read a path by a function, since several files make its image, such as the slices of a series.

    Args:
        path: the file by which the image is known.
        read: returns the image, or raises ``CohortError``.
    """
    _composed[path] = read


def volume_in(path: Path, number: int) -> Path:
    """Return the path by which a volume of a 4D NIfTI file is read, as if the file were a folder of its volumes."""
    return path / f"volume_{number}.nii.gz"


def is_slice(path: Path) -> bool:
    """Return whether an image file holds a slice without spacing, which is written as PNG.

    Raises:
        CohortError: if it is a TIFF that cannot be read.
    """
    kind = FORMATS.get(ending_of(path), "")
    return kind in SLICES or (kind == "TIFF" and path.is_file() and not is_stack(path))


def read_stored(path: Path, *, label: bool = False) -> Stored:
    """Read an image file; its content must have the format that its ending says, compressed or not.

    Args:
        path: the file, or a volume of a 4D file, see :func:`volume_in`.
        label: whether the file holds classes; palette indices and few-bit values of a PNG are then kept.

    Raises:
        CohortError: if the file is missing, damaged or in another format; if its header claims more data than the file
            or the memory holds; if it is in colour or complex; if it is not 3D, or an axis is empty; if its affine is
            singular.
    """
    if path in _composed:
        return _composed[path]()
    file, volume = _located(path)
    if not file.is_file():
        raise missing_file(path, label=label)
    try:
        with file.open("rb") as stream:
            start = stream.read(256)
        kind = _checked_format(path, start)
        stored = _read_as(kind, path, start, label=label) if kind != "NIfTI" else _read_nifti(file, volume)
        check_type(path, stored.array.dtype)
        check_size(path, stored.array.shape)
    except CohortError:
        raise
    except Exception as error:  # nibabel, zlib, ITK and Pillow raise a dozen kinds for damaged files
        raise CohortError(path, f"cannot be read ({error})", "copy or export it again") from error
    return stored


def _read_as(kind: str, path: Path, start: bytes, *, label: bool) -> Stored:
    """Read a file of another format than NIfTI, which begins with ``start``."""
    if kind in SLICES:
        return read_slice(path, kind, label=label)
    if kind in ITK_READERS:
        _check_marked(path, start, kind)
        return read_with_itk(path, kind)
    if kind == "TIFF":
        return read_tiff(path, label=label)
    return read_mgh(path) if kind == "MGH" else read_pair(path)


def read_encoding(path: Path) -> Encoding:
    """Return how an image file of a cohort stores intensities, without reading its voxels.

    Raises:
        CohortError: if its header is damaged.
    """
    header = read_header(path)
    if header is None:
        return Encoding(dtype=slice_type(path))
    slope, inter = _scaling(header)
    return Encoding(dtype=header.get_data_dtype(), slope=slope, inter=inter)


def read_header(path: Path) -> Header | None:
    """Return the header of an image file, ``None`` for slices; of other formats than NIfTI, the one of their geometry.

    Raises:
        CohortError: if it is damaged.
    """
    if is_slice(path):
        return None
    if path in _composed or FORMATS.get(ending_of(path), "NIfTI") != "NIfTI":
        return read_stored(path).header
    file, _ = _located(path)
    if not file.is_file():
        raise missing_file(path)
    try:
        with _opened(file) as stream:
            return _read_header(file, stream)
    except (EOFError, ValueError, zlib.error, gzip.BadGzipFile) as error:
        raise CohortError(path, f"cannot be read ({error})", "copy or export it again") from error


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
            write_png(temporary, stored)
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


def _located(path: Path) -> tuple[Path, int | None]:
    """Return the file and the number of its volume, see :func:`volume_in`; ``None`` for the only one."""
    match = VOLUME.fullmatch(path.name)
    return (path.parent, int(match[1])) if match and path.parent.is_file() else (path, None)


def _checked_format(path: Path, start: bytes) -> str:
    """Return the format of a file, and raise if its content has another one than its ending says."""
    ending = ending_of(path)
    found = next((name for mark, name in _SIGNATURES.items() if start.startswith(mark)), "")
    if start[128:132] == b"DICM":
        found = "DICOM"
    if not found and _is_gipl(start):
        found = "GIPL"
    if not found and not ending and not start.startswith((_GZIP, *_MARKS)):
        found = path.suffix
    expected = FORMATS.get(ending, "NIfTI")
    if not found or found == expected:
        return expected
    if found in FORMATS.values():
        right = next(known for known, name in FORMATS.items() if name == found)
        raise CohortError(path, f"is a file of the format {found}", f"rename it so that it ends with {right}")
    remedy = _REMEDIES.get(found, "convert it to .nii.gz, or slices to .png")
    raise CohortError(path, f"is a file of the format {found}, but {READ_FORMATS}", remedy)


def _check_marked(path: Path, start: bytes, kind: str) -> None:
    """Raise for a file without the mark of its format, before a library prints what it thinks of it."""
    if not (_is_gipl(start) or any(mark in start for mark, name in _SIGNATURES.items() if name == kind)):
        raise CohortError(path, f"cannot be read as {kind}", "copy or export it again")


def _is_gipl(start: bytes) -> bool:
    return start[252:256] in _GIPL


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
        raise CohortError(path, f"cannot be read as NIfTI, and {READ_FORMATS}", "copy or export it again")
    header = kind(start + stream.read(kind.sizeof_hdr - 4), check=False)
    header.check_fix(logger=_quiet)
    if not header["magic"].item().startswith(b"n+"):
        raise CohortError(path, "is one half of a pair of .hdr and .img", "name the .hdr, with the .img beside it")
    check_type(path, header.get_data_dtype())
    return header


def _read_nifti(path: Path, volume: int | None = None) -> Stored:
    """Read a NIfTI file, or one volume of it; a compressed one is read to its end, so that its checksum is verified."""
    with _opened(path) as stream:
        header = _read_header(path, stream)
        dtype, shape = header.get_data_dtype(), tuple(int(size) for size in header.get_data_shape())
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        shape, before = _one_volume(path, shape, volume)
        offset, size = int(header.get_data_offset()), prod(shape) * dtype.itemsize
        packed = isinstance(stream, gzip.GzipFile)
        check_claim(path, offset + (before + 1) * size, voxels=prod(shape), packed=packed)
        volumes = int(prod(header.get_data_shape()[3:])) if packed and volume is not None else 1
        if volumes > 1 and volumes * size <= _KEPT_BYTES:
            check_claim(path, offset + volumes * size, voxels=volumes * prod(shape), packed=packed)
            state = path.stat()
            unpacked = _unpacked(path, state.st_mtime_ns, state.st_size, offset, volumes * size)
            content = memoryview(unpacked)[before * size : (before + 1) * size]
        else:
            stream.seek(offset + before * size)
            content = memoryview(_read_to_end(stream, size))
    slope, inter = _scaling(header)
    return Stored(
        array=np.frombuffer(content, dtype).reshape(shape, order="F"),
        affine=affine_of(header),
        header=bare_header(header),
        slope=slope,
        inter=inter,
        simulated=_says_simulated(header),
    )


@lru_cache(maxsize=1)
def _unpacked(path: Path, changed: int, held: int, offset: int, size: int) -> bytes:
    """Return the voxels of a compressed 4D file, of which the last one is kept, since its volumes are read in turn.

    Args:
        path: the file.
        changed: its time of change in ns; with ``held``, it tells one content from another.
        held: its size on disk in bytes.
        offset: where the voxels begin, in bytes.
        size: their bytes.
    """
    with _opened(path) as stream:
        stream.seek(offset)
        return _read_to_end(stream, size)


def _read_to_end(stream: BinaryIO, size: int) -> bytes:
    """Return the next bytes of a stream, and read it to its end, so that a checksum there is verified.

    Raises:
        ValueError: if there are fewer.
    """
    content = stream.read(size)
    if len(content) != size:
        raise ValueError(f"expected {size} bytes, got {len(content)}")
    if isinstance(stream, gzip.GzipFile):
        while stream.read(_CHUNK):
            pass
    return content


def _one_volume(path: Path, shape: tuple[int, ...], volume: int | None) -> tuple[tuple[int, ...], int]:
    """Return the size of a volume and the number of volumes before it.

    Raises:
        CohortError: if the file does not hold one volume, or not the one that is asked for.
    """
    if volume is not None and len(shape) == 4 and volume < shape[3]:
        return shape[:3], volume
    check_size(path, shape)
    if len(shape) != 3 or volume:
        raise CohortError(path, f"has {len(shape)} dimensions, expected 3", "store each channel in its own 3D file")
    return shape, 0


def _scaling(header: Header) -> tuple[float, float]:
    """Return slope and intercept; without them the file stores intensities directly."""
    slope, inter = header.get_slope_inter()
    return 1.0 if slope is None else float(slope), 0.0 if inter is None else float(inter)


def _read_place(path: Path) -> tuple[Header | None, bool]:
    """Return the geometry of an image file and whether it was simulated."""
    header = read_header(path)
    if header is None:
        with Image.open(path, formats=(*SLICES, "TIFF")) as image:
            return None, is_marked(image)
    return bare_header(header), _says_simulated(header)


def _says_simulated(header: Header) -> bool:
    return bool(header["descrip"].item() == SIMULATED.encode())


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
