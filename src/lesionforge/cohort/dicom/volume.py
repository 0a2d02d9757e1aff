"""Series as volumes: slices in order, at equal distances, each once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionforge.cohort.dicom.headers import Header, Plane, load_pydicom, opening, scaling_of
from lesionforge.cohort.dicom.tilt import straightened, tilt_of
from lesionforge.cohort.grid import GRID_TOLERANCE, Affine, is_sheared
from lesionforge.cohort.stored import Stored, check_claim
from lesionforge.cohort.volume_formats import LPS_TO_RAS, placed
from lesionforge.errors import CohortError

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
INVERTED = "MONOCHROME1"
"""The photometric interpretation in which low values are bright."""
JPEG_START = b"\xff\xd8"
WITH_UNIT = ("CT", "PT")
"""Modalities whose numbers are Hounsfield units or activities, which have no other end to count from."""
UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
"""Transfer syntaxes whose pixels take as many bytes as the header says."""
MOST_TILT = 35.0
"""Of a gantry, in degrees."""
TOLERANCE = 1e-3
"""Greatest difference between two directions or, in mm, two spacings that comes from rounding."""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """A frame of a file.

    Attributes:
        file: the file.
        number: of the frame, from 0.
        plane: where it lies.
        scaling: slope and intercept.
    """

    file: Path
    number: int
    plane: Plane
    scaling: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A series whose slices lie above each other.

    Attributes:
        slices: in the order of their positions.
        shape: columns, rows and slices.
        place: 4×4, voxel indices to mm, LPS; if the gantry was tilted, the slices are shifted against each other.
        frame_of_reference: uid of the coordinates.
        simulated: whether it is a scan of the built-in cohort.
    """

    slices: tuple[Slice, ...]
    shape: tuple[int, int, int]
    place: Affine
    frame_of_reference: str
    simulated: bool

    @property
    def file(self) -> Path:
        """The file of the first slice, by which the volume is known."""
        return self.slices[0].file

    @property
    def is_tilted(self) -> bool:
        """Whether its slices do not lie straight above each other."""
        return is_sheared(self.place)

    def stored(self, array: NDArray[Any], *, file: Path, label: bool = False) -> Stored:
        """Return an image or label map ``(column, row, slice)`` of the volume, straightened if it is tilted.

        Args:
            array: the voxels.
            file: the file that errors name.
            label: whether they are classes.
        """
        if not self.is_tilted:
            return placed(file, array, LPS_TO_RAS @ self.place)
        fill = 0.0 if label else float(array.min())
        straight, place = straightened(array, self.place, order=0 if label else 1, fill=fill)
        return placed(file, straight, LPS_TO_RAS @ place)


def make_volume(headers: Sequence[Header]) -> Volume:
    """Return the volume that the objects of a series make.

    Args:
        headers: at least one, each with the place of its frames.

    Raises:
        CohortError: if sizes, spacings or orientations differ, or slices are missing, doubled or too far shifted.
    """
    first = headers[0].file
    slices = [
        Slice(file=header.file, number=number, plane=plane, scaling=scaling)
        for header in headers
        for number, (plane, scaling) in enumerate(zip(header.frames, header.scalings, strict=True))
    ]
    _check_alike(headers, slices)
    columns, rows = (np.array(part) for part in (slices[0].plane.orientation[:3], slices[0].plane.orientation[3:]))
    normal = np.cross(columns, rows)
    slices.sort(key=lambda one: float(normal @ one.plane.position))
    positions = np.array([one.plane.position for one in slices])
    heights = positions @ normal
    _check_distances(slices, heights)
    step = normal * headers[0].thickness if len(slices) == 1 else (positions[-1] - positions[0]) / (len(slices) - 1)
    place, (between_rows, between_columns) = np.eye(4), slices[0].plane.spacing
    place[:3] = np.column_stack((columns * between_columns, rows * between_rows, step, positions[0]))
    if tilt_of(place) > MOST_TILT:
        what = f"its series has slices that are shifted against each other by {tilt_of(place):.1f}°"
        raise CohortError(first, what, "leave it out, or resample it")
    return Volume(
        slices=tuple(slices),
        shape=(headers[0].size[1], headers[0].size[0], len(slices)),
        place=place,
        frame_of_reference=headers[0].frame_of_reference,
        simulated=headers[0].simulated,
    )


