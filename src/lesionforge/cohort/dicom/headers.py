"""Headers of DICOM files: only what tells which files make a volume, and where it lies."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from lesionforge.cohort.case import SIMULATED
from lesionforge.errors import CohortError, ConfigError

for library in ("pydicom", "highdicom"):
    logging.getLogger(library).addHandler(logging.NullHandler())  # they tell of doubts on their own
PREAMBLE = 128
MARK = b"DICM"
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
CONTOURS = "1.2.840.10008.5.1.4.1.1.481.3"
DIRECTORY = "1.2.840.10008.1.3.10"
CAPTURES = "1.2.840.10008.5.1.4.1.1.7"
"""SOP classes; those of secondary captures begin so."""
NO_IMAGE = "no image"
LOCALISER_IMAGE = "a localiser"
TOMOGRAPHIC = ("CT", "MR", "PT")
"""Modalities whose images are slices of volumes."""
WITHOUT = "without "
"""Begins why an image that may be a slice is none: the attributes that it lacks."""
LOCALISER = re.compile("locali[sz]er|scout|topogram|surview", re.IGNORECASE)
"""What the description of a series of planning images says."""
PLACE = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}
"""Attributes that say where a frame lies, and how many numbers each holds."""
OURS = "lesionforge"
"""The manufacturer of the objects that an export writes."""
TAGS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "PatientID",
    "StudyDate",
    "StudyTime",
    "Modality",
    "SeriesDescription",
    "ImageType",
    "Manufacturer",
    "DerivationDescription",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "BitsAllocated",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "RescaleSlope",
    "RescaleIntercept",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "SegmentSequence",
    "ReferencedSeriesSequence",
    "StructureSetROISequence",
    "ReferencedFrameOfReferenceSequence",
)


@dataclass(frozen=True, kw_only=True)
class Plane:
    """Where a frame lies.

    Attributes:
        position: the centre of its first pixel, in mm, LPS.
        orientation: the directions in which columns and rows are counted.
        spacing: mm between rows, and between columns.
    """

    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Header:
    """What is taken from the header of a file; of the text, only ids, the description and the names of masks.

    Attributes:
        file: the file.
        sop_class: what kind of object it is.
        uid: of the object; likewise ``series``, ``study`` and ``frame_of_reference``.
        series: see above.
        study: see above.
        frame_of_reference: see above; empty if it has none.
        patient: the patient's id.
        time: date and time of the study, which order the studies of a patient.
        modality: such as ``CT``.
        description: of the series.
        size: rows and columns; 0 without an image.
        bits: of a pixel.
        frames: their planes; one, or several in a multi-frame object; none if the header does not say where they lie.
        scalings: slope and intercept of each frame.
        claimed_frames: number of frames that the header claims.
        thickness: mm from slice to slice, for a series of one.
        unfit: why it is no slice of a volume; empty if it is one.
        names: of the segments or contours of a mask.
        refers_to: uid of the series that a mask was drawn on; empty if it does not say.
        derivation: what an export said of the origin of the scan; empty for all other files.
    """

    file: Path
    sop_class: str
    uid: str
    series: str
    study: str
    frame_of_reference: str
    patient: str
    time: str
    modality: str
    description: str
    size: tuple[int, int]
    bits: int
    frames: tuple[Plane, ...]
    scalings: tuple[tuple[float, float], ...]
    claimed_frames: int
    thickness: float
    unfit: str
    names: tuple[str, ...]
    refers_to: str
    derivation: str

    @property
    def drawn(self) -> bool:
        """Whether an export wrote it from a case that a synthesizer drew."""
        return "synthetic" in self.derivation

    @property
    def simulated(self) -> bool:
        """Whether an export wrote it from a scan of the built-in cohort."""
        return SIMULATED in self.derivation

    @property
    def is_mask(self) -> bool:
        """Whether it is a SEG or RTSTRUCT."""
        return self.sop_class in (*SEGMENTATIONS, CONTOURS)


def load_pydicom() -> ModuleType:
    """Return the package ``pydicom``; see :func:`load_package`."""
    return load_package("pydicom", "`layout=dicom`")


def load_package(name: str, option: str) -> ModuleType:
    """Return a package of the extra ``dicom``.

    Args:
        name: of the package.
        option: the option that needs it; an error names it.

    Raises:
        ConfigError: if it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(option, f"needs the package {name} ({error})", "pip install 'lesionforge[dicom]'") from error


