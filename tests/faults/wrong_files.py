"""Wrong files in the other layouts of archives, and what the line about each says."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import tifffile
from PIL import Image

from tests.faults.changes import array, cut, header, nifti, png, shifted, with_nan, write
from tests.faults.wrong import Wrong

SHAPE = (6, 5, 4)
IMAGE = np.arange(1, 1 + np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
LESION = (IMAGE > 100).astype(np.uint8)
SLICE, MASK = IMAGE[..., 0].astype(np.uint8), LESION[..., -1]
Files = tuple[Path, Path]
"""The image and the mask of a case."""
FILE = "FILE.nii.gz"


def save_nifti(path: Path, values: Any) -> None:
    """Write a NIfTI file of 1 × 1 × 2 mm."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(nib.Nifti1Image(values, np.diag([1.0, 1, 2, 1])).to_bytes(), 1))


def _of(which: int, change: Callable[[Path], object]) -> Callable[[Files], object]:
    """Return a change made for ``FILE.nii.gz`` as one of the image (0) or the mask (1)."""

    def apply(files: Files) -> None:
        path = files[which]
        path.rename(path.with_name(FILE))
        change(path.parent)
        path.with_name(FILE).rename(path)

    return apply


def _gone(files: Files) -> None:
    files[0].unlink()
    files[0].symlink_to("../.git/annex/objects/x.nii.gz")


def _mask_gone(files: Files) -> None:
    files[1].unlink()
    files[1].symlink_to("../.git/annex/objects/x.nii.gz")


def wrong_volumes() -> Iterator[Wrong[Files]]:
    """Yield wrong NIfTI files, which any layout may hold."""
    rgb = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    vast = header(FILE, 42, struct.pack("<3h", 32767, 32767, 32767))
    images: dict[str, tuple[str, Callable[[Path], object]]] = {
        "empty": ("cannot be read", write(FILE, b"")),
        "text": ("cannot be read", write(FILE, "no image")),
        "cut": ("cannot be read", cut(FILE, 0.5)),
        "a PNG": ("is a file of the format PNG; rename it|cannot be read as NIfTI", write(FILE, png(SLICE))),
        "complex": ("is complex; store the magnitude", nifti(FILE, array(lambda a: a * np.complex64(1j)))),
        "in colours": ("is a colour image", nifti(FILE, array(lambda a: np.zeros(a.shape, rgb)))),
        "with an empty axis": ("holds no voxel", header(FILE, 42, bytes(2))),
        "with NaN": ("NaN", nifti(FILE, array(with_nan))),
        "zero everywhere": ("zero", nifti(FILE, array(lambda a: 0 * a))),
        "of another size than its mask": ("size|shape|grid|corner", nifti(FILE, array(lambda a: a[:-1]))),
        "shifted": ("affine|grid|apart|place", nifti(FILE, shifted)),
        "with an affine of zeros": ("affine|singular|sform", header(FILE, 280, bytes(48))),
    }
    masks: dict[str, tuple[str, Callable[[Path], object]]] = {
        "empty": ("cannot be read", write(FILE, b"")),
        "cut": ("cannot be read", cut(FILE, 0.5)),
        "with an empty axis": ("holds no voxel", header(FILE, 42, bytes(2))),
        "of halves": ("whole|fraction", nifti(FILE, array(lambda a: a * np.float32(0.5)))),
        "of −1": ("-1", nifti(FILE, array(lambda a: -a.astype(np.int16)))),
        "of 0 and 255": ("0 and 255; .*--binary-masks", nifti(FILE, array(lambda a: a * np.uint8(255)))),
        "with smooth edges": ("smoothed edges", nifti(FILE, array(_smooth))),
        "with NaN": ("NaN|whole|finite", nifti(FILE, array(with_nan))),
        "of two volumes": ("4 dimensions, expected 3", nifti(FILE, array(lambda a: np.stack([a, a], -1)))),
        "of another size": ("size|shape|grid|corner", nifti(FILE, array(lambda a: a[:-1]))),
        "shifted": ("affine|grid|apart|place", nifti(FILE, shifted)),
    }
    for which, kind, of_kind in ((0, "an image", images), (1, "a mask", masks)):
        for what, (told, change) in of_kind.items():
            yield Wrong(name=f"{kind} {what}", told=told, make=_of(which, change))
        claims = _of(which, vast)
        yield Wrong(name=f"{kind} of a size beyond memory", told="claims", make=claims, claims=True)
    yield Wrong(name="an image that was not fetched", told="is a link to a file that is not there", make=_gone)
    yield Wrong(name="a mask that was not fetched", told="is a link to a file that is not there", make=_mask_gone)


