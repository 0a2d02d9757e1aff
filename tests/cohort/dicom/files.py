"""Tiny DICOM files: series of a few slices of 8 x 6 pixels, and masks on them."""

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

CT, MR, ENHANCED = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
CAPTURE, RTSTRUCT = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.481.3"
SHAPE = (8, 6, 4)
TURN = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1.0]])
"""Directions of columns, rows and slices."""
SPACING = (0.75, 1.5, 3.0)
START = np.array([-10.0, 20.0, 5.0])
PLACE = np.eye(4)
PLACE[:3] = np.column_stack((TURN * SPACING, START))
"""Voxel indices to mm, LPS."""
TO_RAS = np.diag([-1.0, -1, 1, 1])
PIXELS = (np.arange(np.prod(SHAPE)).reshape(SHAPE) * 7 % 101 - 50).astype(np.int16)


def uid(*parts):
    return "1.2.826.0.1." + ".".join(str(part) for part in parts)


def blank(sop_class, number, *, study=1, series=1, patient="anna", **more):
    """Return an object with ids and nothing else."""
    content = Dataset()
    content.file_meta = FileMetaDataset()
    content.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    content.SOPClassUID, content.SOPInstanceUID = sop_class, uid(study, series, number)
    content.file_meta.MediaStorageSOPClassUID, content.file_meta.MediaStorageSOPInstanceUID = (
        sop_class,
        content.SOPInstanceUID,
    )
    content.StudyInstanceUID, content.SeriesInstanceUID = uid(study), uid(study, series)
    content.FrameOfReferenceUID = uid(study, 0)
    content.PatientID, content.PatientName, content.PatientBirthDate = patient, "Doe^Jane", "19700101"
    content.PatientSex, content.ReferringPhysicianName, content.AccessionNumber = "F", "House", "42"
    content.StudyDate, content.StudyTime, content.StudyID = f"2020010{study % 10 or 1}", "120000", "7"
    content.SeriesNumber, content.InstanceNumber = series, number
    content.Manufacturer, content.InstitutionName = "ACME", "General Hospital"
    for name, value in more.items():
        setattr(content, name, value)
    return content


def image(content, pixels):
    """Give an object pixels ``(frame, row, column)`` or ``(row, column)`` in grey."""
    content.Rows, content.Columns = pixels.shape[-2:]
    content.SamplesPerPixel, content.PhotometricInterpretation = 1, "MONOCHROME2"
    content.BitsAllocated = content.BitsStored = 8 * pixels.dtype.itemsize
    content.HighBit, content.PixelRepresentation = content.BitsStored - 1, int(pixels.dtype.kind == "i")
    content.PixelData = pixels.tobytes()
    return content