def _check_alike(headers: Sequence[Header], slices: Sequence[Slice]) -> None:
    """Raise ``CohortError`` if the slices cannot lie on one grid."""
    for header in headers:
        if header.claimed_frames != len(header.frames):
            what = f"claims {header.claimed_frames} frames, and says of {len(header.frames)} where they lie"
            raise CohortError(header.file, what, "export it again")
        if header.size != headers[0].size:
            told = [f"{columns} × {rows}" for rows, columns in (header.size, headers[0].size)]
            what = f"is {told[0]} pixels large, and {headers[0].file.name} of the same series {told[1]}"
            raise CohortError(header.file, what, "leave one of them out")
    first = slices[0].plane
    lengths = np.linalg.norm(np.reshape(first.orientation, (2, 3)), axis=1)
    skew = abs(float(np.dot(first.orientation[:3], first.orientation[3:])))
    if np.abs(lengths - 1).max() > TOLERANCE or skew > TOLERANCE or min(first.spacing) <= 0:
        raise CohortError(slices[0].file, "its orientation or spacing is impossible", "export it again")
    for one in slices:
        slope, inter = one.scaling
        if slope == 0 or not np.isfinite(one.scaling).all():
            what = f"its slope {slope:g} or intercept {inter:g} is impossible"
            raise CohortError(one.file, what, "export the series again")
        for name in ("orientation", "spacing"):
            if not np.allclose(getattr(one.plane, name), getattr(first, name), rtol=0, atol=TOLERANCE):
                what = f"has another {name} than {slices[0].file.name} of the same series"
                raise CohortError(one.file, what, "leave one of them out, or split the series")


