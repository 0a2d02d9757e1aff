"""Export as DICOM: a series for each channel, SEG for the mask, and nothing from the headers of the sources."""

from __future__ import annotations

import hashlib
import uuid
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionforge.cohort.case import SIMULATED, Case, Cohort
from lesionforge.cohort.dicom.headers import OURS, load_package
from lesionforge.cohort.dicom.made_up_ids import made_up_id
from lesionforge.cohort.export.base import LAYOUT, CaseFiles, Exporter, safe_names, written_files
from lesionforge.cohort.grid import Affine, affine_of, is_sheared
from lesionforge.cohort.image_file import read_header, read_stored
from lesionforge.cohort.layouts.cases_csv import write_table
from lesionforge.cohort.layouts.dicom import TABLE
from lesionforge.cohort.layouts.labels import consecutive
from lesionforge.cohort.scan import LabelArray, read_label
from lesionforge.cohort.structures import FILE as STRUCTURES
from lesionforge.cohort.volume_formats import LPS_TO_RAS
from lesionforge.errors import CohortError
from lesionforge.files import clear, sha256_of

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
"""SOP classes: the channel CT is CT, every other is MR."""
OF_CT = {"Modality": "CT", "ImageType": ["DERIVED", "SECONDARY", "AXIAL"], "KVP": None, "AcquisitionNumber": None}
OF_MR = {
    "Modality": "MR",
    "ImageType": ["DERIVED", "SECONDARY", "OTHER"],
    "ScanningSequence": "RM",
    "SequenceVariant": "NONE",
    "ScanOptions": "",
    "MRAcquisitionType": "",
    "RepetitionTime": None,
    "EchoTime": None,
    "EchoTrainLength": None,
}
EMPTY = (
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PositionReferenceIndicator",
    "PatientPosition",
)
"""What has to be there, and may be empty."""
NO_DATE, NO_TIME = "19000101", "000000"
"""Of masks, which need some; the present would be another in every export."""
MOMENTS = ("SeriesDate", "SeriesTime", "InstanceCreationDate", "InstanceCreationTime", "ContributionDateTime")
TOP = 2**16 - 1
LONGEST_TEXT = 64
UNICODE = "ISO_IR 192"


class DicomExporter(Exporter):
    """``cases/CASE/CHANNEL/0001.dcm`` … and ``cases/CASE/lesion.dcm``, which ``import --layout dicom`` reads."""

    method = "dicom"
    volumes_only = True

    @classmethod
    def check(cls, cohort: Cohort, out: Path) -> None:
        """Refuse slices, which have no spacing, and axes that are not at right angles."""
        super().check(cohort, out)
        for text in (*cohort.channels, *cohort.labels):
            if len(text) > LONGEST_TEXT or "\\" in text:
                what = f"the name {text!r} is longer than {LONGEST_TEXT} characters or holds a backslash"
                raise CohortError(cohort.name, what, "rename the channel or class")
        for package in ("pydicom", "highdicom"):
            load_package(package, "`as=dicom`")
        for path in (path for case in cohort for path in case.images.values()):
            if _is_sheared(path):
                what = "its axes are not at right angles, as DICOM wants them"
                raise CohortError(path, what, "resample it, or leave the case out")

    @staticmethod
    def arrange(cohort: Cohort, folder: Path, *, name: str) -> dict[str, CaseFiles]:
        """Write the series and masks of each case; ``series.csv`` names the series, their channels and cases."""
        names, rows, arranged = safe_names(cohort.channels, taken=("lesion",)), list[dict[str, str]](), {}
        for case in cohort:
            place, files = folder / "cases" / case.case_id, written_files(case, cohort, folder)
            study = made_uid("study", case.case_id, *map(sha256_of, files.images))
            folders = tuple(place / names[channel] for channel in cohort.channels)
            parts = enumerate(zip(folders, files.images, cohort.channels, strict=True))
            made = [
                write_series(target, file, case, study=study, channel=channel, number=number)
                for number, (target, file, channel) in parts
            ]
            label = None if files.label is None else place / "lesion.dcm"
            if label is not None and files.label is not None:
                labels = consecutive(cohort.labels)
                write_segmentation(label, read_label(files.label)[0], made[0], labels, case=case, number=len(made))
            for channel, series in zip(cohort.channels, made, strict=True):
                if channel in case.images:
                    row = {"channel": channel, "case_id": case.case_id, "subject_id": case.subject_id}
                    rows.append({"series": str(series[0].SeriesInstanceUID), **row})
            arranged[case.case_id] = CaseFiles(images=folders, label=label)
        write_table(folder / TABLE, rows, columns=("series", "channel", "case_id", "subject_id"))
        clear(folder, (*LAYOUT, STRUCTURES, "dataset.json"))
        return arranged


