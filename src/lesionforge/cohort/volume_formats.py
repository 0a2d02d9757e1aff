"""Other formats than NIfTI: NRRD, MetaImage, GIPL by SimpleITK, MGH and Analyze by nibabel, stacks of TIFF."""

from __future__ import annotations

import gzip
import logging
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel import imageglobals
from numpy.typing import NDArray

from lesionforge.cohort.case import ending_of
from lesionforge.cohort.grid import Affine, Header, affine_of, bare_header, made_header
from lesionforge.cohort.stored import Stored, check_claim, check_type
from lesionforge.errors import CohortError
from lesionforge.reading import read_json

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
ITK_READERS = {"NRRD": "NrrdImageIO", "MetaImage": "MetaImageIO", "GIPL": "GiplImageIO"}
GIPL_DATA = 256
"""Offset of the voxels in a GIPL file, in bytes; they are never compressed, and ITK reads beyond their end."""
DETACHED = (".nhdr", ".mhd")
"""Endings of headers whose data lie in other files."""
DATA_FILE = re.compile(rb"^(?:ElementDataFile\s*=|data ?file:)([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
PACKED = re.compile(rb"^(?:CompressedData\s*=\s*(?:T|1)|encoding:\s*gz)", re.IGNORECASE | re.MULTILINE)
ENDS = (re.compile(rb"^ElementDataFile[^\n]*\n", re.IGNORECASE | re.MULTILINE), re.compile(rb"\n\r?\n"))
"""Of a header whose data follow it: MetaImage's and NRRD's."""
LOCAL = "LOCAL"
"""Says that the data follow the header."""
ZLIB_OR_GZIP = 47
"""Lets zlib recognise which of the two it is."""
CHUNK = 1 << 20
HEADER = 1 << 16
"""Bytes at the beginning of a file in which its header lies."""
MGH_DATA = 284
"""Offset of the voxels in an MGH file, in bytes."""
SAMPLES = ("S", "C")
"""Axes of a TIFF that are colours or channels."""
ONE_NUMBER = "store one number for each voxel, each channel in a file of its own"
for library in ("tifffile", "nibabel"):
    logging.getLogger(library).addHandler(logging.NullHandler())  # they tell of damaged files on their own


def read_with_itk(path: Path, kind: str) -> Stored:
    """Read a volume of NRRD, MetaImage or GIPL; a slice becomes a volume of one.

    Raises:
        CohortError: if it has more than 3 dimensions or several numbers for each voxel, or claims more than there is.
    """
    try:
        return _read_with_itk(path, ITK_READERS[kind])
    except RuntimeError as error:
        (*_, reason) = str(error).strip().splitlines()
        raise CohortError(path, f"cannot be read ({reason.strip()})", "copy or export it again") from error


def _read_with_itk(path: Path, name: str) -> Stored:
    import SimpleITK

    _check_data_file(path)
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO(name)
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    size, components = [int(length) for length in reader.GetSize()], reader.GetNumberOfComponents()
    if components > 1:
        raise CohortError(path, f"holds {components} numbers in each voxel", ONE_NUMBER)
    files = path.parent.iterdir() if ending_of(path) in DETACHED else [path]
    held = sum(file.stat().st_size for file in files if file.is_file())
    if name == ITK_READERS["GIPL"]:
        width = SimpleITK.Image([1] * len(size), reader.GetPixelID()).GetSizeOfPixelComponent()
        check_claim(path, GIPL_DATA + prod(size) * width, voxels=prod(size), packed=False)
    check_claim(path, prod(size), voxels=prod(size), packed=True, held=held)
    _check_unpacks(path)
    image = reader.Execute()
    return placed(path, SimpleITK.GetArrayFromImage(image).T, _itk_affine(image))


def _check_unpacks(path: Path) -> None:
    """Raise if the compressed data of NRRD or MetaImage are damaged, since ITK reads these as far as it can.

    Raises:
        zlib.error: if the data are damaged.
        ValueError: if they end too early.
    """
    with path.open("rb") as stream:
        header = stream.read(HEADER)
        if PACKED.search(header) is None:
            return
        named = _data_file(header)
        stream.seek(next((end.end() for pattern in ENDS if (end := pattern.search(header))), 0))
        with stream if named.upper() == LOCAL else path.with_name(named).open("rb") as data:
            unpacking = zlib.decompressobj(wbits=ZLIB_OR_GZIP)
            while not unpacking.eof and (chunk := data.read(CHUNK)):
                unpacking.decompress(chunk)
    if not unpacking.eof:
        raise ValueError("its compressed data end too early")


def _data_file(header: bytes) -> str:
    """Return the name of the file that holds the data, as a header gives it."""
    match = DATA_FILE.search(header)
    return match[1].decode("utf-8", "replace").strip() if match else LOCAL


def _check_data_file(path: Path) -> None:
    """Raise for a header that names a data file outside its folder, or a list of files."""
    with path.open("rb") as stream:
        named = _data_file(stream.read(HEADER))
    if named.upper().startswith("LIST") or "%" in named or Path(named).name != named:
        what = f"keeps its data in {named!r}, not in one file beside it"
        raise CohortError(path, what, "save it as one .nrrd or .mha file")


def read_mgh(path: Path) -> Stored:
    """Read a volume of FreeSurfer, ``.mgh`` or ``.mgz``.

    Raises:
        CohortError: if it has several frames, or claims more than there is.
    """
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if packed else path.open("rb") as stream:
        header = nib.freesurfer.mghformat.MGHHeader.from_fileobj(stream)
        shape, dtype = tuple(int(size) for size in header.get_data_shape()), header.get_data_dtype()
        size = prod(shape) * dtype.itemsize
        check_claim(path, MGH_DATA + size, voxels=prod(shape), packed=packed)
        stream.seek(MGH_DATA)
        content = stream.read(size)
        if len(content) != size:
            raise ValueError(f"expected {size} bytes, got {len(content)}")
        while stream.read(CHUNK):  # to the checksum
            pass
    array = np.frombuffer(content, dtype).reshape(shape, order="F").astype(dtype.newbyteorder("="))
    return placed(path, array, header.get_affine())


def read_pair(path: Path) -> Stored:
    """Read a header ``.hdr`` with its ``.img``: NIfTI, or Analyze, whose first axis runs from right to left.

    Raises:
        CohortError: if it is complex or in colour, has more than 3 dimensions, or claims more than there is.
    """
    image = _pair(path)
    check_type(path, image.get_data_dtype())
    data = Path(image.file_map["image"].filename)
    shape = tuple(int(size) for size in image.shape)
    size = prod(shape) * image.get_data_dtype().itemsize
    check_claim(path, size, voxels=prod(shape), packed=data.suffix == ".gz", held=data.stat().st_size)
    array = np.asarray(image.dataobj.get_unscaled())
    slope, inter = (float(value) for value in (image.dataobj.slope, image.dataobj.inter))
    if isinstance(image, nib.Nifti1Pair):
        array = _three_axes(path, array)
        header = image.header
        return Stored(array=array, affine=affine_of(header), header=bare_header(header), slope=slope, inter=inter)
    stored = placed(path, array.astype(array.dtype.newbyteorder("=")), image.affine)
    return Stored(array=stored.array, affine=stored.affine, header=stored.header, slope=slope, inter=inter)


def _pair(path: Path) -> Any:
    with imageglobals.LoggingOutputSuppressor():  # of repairs, such as a spacing of 0, which becomes 1
        return nib.load(path)


def pair_header(path: Path) -> Header:
    """Return the header of a readable ``.hdr``: nibabel's class for NIfTI or Analyze."""
    return _pair(path).header


@contextmanager
def _tiff(path: Path) -> Iterator[tuple[Any, Any]]:
    """Give the only image of a TIFF, as tifffile's series, and its first page.

    Raises:
        CohortError: if there is none, or several, or its pages go round in a circle, where tifffile would never end.
    """
    import tifffile

    with tifffile.TiffFile(path) as file:
        offsets = set[int]()
        for page in file.pages:
            if page.offset in offsets:
                raise CohortError(path, "cannot be read (its pages go round in a circle)", "copy or export it again")
            offsets.add(page.offset)
        if not file.series:
            raise CohortError(path, "cannot be read (it holds no page)", "copy or export it again")
        if len(file.series) > 1:
            raise CohortError(path, f"holds {len(file.series)} images of different kinds", "store each in its own file")
        yield file.series[0], file.pages.first


def is_stack(path: Path) -> bool:
    """Return whether a TIFF has several pages, or one of several planes.

    Raises:
        CohortError: if it cannot be read.
    """
    try:
        with _tiff(path) as (series, _):
            return len([axis for axis in series.axes if axis not in SAMPLES]) > 2
    except CohortError:
        raise
    except Exception as error:  # tifffile raises several kinds for damaged files
        raise CohortError(path, f"cannot be read ({error})", "copy or export it again") from error


def read_tiff(path: Path, *, label: bool = False) -> Stored:
    """Read a TIFF: one page as a slice, several as a volume ``(column, row, page)``.

    The spacing of a volume is in ``CASE.json`` beside ``CASE.tif`` or ``CASE_0000.tif``, as nnU-Net keeps it
    (``{"spacing": [page, row, column]}``), else 1 mm; columns run to the left, rows to the back, as in ITK.

    Raises:
        CohortError: if it is in colour, its pages differ in size, or it claims more than there is.
    """
    with _tiff(path) as (series, page):
        check_claim(path, series.nbytes, voxels=series.size, packed=page.compression != 1)
        palette = not label and page.photometric.name == "PALETTE"
        if palette or any(axis in SAMPLES for axis in series.axes):
            raise CohortError(path, "is a colour TIFF", "convert it to grey")
        array = series.asarray()
        if array.shape != series.shape:
            what = f"cannot be read (it holds {array.size} of {series.size} pixels)"
            raise CohortError(path, what, "copy or export it again")
    if array.dtype == bool:
        array = array.astype(np.uint8)
    if array.dtype == np.float16:  # unknown to NIfTI
        array = array.astype(np.float32)
    if array.ndim > 2:
        spacing = _tiff_spacing(path)
        return placed(path, array.T, LPS_TO_RAS @ np.diag([*reversed(spacing), 1.0]))
    if array.dtype not in (np.uint8, np.uint16):
        raise CohortError(path, f"is a slice of the type {array.dtype}", "save it as 8- or 16-bit grey, or as .nii.gz")
    return Stored(array=array, affine=np.eye(4))


def spacing_file(path: Path) -> Path | None:
    """Return the file beside a stack of TIFF that gives its spacing, if there is one."""
    beside = (path.with_name(f"{name}.json") for name in (path.stem, path.stem[:-5]) if name)
    return next((file for file in beside if file.is_file()), None)


def _tiff_spacing(path: Path) -> list[float]:
    beside = spacing_file(path)
    if beside is None:
        return [1.0, 1.0, 1.0]
    content = read_json(beside)
    spacing = content.get("spacing") if isinstance(content, dict) else None
    if not isinstance(spacing, list) or len(spacing) != 3 or not all(_is_length(step) for step in spacing):
        raise CohortError(beside, "gives no spacing", 'write {"spacing": [page, row, column]} in mm')
    return [float(step) for step in spacing]


def _is_length(step: object) -> bool:
    return isinstance(step, int | float) and not isinstance(step, bool) and 0 < step < float("inf")


def _itk_affine(image: Any) -> Affine:
    """Return the affine of an image of ITK, which counts to the left, to the back and up."""
    dims = image.GetDimension()
    affine, used = np.eye(4), min(dims, 3)
    directions = np.array(image.GetDirection()).reshape(dims, dims)
    affine[:used, :used] = (directions @ np.diag(image.GetSpacing()))[:used, :used]
    affine[:used, 3] = image.GetOrigin()[:used]
    return np.asarray(LPS_TO_RAS @ affine)


def placed(path: Path, array: NDArray[Any], affine: Affine) -> Stored:
    """Return a volume with the header of a NIfTI file at the same place."""
    header = made_header(np.asarray(affine, np.float64))
    return Stored(array=_three_axes(path, array), affine=affine_of(header), header=bare_header(header))


def _three_axes(path: Path, array: NDArray[Any]) -> NDArray[Any]:
    """Return an array without trailing axes of 1, or with one for a slice.

    Raises:
        CohortError: if it has more than three axes.
    """
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim > 3:
        raise CohortError(path, f"has {array.ndim} dimensions, expected 3", "store each channel in its own 3D file")
    return array[..., np.newaxis] if array.ndim == 2 else array