def save(content, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    content.save_as(path, enforce_file_format=True)
    return path


def write_series(folder, pixels=PIXELS, *, place=PLACE, sop_class=MR, edit=None, order=None, **ids):
    """Write ``(column, row, slice)`` as files, named against the order of the slices; return their headers and pixels.

    Args:
        folder: where the files lie.
        pixels: the voxels.
        place: voxel indices to mm, LPS.
        sop_class: what the objects are.
        edit: called with each object and its slice before it is written; what it returns is written, if anything.
        order: slices to write; all by default.
        **ids: see :func:`blank`.
    """
    ids = {"SeriesDescription": "FLAIR", "Modality": "CT" if sop_class == CT else "MR"} | ids
    spacing = np.linalg.norm(place[:3, :3], axis=0)
    written = []
    for number in range(pixels.shape[2]) if order is None else order:
        content = image(blank(sop_class, number + 1, **ids), pixels[:, :, number].T)
        content.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        content.ImageOrientationPatient = [*(place[:3, 0] / spacing[0]), *(place[:3, 1] / spacing[1])]
        content.ImagePositionPatient = list(place[:3, 3] + number * place[:3, 2])
        content.PixelSpacing, content.SliceThickness = [spacing[1], spacing[0]], 1.0
        if edit is not None:
            content = edit(content, number) or content
        save(content, folder / f"IM{900 - number:04d}")
        written.append(content)
    return written


def write_enhanced(path, pixels=PIXELS, *, place=PLACE, frames=None, **ids):
    """Write ``(column, row, slice)`` as one multi-frame object, last slice first, with slope 2 and intercept -3."""
    content = image(
        blank(ENHANCED, 1, Modality="MR", SeriesDescription="FLAIR", **ids), pixels.transpose(2, 1, 0)[::-1]
    )
    content.NumberOfFrames = pixels.shape[2] if frames is None else frames
    spacing = np.linalg.norm(place[:3, :3], axis=0)
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [spacing[1], spacing[0]], spacing[2]
    orientation.ImageOrientationPatient = [*(place[:3, 0] / spacing[0]), *(place[:3, 1] / spacing[1])]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([orientation])
    content.SharedFunctionalGroupsSequence, content.PerFrameFunctionalGroupsSequence = Sequence([shared]), Sequence()
    for number in reversed(range(pixels.shape[2])):
        frame, position, scaling = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = list(place[:3, 3] + number * place[:3, 2])
        scaling.RescaleSlope, scaling.RescaleIntercept = 2, -3
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = Sequence([position]), Sequence([scaling])
        content.PerFrameFunctionalGroupsSequence.append(frame)
    return save(content, path)


def write_seg(path, sources, label, names, *, kind="BINARY", edit=None):
    """Write a label map ``(column, row, slice)`` as SEG by highdicom; the segments 1, 2, … have these names."""
    import highdicom
    from pydicom.sr.codedict import codes

    described = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=name,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Lesion,
            algorithm_type="MANUAL",
        )
        for number, name in enumerate(names, start=1)
    ]
    content = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=label.transpose(2, 1, 0),
        segmentation_type=kind,
        segment_descriptions=described,
        series_instance_uid=uid(77, len(path.stem) + sum(map(ord, path.stem))),
        series_number=9,
        sop_instance_uid=uid(78, len(path.stem) + sum(map(ord, path.stem))),
        instance_number=1,
        manufacturer="ACME",
        manufacturer_model_name="M",
        software_versions="1",
        device_serial_number="1",
    )
    if edit is not None:
        edit(content)
    return save(content, path)


def write_contours(path, source, contours, *, frame_of_reference=None):
    """Write name → polygons ``(point, 3)`` in mm, LPS, as RTSTRUCT on the series of ``source``."""
    content = blank(RTSTRUCT, 1, series=88, Modality="RTSTRUCT", SeriesDescription="contours")
    content.StudyInstanceUID, content.PatientID = source.StudyInstanceUID, source.PatientID
    content.SOPInstanceUID = uid(88, sum(map(ord, path.name)))
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID, study.ReferencedSOPInstanceUID = source.SeriesInstanceUID, source.StudyInstanceUID
    study.RTReferencedSeriesSequence = Sequence([series])
    frame.FrameOfReferenceUID = frame_of_reference or source.FrameOfReferenceUID
    frame.RTReferencedStudySequence = Sequence([study])
    content.ReferencedFrameOfReferenceSequence = Sequence([frame])
    content.StructureSetROISequence, content.ROIContourSequence = Sequence(), Sequence()
    for number, (name, polygons) in enumerate(contours.items(), start=1):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, name, frame.FrameOfReferenceUID
        drawn.ReferencedROINumber, drawn.ContourSequence = number, Sequence()
        for polygon in polygons:
            contour = Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(polygon)
            contour.ContourData = [f"{value:.4f}" for value in np.ravel(polygon)]
            drawn.ContourSequence.append(contour)
        content.StructureSetROISequence.append(roi)
        content.ROIContourSequence.append(drawn)
    return save(content, path)


def to_mm(points, place=PLACE):
    """Return voxel indices ``(n, 3)`` in mm, LPS."""
    return np.asarray(points, float) @ place[:3, :3].T + place[:3, 3]