def is_dicom(path: Path) -> bool:
    """Return whether a file has the mark of DICOM."""
    with path.open("rb") as file:
        start = file.read(PREAMBLE + len(MARK))
    return start[PREAMBLE:] == MARK


@contextmanager
def opening(path: Path) -> Iterator[None]:
    """Within the block, whatever goes wrong with a DICOM file is one line that names it, and nothing else is said.

    Raises:
        CohortError: if anything is wrong.
    """
    config = import_module("pydicom.config")
    try:
        with warnings.catch_warnings(), config.disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    except CohortError:
        raise
    except Exception as error:  # pydicom raises a dozen kinds for damaged files
        reason = f"{type(error).__name__}: {error}"
        raise CohortError(path, f"cannot be read as DICOM ({reason})", "copy or export it again") from error


def read_header(path: Path) -> Header:
    """Read the header of a DICOM file.

    Raises:
        CohortError: if it cannot be read, or lacks what every object has.
    """
    pydicom = load_pydicom()
    with opening(path):
        content = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(TAGS))
        if content.file_meta.get("MediaStorageSOPClassUID") == DIRECTORY:
            return _header(path, content, DIRECTORY)
        for name in ("SOPClassUID", "SeriesInstanceUID", "StudyInstanceUID"):
            if not content.get(name):
                raise CohortError(path, f"its header has no {name}, or ends before it", "copy or export it again")
        return _header(path, content, str(content.SOPClassUID))


def _header(path: Path, content: Any, sop_class: str) -> Header:
    planes, scalings = _frames(content) if sop_class not in (DIRECTORY, *SEGMENTATIONS, CONTOURS) else ((), ())
    return Header(
        file=path,
        sop_class=sop_class,
        uid=_text(content, "SOPInstanceUID"),
        series=_text(content, "SeriesInstanceUID"),
        study=_text(content, "StudyInstanceUID"),
        frame_of_reference=_text(content, "FrameOfReferenceUID"),
        patient=_text(content, "PatientID"),
        time=_text(content, "StudyDate") + _text(content, "StudyTime"),
        modality=_text(content, "Modality"),
        description=" ".join(_text(content, "SeriesDescription").split()),
        size=(int(content.get("Rows") or 0), int(content.get("Columns") or 0)),
        bits=int(content.get("BitsAllocated") or 0),
        frames=planes,
        scalings=scalings,
        claimed_frames=int(content.get("NumberOfFrames") or 1),
        thickness=_thickness(content),
        unfit=_unfit(content, sop_class),
        names=_names(content),
        refers_to=_refers_to(content),
        derivation=_text(content, "DerivationDescription") if _text(content, "Manufacturer") == OURS else "",
    )


def _text(content: Any, name: str) -> str:
    return str(content.get(name) or "").strip()


def _unfit(content: Any, sop_class: str) -> str:
    """Return why an object is no slice of a volume, or ``""``."""
    if not content.get("Rows") or not content.get("Columns"):
        if import_module("pydicom.uid").UID(sop_class).name.endswith("Image Storage"):
            raise ValueError("its header ends before the image")
        return NO_IMAGE
    if "MOSAIC" in (content.get("ImageType") or ()):
        return "mosaics of slices, which dcm2niix converts"
    if "LOCALIZER" in (content.get("ImageType") or ()) or LOCALISER.search(_text(content, "SeriesDescription")):
        return LOCALISER_IMAGE
    if int(content.get("SamplesPerPixel") or 1) > 1 or "COLOR" in _text(content, "PhotometricInterpretation"):
        return "in colour"
    lacking = _lacking(content)
    if lacking and sop_class.startswith(CAPTURES):
        return "a secondary capture without a place"
    return f"{WITHOUT}{', '.join(lacking)}" if lacking else ""