def _smooth(mask: Any) -> Any:
    mask = mask * np.uint8(255)
    mask[0, 0, :3] = (40, 90, 128)
    return mask


def _instead(name: str, content: bytes | str, beside: bytes | str | None = None) -> Callable[[Files], object]:
    """Return a change that puts another file in the place of the image, and perhaps one beside it."""
    data = content.encode() if isinstance(content, str) else content

    def apply(files: Files) -> None:
        files[0].unlink()
        files[0].with_name(name).write_bytes(data)
        if beside is not None:
            other = name.replace(".mhd", ".raw").replace(".hdr", ".img").replace(".tif", ".json")
            files[0].with_name(other).write_bytes(beside.encode() if isinstance(beside, str) else beside)

    return apply


def _nrrd(fields: str, data: bytes = b"") -> bytes:
    return f"NRRD0004\n{fields}\n".encode() + data


def _meta(fields: str, data: bytes = b"", *, where: str = "LOCAL", size: str = "6 5 4") -> bytes:
    text = f"ObjectType = Image\nNDims = 3\nDimSize = {size}\n{fields}ElementDataFile = {where}\n"
    return text.encode() + data


def _tiff(values: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, **options)
    return stream.getvalue()


def _tiff_without_rows() -> bytes:
    """Return a stack whose pages say that they have no rows (tag 257)."""
    content = bytearray(_tiff(np.ones((4, 16, 15), np.uint8), photometric="minisblack", metadata=None))
    rows, none = (struct.pack("<HHII", 257, 4, 1, count) for count in (16, 0))
    assert content.count(rows) == 4
    return bytes(content.replace(rows, none))


def _vast_tiff(compression: str | None) -> bytes:
    """Return a stack whose pages say that they have 2³⁰ rows (tag 257)."""
    content = _tiff(np.ones((4, 16, 15), np.uint8), photometric="minisblack", metadata=None, compression=compression)
    rows, vast = (struct.pack("<HHII", 257, 4, 1, count) for count in (16, 1 << 30))
    return content.replace(rows, vast)


def _tiff_in_a_circle(pages: int, back_to: int) -> bytes:
    """Return a stack whose last page is followed by an earlier one."""
    content = bytearray(_tiff(np.ones((pages, 4, 4), np.uint8), photometric="minisblack", metadata=None))
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        offsets = [page.offset for page in file.pages]
    (tags,) = struct.unpack_from("<H", content, offsets[-1])
    struct.pack_into("<I", content, offsets[-1] + 2 + 12 * tags, offsets[back_to])
    return bytes(content)


def _tiff_of_two_sizes() -> bytes:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as file:
        file.write(np.ones((8, 8), np.uint8))
        file.write(np.ones((9, 8), np.uint8))
    return stream.getvalue()


def _analyze(*, dtype: Any = np.int16, size: tuple[int, ...] = SHAPE) -> bytes:
    header = nib.AnalyzeHeader()
    header.set_data_shape(size)
    header.set_data_dtype(dtype)
    return bytes(header.binaryblock)