def _is_sheared(path: Path) -> bool:
    try:
        return is_sheared(affine_of(read_header(path)))
    except (CohortError, ValueError):  # of a damaged file, told when its case is read
        return False


def made_uid(*parts: str) -> str:
    """Return a UID that the same parts always get; what has other parts has another one."""
    digest = hashlib.sha256("\n".join((OURS, *parts)).encode()).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"


def in_16_bits(values: NDArray[np.float64]) -> tuple[NDArray[np.uint16], Any, Any]:
    """Return values as 16-bit numbers with the slope and intercept that bring them back within half a step.

    Whole numbers come back exactly if they span less than 65536.
    """
    from pydicom.valuerep import DSfloat

    low, high = float(values.min()), float(values.max())
    whole = high - low <= TOP and bool(np.array_equal(values, np.rint(values)))
    slope = DSfloat(1.0 if whole or high == low else (high - low) / TOP, auto_format=True)
    inter = DSfloat(low, auto_format=True)
    pixels = np.clip(np.rint((values - float(str(inter))) / float(str(slope))), 0, TOP)
    return pixels.astype(np.uint16), slope, inter


def write_series(folder: Path, image: Path, case: Case, *, study: str, channel: str, number: int) -> list[Any]:
    """Write a volume as a series with new UIDs; return its objects.

    Args:
        folder: the new folder of the series.
        image: the file of the volume.
        case: its case.
        study: UID of the study that the case is.
        channel: the name of the channel, which becomes the description.
        number: of the series, from 0.
    """
    stored = read_stored(image)
    pixels, slope, inter = in_16_bits(stored.array * np.float64(stored.slope) + np.float64(stored.inter))
    window = np.percentile(pixels, [1, 99]) * float(slope) + float(inter)
    place = LPS_TO_RAS @ stored.affine
    common = _common(case, study, simulated=stored.simulated) | (OF_CT if channel == "CT" else OF_MR)
    common |= {
        "SeriesInstanceUID": made_uid("series", study, channel, sha256_of(image)),
        "SeriesDescription": channel,
        "SeriesNumber": number + 1,
        "RescaleSlope": slope,
        "RescaleIntercept": inter,
        "RescaleType": "US",
        "WindowCenter": _numbers([window.mean()])[0],
        "WindowWidth": _numbers([max(float(np.ptp(window)), float(slope))])[0],
        **_geometry(place),
    }
    folder.mkdir(parents=True)
    return [
        _write_slice(folder / f"{index + 1:04d}.dcm", pixels[:, :, index].T, place, index, common)
        for index in range(pixels.shape[2])
    ]


def _common(case: Case, study: str, *, simulated: bool) -> dict[str, Any]:
    """Return what all objects of a case say; a scan that was drawn into may be simulated, too."""
    origin = f"{case.origin} scan" + (" of a simulated subject" if simulated and case.origin != SIMULATED else "")
    return {
        "SpecificCharacterSet": UNICODE,
        **dict.fromkeys(EMPTY, ""),
        "PatientID": made_up_id(case.subject_id),
        "StudyInstanceUID": study,
        "FrameOfReferenceUID": made_uid("frame of reference", study),
        "Manufacturer": OURS,
        "SoftwareVersions": version("lesionforge"),
        "DerivationDescription": f"{origin}, written by lesionforge; not for diagnosis",
    }