def _frames(content: Any) -> tuple[tuple[Plane, ...], tuple[tuple[float, float], ...]]:
    """Return the planes and scalings of the frames; none if a frame does not say where it lies."""
    if _lacking(content):
        return (), ()
    groups = content.get("PerFrameFunctionalGroupsSequence")
    if groups is None:
        return (_plane(content, content, content),), (scaling_of(content),)
    planes = [plane for frame in groups if (plane := frame_plane(content, frame)) is not None]
    return tuple(planes), tuple(_frame_scaling(content, frame) for frame in groups)


def _lacking(content: Any) -> list[str]:
    """Return the attributes without which nobody knows where the frames of an image lie."""
    groups = content.get("PerFrameFunctionalGroupsSequence")
    if groups is not None:
        known = groups and all(frame_plane(content, frame) is not None for frame in groups)
        return [] if known else ["the places of its frames"]
    if int(content.get("NumberOfFrames") or 1) != 1:
        return ["the places of its frames"]
    return [name for name, size in PLACE.items() if not _numbers(content, name, size)]


def frame_plane(content: Any, frame: Any) -> Plane | None:
    """Return where a frame of a multi-frame object lies, by its functional groups or the shared ones."""
    sequences = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
    parts = [group(content, frame, name) for name in sequences]
    known = all(
        part is not None and _numbers(part, name, size) for part, (name, size) in zip(parts, PLACE.items(), strict=True)
    )
    return _plane(*parts) if known else None


def group(content: Any, frame: Any, name: str) -> Any | None:
    """Return the item of a functional group that applies to a frame of a multi-frame object, if there is one."""
    shared = content.get("SharedFunctionalGroupsSequence") or [{}]
    for source in (frame, shared[0]):
        if source.get(name):
            return source.get(name)[0]
    return None


def _plane(position: Any, orientation: Any, measures: Any) -> Plane:
    return Plane(
        position=_numbers(position, "ImagePositionPatient", 3),
        orientation=_numbers(orientation, "ImageOrientationPatient", 6),
        spacing=_numbers(measures, "PixelSpacing", 2),
    )


def _numbers(content: Any, name: str, size: int) -> tuple[float, ...]:
    """Return the numbers of an attribute; none if they are missing, not finite, or not as many as they must be."""
    value = content.get(name)
    numbers = tuple(float(number) for number in value) if isinstance(value, Iterable) else ()
    return numbers if len(numbers) == size and np.isfinite(numbers).all() else ()


def _frame_scaling(content: Any, frame: Any) -> tuple[float, float]:
    transformation = group(content, frame, "PixelValueTransformationSequence")
    return scaling_of(content if transformation is None else transformation)


def scaling_of(content: Any) -> tuple[float, float]:
    """Return slope and intercept as the header gives them, 1 and 0 where it does not."""
    slope, inter = content.get("RescaleSlope"), content.get("RescaleIntercept")
    return 1.0 if slope is None else float(slope), 0.0 if inter is None else float(inter)


def _thickness(content: Any) -> float:
    frames = content.get("PerFrameFunctionalGroupsSequence") or [{}]
    measures = group(content, frames[0], "PixelMeasuresSequence") or content
    return float(measures.get("SpacingBetweenSlices") or measures.get("SliceThickness") or 1.0)


def _names(content: Any) -> tuple[str, ...]:
    segments = [segment.get("SegmentLabel") for segment in content.get("SegmentSequence") or ()]
    contours = [contour.get("ROIName") for contour in content.get("StructureSetROISequence") or ()]
    return tuple(" ".join(str(name or "").split()) for name in (*segments, *contours))


def _refers_to(content: Any) -> str:
    for series in content.get("ReferencedSeriesSequence") or ():
        return _text(series, "SeriesInstanceUID")
    for frame in content.get("ReferencedFrameOfReferenceSequence") or ():
        for study in frame.get("RTReferencedStudySequence") or ():
            for series in study.get("RTReferencedSeriesSequence") or ():
                return _text(series, "SeriesInstanceUID")
    return ""