def wrong_formats() -> Iterator[Wrong[Files]]:
    """Yield wrong files of other formats than NIfTI, in the place of an image ``image.nii.gz``."""
    rgb = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    short = "ElementType = MET_SHORT\n"
    voxels, grid = IMAGE.astype("<i2").tobytes("F"), "type: int16\ndimension: 3\nsizes: 6 5 4\nendian: little\n"
    raw = f"{grid}encoding: raw\n"
    vast_nrrd = _nrrd("type: short\ndimension: 3\nsizes: 30000 30000 30000\nencoding: raw\n", bytes(500))
    vast_packed = _nrrd(
        "type: short\ndimension: 3\nsizes: 30000 30000 30000\nencoding: gzip\n", gzip.compress(bytes(99))
    )
    mgh = b"\0\0\0\1" + struct.pack(">3i", 6, 5, 4) + struct.pack(">2i", 1, 4)
    vast_mgh = b"\0\0\0\1" + struct.pack(">3i", 30000, 30000, 30000) + struct.pack(">2i", 1, 4) + bytes(400)
    colours = _tiff(np.zeros((4, 16, 16, 3), np.uint8), photometric="rgb")
    stack = _tiff(np.ones((4, 16, 16), np.uint8), photometric="minisblack", compression="zlib")
    wrong: dict[str, tuple[str, Callable[[Files], object]]] = {
        "a NRRD of nothing": ("cannot be read", _instead("image.nrrd", b"")),
        "a NRRD without a header": ("cannot be read", _instead("image.nrrd", bytes(300))),
        "a NRRD cut": ("cannot be read", _instead("image.nrrd", _nrrd(raw, voxels[:99]))),
        "a NRRD of an unknown type": (
            "cannot be read",
            _instead("image.nrrd", _nrrd(raw.replace("int16", "a"), voxels)),
        ),
        "a NRRD of an unknown encoding": (
            "cannot be read",
            _instead("image.nrrd", _nrrd(grid + "encoding: x\n", voxels)),
        ),
        "a NRRD of negative size": (
            "cannot be read",
            _instead("image.nrrd", _nrrd(raw.replace("6 5", "-6 5"), voxels)),
        ),
        "a NRRD of damaged gzip": (
            "cannot be read",
            _instead("image.nrrd", _nrrd(grid + "encoding: gzip\n", gzip.compress(voxels)[:-20])),
        ),
        "a NRRD of another size": (
            "size|shape|grid|corner",
            _instead("image.nrrd", _nrrd(raw.replace("6 5 4", "5 6 4"), voxels)),
        ),
        "a NRRD with colours": (
            "numbers in each voxel",
            _instead(
                "image.nrrd",
                _nrrd(
                    "type: uint8\ndimension: 4\nsizes: 3 6 5 4\nkinds: RGB-color domain domain domain\nencoding: raw\n",
                    bytes(360),
                ),
            ),
        ),
        "a NRRD with data elsewhere": (
            "not in one file beside it",
            _instead("image.nhdr", _nrrd(raw + "data file: ../x.raw\n")),
        ),
        "a MetaImage of nothing": ("cannot be read", _instead("image.mha", b"")),
        "a MetaImage cut": ("cannot be read", _instead("image.mha", _meta(short, voxels[:99]))),
        "a MetaImage of an unknown type": (
            "cannot be read",
            _instead("image.mha", _meta("ElementType = MET_X\n", voxels)),
        ),
        "a MetaImage with an empty axis": (
            "holds no voxel",
            _instead("image.mha", _meta(short, voxels, size="0 5 4")),
        ),
        "a MetaImage of damaged zlib": (
            "cannot be read",
            _instead("image.mha", _meta("CompressedData = True\n" + short, zlib.compress(voxels)[:-5])),
        ),
        "a MetaImage without its data": ("cannot be read", _instead("image.mhd", _meta(short, where="image.raw"))),
        "a MetaImage with cut data": (
            "cannot be read",
            _instead("image.mhd", _meta(short, where="image.raw"), voxels[:99]),
        ),
        "a MetaImage of slices": ("not in one file beside it", _instead("image.mhd", _meta(short, where="LIST"))),
        "a MetaImage of the system": (
            "not in one file beside it",
            _instead("image.mhd", _meta(short, where="/etc/passwd")),
        ),
        "a MGH of nothing": ("cannot be read", _instead("image.mgz", b"")),
        "a MGH of zeros": ("cannot be read", _instead("image.mgz", gzip.compress(bytes(500)))),
        "a MGH cut": ("cannot be read", _instead("image.mgh", mgh + bytes(400))),
        "Analyze of zeros": ("cannot be read", _instead("image.hdr", bytes(348))),
        "Analyze without its data": ("cannot be read|missing", _instead("image.hdr", _analyze())),
        "Analyze with an empty axis": (
            "holds no voxel",
            _instead("image.hdr", _analyze(size=(0, 5, 4)), bytes(500)),
        ),
        "Analyze of complex numbers": (
            "is complex; store the magnitude",
            _instead("image.hdr", _analyze(dtype=np.complex64), bytes(8 * IMAGE.size)),
        ),
        "Analyze in colours": (
            "is a colour image",
            _instead("image.hdr", _analyze(dtype=rgb), bytes(3 * IMAGE.size)),
        ),
        "a TIFF of nothing": ("cannot be read", _instead("image.tif", b"")),
        "a TIFF of zeros": ("cannot be read", _instead("image.tif", b"II*\0" + bytes(60))),
        "a TIFF cut": ("cannot be read", _instead("image.tif", stack[:-60])),
        "a TIFF with colours": ("is a colour TIFF", _instead("image.tif", colours)),
        "a TIFF of complex numbers": (
            "is complex; store the magnitude",
            _instead("image.tif", _tiff(np.ones((4, 16, 16), np.complex64), photometric="minisblack")),
        ),
        "a TIFF with an empty axis": ("holds no voxel", _instead("image.tif", _tiff_without_rows())),
        "a TIFF in a circle": ("pages go round in a circle", _instead("image.tif", _tiff_in_a_circle(3, 1))),
        "a long TIFF in a circle": ("pages go round in a circle", _instead("image.tif", _tiff_in_a_circle(140, 130))),
        "a TIFF of two sizes": ("2 images of different kinds", _instead("image.tif", _tiff_of_two_sizes())),
        "a TIFF with an odd spacing": (
            "image.json: gives no spacing",
            _instead("image.tif", stack, '{"spacing": [0, 1, 1]}'),
        ),
        "a TIFF with a damaged spacing": ("image.json", _instead("image.tif", stack, "{")),
        "DICOM under another ending": ("format DICOM", _instead("image.nii.gz", bytes(128) + b"DICM" + bytes(99))),
        "MINC under another ending": ("format HDF5 or MINC", _instead("image.nii.gz", b"\x89HDF\r\n" + bytes(200))),
    }
    for name, (told, change) in wrong.items():
        yield Wrong(name=name, told=told, make=change)
    for name, content in (
        ("image.nrrd", vast_nrrd),
        ("image.nrrd", vast_packed),
        ("image.mha", _meta(short, bytes(99), size="30000 30000 30000")),
        ("image.mgh", vast_mgh),
        ("image.tif", _vast_tiff(None)),
        ("packed.tif", _vast_tiff("zlib")),
    ):
        packed = "packed " if content is vast_packed else ""
        made = _instead(name.replace("packed", "image"), content)
        yield Wrong(name=f"a vast {packed}{name}", told="cannot be read|claims", make=made, claims=True)
    vast = _instead("image.hdr", _analyze(size=(32000, 32000, 32000)), bytes(500))
    yield Wrong(name="vast Analyze", told="claims", make=vast, claims=True)