def _check_distances(slices: Sequence[Slice], heights: NDArray[np.float64]) -> None:
    """Raise ``CohortError`` if slices are doubled, missing, or at unequal distances."""
    gaps = np.diff(heights)
    if not gaps.size:
        return
    doubled = np.flatnonzero(gaps <= TOLERANCE).tolist()
    if doubled:
        a, b = (_told(slices[doubled[0] + number]) for number in (0, 1))
        what = f"lies at the position of {a}; {len(doubled)} of {len(slices)} slices are doubled"
        remedy = "leave one of each out; split a series of echoes, b-values or phases"
        raise CohortError(slices[doubled[0] + 1].file, f"{b} {what}", remedy)
    step = float(np.sort(gaps)[(len(gaps) - 1) // 2])
    whole = np.rint(gaps / step)
    for number in np.flatnonzero(np.abs(gaps / step - 1) > GRID_TOLERANCE).tolist():
        if whole[number] < 2 or abs(gaps[number] / step - whole[number]) > GRID_TOLERANCE:
            what = f"its series has slices that are {gaps.min():.4g} to {gaps.max():.4g} mm apart"
            raise CohortError(slices[number].file, what, "resample it to equal distances, or leave it out")
        lost = int(whole[number]) - 1
        what = f"{lost} slice{'s' if lost > 1 else ''} of its series {'are' if lost > 1 else 'is'} missing"
        where = f"between {_told(slices[number])} and {_told(slices[number + 1])}"
        raise CohortError(slices[number].file, f"{what} {where}", "export the series again, or leave it out")
    even = np.linspace(heights[0], heights[-1], len(heights))
    if np.abs(heights - even).max() > GRID_TOLERANCE * step:
        what = f"its series has slices that are {gaps.min():.4g} to {gaps.max():.4g} mm apart"
        raise CohortError(slices[0].file, what, "resample it to equal distances, or leave it out")


def _told(one: Slice) -> str:
    return f"frame {one.number + 1}" if one.number else one.file.name


def read_volume(volume: Volume) -> Stored:
    """Read the voxels of a volume, with the slope and intercept of the series, or as float32 if slices differ in them.

    Raises:
        CohortError: if a file is damaged, or claims more than it or the memory holds.
    """
    files = list(dict.fromkeys(one.file for one in volume.slices))
    frames: dict[Path, NDArray[Any]] = {}
    for file in files:
        frames[file] = read_frames(file, volume.shape[:2][::-1], voxels=prod(volume.shape))
    scalings = {one.scaling for one in volume.slices}
    (slope, inter), *others = scalings
    stack = [frames[one.file][one.number] for one in volume.slices]
    if others:
        pairs = zip(stack, volume.slices, strict=True)
        stack = [(frame * one.scaling[0] + one.scaling[1]).astype(np.float32) for frame, one in pairs]
        slope, inter = 1.0, 0.0
    array = np.stack(stack, axis=-1).transpose(1, 0, 2)
    stored = volume.stored(array, file=volume.file)
    return replace(stored, slope=slope, inter=inter, simulated=volume.simulated)


def read_frames(path: Path, size: tuple[int, int], *, voxels: int) -> NDArray[Any]:
    """Read the pixels of a file.

    Args:
        path: the file.
        size: its rows and columns.
        voxels: their number in the volume that the file belongs to.

    Returns:
        ``(frame, row, column)`` in the type of the file.

    Raises:
        CohortError: if the file is damaged, claims more than it or the memory holds, or its pixels are packed in a way
            that is not installed.
    """
    pydicom = load_pydicom()
    with opening(path):
        content = pydicom.dcmread(path)
        syntax, frames = content.file_meta.TransferSyntaxUID, int(content.get("NumberOfFrames") or 1)
        if not any(content.get(name) for name in PIXELS):
            raise CohortError(path, "holds no PixelData", "copy or export it again")
        claimed = frames * prod(size) * int(content.BitsAllocated) // 8
        check_claim(path, claimed, voxels=max(voxels, frames * prod(size)), packed=syntax not in UNCOMPRESSED)
        pixels = decoded(path, content)
    return pixels.reshape(frames, *size)


def decoded(path: Path, content: Any) -> NDArray[Any]:
    """Return the pixels of an opened file, unpacked by pydicom, or by ITK if pydicom cannot.

    Where low values are bright (``MONOCHROME1``), values are counted from the other end of their range, as in ITK.

    Raises:
        CohortError: if neither can, if a table gives the values, or if low values are bright and the numbers have a
            unit.
    """
    if content.get("ModalityLUTSequence"):
        what = "keeps its values in a table (Modality LUT), not as slope and intercept"
        raise CohortError(path, what, "export it with the table applied, or leave it out")
    syntax = content.file_meta.TransferSyntaxUID
    inverted = content.get("PhotometricInterpretation") == INVERTED
    if inverted and content.get("Modality") in WITH_UNIT:
        what = f"is {INVERTED}, where low values are bright, but those of {content.Modality} have a unit"
        raise CohortError(path, what, "export it as MONOCHROME2")
    if not _unpacked_by_pydicom(syntax):
        return _unpacked_by_itk(path, content)
    array: NDArray[Any] = content.pixel_array
    if not inverted:
        return array
    top = -1 if array.dtype.kind == "i" else 2 ** int(content.BitsStored) - 1
    return np.asarray(top - array.astype(np.int64)).astype(array.dtype)


def _unpacked_by_pydicom(syntax: Any) -> bool:
    import pydicom.pixels

    try:
        return syntax in UNCOMPRESSED or bool(pydicom.pixels.get_decoder(syntax).is_available)
    except NotImplementedError:
        return False


def _unpacked_by_itk(path: Path, content: Any) -> NDArray[Any]:
    import SimpleITK

    syntax, (slope, inter) = content.file_meta.TransferSyntaxUID, scaling_of(content)
    what = f"is compressed as {syntax.name}, which cannot be unpacked"
    refused = CohortError(path, what, "pip install pylibjpeg[all], or decompress it with gdcmconv")
    if int(content.get("NumberOfFrames") or 1) > 1 or JPEG_START not in content.PixelData[:64]:
        raise refused
    try:
        values = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path), imageIO="GDCMImageIO"))
    except RuntimeError as error:
        raise refused from error
    kind = "i" if content.PixelRepresentation else "u"
    return np.rint((values - inter) / slope).astype(f"{kind}{content.BitsAllocated // 8}")