def _geometry(place: Affine) -> dict[str, Any]:
    """Return what all slices of a volume say about their place, given in LPS."""
    spacing = np.linalg.norm(place[:3, :3], axis=0)
    columns = place[:3, 0] / spacing[0]
    rows = place[:3, 1] - (place[:3, 1] @ columns) * columns
    return {
        "ImageOrientationPatient": _numbers([*columns, *(rows / np.linalg.norm(rows))]),
        "PixelSpacing": _numbers([spacing[1], spacing[0]]),
        "SliceThickness": _numbers([spacing[2]])[0],
        "SpacingBetweenSlices": _numbers([spacing[2]])[0],
    }


def _write_slice(path: Path, pixels: NDArray[np.uint16], place: Affine, index: int, common: Mapping[str, Any]) -> Any:
    """Write a slice ``(row, column)`` and return it."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    content = Dataset()
    for name, value in common.items():
        setattr(content, name, value)
    content.SOPClassUID = CT if content.Modality == "CT" else MR
    content.SOPInstanceUID = made_uid("slice", content.SeriesInstanceUID, str(index))
    content.file_meta = FileMetaDataset()
    content.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    content.InstanceNumber = index + 1
    content.ImagePositionPatient = _numbers(place[:3, 3] + index * place[:3, 2])
    content.Rows, content.Columns = pixels.shape
    content.SamplesPerPixel, content.PhotometricInterpretation = 1, "MONOCHROME2"
    content.BitsAllocated, content.BitsStored, content.HighBit, content.PixelRepresentation = 16, 16, 15, 0
    content.PixelData = pixels.astype("<u2").tobytes()
    content.save_as(path, enforce_file_format=True)
    return content


def _numbers(values: Sequence[float] | NDArray[np.float64]) -> list[Any]:
    """Return numbers as DICOM writes them, in 16 characters."""
    from pydicom.valuerep import DSfloat

    return [DSfloat(float(value), auto_format=True) for value in values]


def write_segmentation(
    path: Path, label: LabelArray, series: Sequence[Any], classes: Mapping[str, int], *, case: Case, number: int
) -> None:
    """Write a label map as SEG that refers to a series, a segment for each class; an empty one says: no lesion.

    Args:
        path: the new file.
        label: ``(column, row, slice)``.
        series: the objects of the series, in the order of the slices.
        classes: class name → value, ``background`` = 0 included.
        case: its case.
        number: of the series of the mask, from 0.
    """
    import highdicom
    from pydicom.sr.codedict import codes

    drawn: dict[str, Any] = {"algorithm_type": "MANUAL"}
    if case.derived:
        by = highdicom.AlgorithmIdentificationSequence(
            name=OURS, version=version("lesionforge"), family=codes.DCM.ArtificialIntelligence
        )
        drawn = {"algorithm_type": "AUTOMATIC", "algorithm_identification": by}
    described = [
        highdicom.seg.SegmentDescription(
            segment_number=value,
            segment_label=name,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Lesion,
            **drawn,
        )
        for name, value in classes.items()
        if value
    ]
    uid = made_uid("segmentation", str(series[0].SeriesInstanceUID), hashlib.sha256(label.tobytes()).hexdigest())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a map without lesions
        content = highdicom.seg.Segmentation(
            source_images=series,
            pixel_array=np.ascontiguousarray(label.transpose(2, 1, 0), np.uint8),
            segmentation_type="BINARY",
            segment_descriptions=described,
            series_instance_uid=made_uid("series", uid),
            series_number=number + 1,
            sop_instance_uid=uid,
            instance_number=1,
            manufacturer=OURS,
            manufacturer_model_name=OURS,
            software_versions=version("lesionforge"),
            device_serial_number="0",
            series_description="lesions",
        )
    _settle(content, uid)
    content.save_as(path, enforce_file_format=True)


def _settle(content: Any, uid: str) -> None:
    """Replace what depends on the time of writing, or on chance."""
    organisation = made_uid("dimensions", uid)
    for element in content.iterall():
        if element.keyword == "DimensionOrganizationUID":
            element.value = organisation
    for item in (content, *content.ContributingEquipmentSequence):
        for name in MOMENTS:
            if name in item:
                del item[name]
    content.ContentDate, content.ContentTime, content.SpecificCharacterSet = NO_DATE, NO_TIME, UNICODE