def wrong_slices() -> Iterator[Wrong[Files]]:
    """Yield wrong slices, in the place of an image ``image.png`` or a mask ``mask.png``."""
    jpeg = io.BytesIO()
    Image.fromarray(SLICE).save(jpeg, format="JPEG")
    colours = SLICE[..., None] + np.arange(3, dtype=np.uint8)
    clear = np.stack([SLICE, SLICE, SLICE, SLICE // 2], -1)
    wrong: dict[str, tuple[int, str, bytes]] = {
        "a slice empty": (0, "cannot be read", b""),
        "a slice cut": (0, "cannot be read", png(SLICE)[:-40]),
        "a slice in colours": (0, "is a colour", png(colours)),
        "a slice that is transparent": (0, "is transparent", png(clear)),
        "a slice that is a JPEG": (0, "is a file of the format JPEG; rename it", jpeg.getvalue()),
        "a slice of text": (0, "cannot be read", b"no image"),
        "a slice larger than its mask": (0, "size|shape|grid", png(np.ones((9, 9), np.uint8))),
        "a slice of zeros": (0, "zero", png(0 * SLICE)),
        "a mask empty": (1, "cannot be read", b""),
        "a mask of 0 and 255": (1, "0 and 255; .*--binary-masks", png(MASK * np.uint8(255))),
        "a mask with smooth edges": (1, "smoothed edges", png((SLICE * 2 + 15) | (MASK * np.uint8(255)))),
        "a mask in colours": (1, "is a colour", png(colours)),
        "a mask of another size": (1, "size|shape|grid", png(np.ones((9, 9), np.uint8))),
    }
    for name, (which, told, content) in wrong.items():
        yield Wrong(name=name, told=told, make=_written(which, content))
    gone: dict[str, tuple[str, Callable[[Files], object]]] = {
        "a slice that is missing": ("the file is missing", lambda files: files[0].unlink()),
        "a mask that is missing": ("the file is missing", lambda files: files[1].unlink()),
        "a slice that was not fetched": ("is a link to a file that is not there", _gone),
    }
    for name, (told, change) in gone.items():
        yield Wrong(name=name, told=told, make=change)


def _written(which: int, content: bytes) -> Callable[[Files], object]:
    return lambda files: files[which].write_bytes(content)
