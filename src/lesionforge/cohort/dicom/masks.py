"""Lesion masks from SEG and RTSTRUCT, on the grid of the scan that they were drawn on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.draw import polygon2mask

from lesionforge.cohort.dicom.headers import CONTOURS, Header, frame_plane, group, load_pydicom, opening
from lesionforge.cohort.dicom.volume import Volume, read_frames
from lesionforge.cohort.grid import GRID_TOLERANCE
from lesionforge.cohort.stored import Stored
from lesionforge.errors import CohortError

LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
LEAST_POINTS = 3
AGAIN = "export it again"
Mask = NDArray[np.bool_]


def read_masks(headers: Sequence[Header], volume: Volume, classes: Mapping[str, int], *, binary: bool) -> Stored:
    """Return the label map that segments and contours make on the grid of a volume, straightened like it.

    Where segments overlap, the one with the higher class counts.

    Args:
        headers: of the SEG and RTSTRUCT objects.
        volume: the scan.
        classes: name of a segment or contour → class; others are not read.
        binary: whether a fractional segment counts as a whole wherever it is above 0.

    Raises:
        CohortError: if a mask is damaged, lies on another grid or in another frame of reference, or is fractional.
    """
    label = np.zeros(volume.shape, np.int16)
    for header in headers:
        found = {name: classes[name] for name in header.names if name in classes}
        read = (
            _contours(header, volume, found)
            if header.sop_class == CONTOURS
            else _segments(header, volume, found, binary)
        )
        for value, number, mask in read:
            plane = label[:, :, number]
            plane[mask] = np.maximum(plane[mask], value)
    return volume.stored(label, file=headers[0].file, label=True)


def _segments(
    header: Header, volume: Volume, classes: Mapping[str, int], binary: bool
) -> Iterator[tuple[int, int, Mask]]:
    """Yield class, slice and mask ``(column, row)`` of each frame of a SEG."""
    _check_frame_of_reference(header, volume)
    pixels = read_frames(header.file, header.size, voxels=header.claimed_frames * prod(header.size))
    with opening(header.file):
        content = load_pydicom().dcmread(header.file, stop_before_pixels=True)
        if content.get("SegmentationType") == "FRACTIONAL" and not binary:
            what = "holds a fractional segmentation"
            raise CohortError(header.file, what, "export a binary one, or add `binary_masks`, which takes all above 0")
        value_of = {
            int(segment.SegmentNumber): classes.get(name)
            for segment, name in zip(content.SegmentSequence, header.names, strict=True)
        }
        frames = content.PerFrameFunctionalGroupsSequence
        if len(frames) != len(pixels):
            what = f"claims {len(pixels)} frames, and says of {len(frames)} where they lie"
            raise CohortError(header.file, what, "export it again")
        for number, (frame, plane) in enumerate(zip(frames, pixels, strict=True), start=1):
            held = _held(header, content, frame, plane, value_of)
            if held:
                index = _slice_of(header, volume, content, frame, number)
                yield from ((value, index, mask.T) for value, mask in held.items())


def _held(
    header: Header, content: Any, frame: Any, plane: NDArray[Any], value_of: Mapping[int, int | None]
) -> dict[int, Mask]:
    """Return class → mask ``(row, column)`` of what a frame holds.

    Raises:
        CohortError: if it is of a segment that is not described.
    """
    if content.SOPClassUID == LABEL_MAP:
        parts = [(number, plane == number) for number in value_of]
    else:
        identification: Any = group(content, frame, "SegmentIdentificationSequence") or {}
        segment = identification.get("ReferencedSegmentNumber")
        if segment not in value_of:
            raise CohortError(header.file, f"holds a frame of the segment {segment}, which it does not name", AGAIN)
        parts = [(int(segment), plane > 0)]
    held = dict[int, Mask]()
    for number, mask in parts:
        value = value_of[number]
        if value is not None and mask.any():
            held[value] = held.get(value, False) | mask
    return held


def _slice_of(header: Header, volume: Volume, content: Any, frame: Any, number: int) -> int:
    """Return the slice of a volume on which a frame of a SEG lies.

    Raises:
        CohortError: if it lies on none.
    """
    plane = frame_plane(content, frame)
    if plane is None:
        raise CohortError(header.file, f"does not say where its frame {number} lies", "export it again")
    rows, columns = header.size
    corners = np.array([(0, 0), (columns - 1, 0), (0, rows - 1)], np.float64)
    directions = np.reshape(plane.orientation, (2, 3)) * np.reshape(plane.spacing[::-1], (2, 1))
    indices = voxels_of(volume, np.add(plane.position, corners @ directions))
    index = int(np.rint(indices[0, 2]))
    apart = np.abs(indices - np.column_stack((corners, np.full(3, index)))).max()
    if (columns, rows) != volume.shape[:2] or not 0 <= index < volume.shape[2] or apart > GRID_TOLERANCE:
        what = f"its frame {number} lies on no slice of the series of {volume.file.name}"
        raise CohortError(header.file, what, "export it on the slices of that series")
    return index


def _contours(header: Header, volume: Volume, classes: Mapping[str, int]) -> Iterator[tuple[int, int, Mask]]:
    """Yield class, slice and mask ``(column, row)`` of what the contours of an RTSTRUCT enclose.

    A pixel belongs to a contour if its centre lies inside; where an even number of contours enclose it, it is a hole.
    """
    with opening(header.file):
        content = load_pydicom().dcmread(header.file)
        about = {int(roi.ROINumber): roi for roi in content.StructureSetROISequence}
        names = dict(zip(about, header.names, strict=True))
        for roi in content.get("ROIContourSequence") or ():
            number = int(roi.ReferencedROINumber)
            if number not in names:
                raise CohortError(header.file, f"holds contours of the number {number}, which it does not name", AGAIN)
            if names[number] in classes:
                _check_frame_of_reference(header, volume, str(about[number].get("ReferencedFrameOfReferenceUID") or ""))
                for index, mask in _filled(header, volume, names[number], roi).items():
                    yield classes[names[number]], index, mask


def _filled(header: Header, volume: Volume, name: str, roi: Any) -> dict[int, Mask]:
    """Return slice → what lies inside an odd number of its contours.

    Raises:
        CohortError: if a contour is open, lies on no slice, or none of them holds a pixel.
    """
    masks = dict[int, Mask]()
    for contour in roi.get("ContourSequence") or ():
        points = voxels_of(volume, np.reshape([float(number) for number in contour.ContourData], (-1, 3)))
        if contour.ContourGeometricType not in CLOSED or len(points) < LEAST_POINTS:
            kind = f"{contour.ContourGeometricType}, {len(points)} points"
            what, remedy = f"a contour of {name!r} encloses nothing ({kind})", "close it, or leave it out with `mask`"
            raise CohortError(header.file, what, remedy)
        index = int(np.rint(points[0, 2])) if np.isfinite(points).all() else -1
        if not 0 <= index < volume.shape[2] or np.abs(points[:, 2] - index).max() > GRID_TOLERANCE:
            what = f"has a contour that lies on no slice of the series of {volume.file.name}"
            raise CohortError(header.file, what, "export it on the slices of that series")
        inside = polygon2mask(volume.shape[:2], points[:, :2])
        masks[index] = masks.get(index, np.zeros(volume.shape[:2], bool)) ^ inside
    if masks and not any(mask.any() for mask in masks.values()):
        what = f"no contour of {name!r} holds the centre of a pixel, so its lesion would be lost"
        raise CohortError(header.file, what, "export it as a mask, or leave the study out")
    return masks


def _check_frame_of_reference(header: Header, volume: Volume, uid: str = "") -> None:
    uid = uid or header.frame_of_reference
    if uid and volume.frame_of_reference and uid != volume.frame_of_reference:
        what = f"lies in another frame of reference than the series of {volume.file.name}"
        raise CohortError(header.file, what, "export it for that series, or leave it out")


def voxels_of(volume: Volume, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the voxel indices ``(n, 3)`` of points in mm, LPS."""
    return (points - volume.place[:3, 3]) @ np.linalg.inv(volume.place[:3, :3]).T
