"""Cases as DICOM: the libraries of viewers and the layout read them as they were, and they name nobody."""

import json

import highdicom
import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from pydicom import dcmread

from lesionforge.cohort.export.dicom import in_16_bits
from lesionforge.cohort.export.export_cohorts import export_cohorts
from lesionforge.cohort.image_file import read_stored
from lesionforge.cohort.layouts import read_cohort, write_nnunet
from lesionforge.cohort.layouts.dicom import read_dicom
from lesionforge.cohort.scan import load_scan
from lesionforge.errors import CohortError
from tests.cohort.export.cohorts import content, drawn_cohort, real_cohort
from tests.helpers import NESTED

TURNED = np.array([[0, -1.5, 0, 20], [2, 0, 0, -7], [0, 0, 3, 5], [0, 0, 0, 1.0]])
LEFT_HANDED = TURNED.copy()
LEFT_HANDED[:3, :3] = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, -1]]) @ np.diag([0.9, 1.1, 4])


def sources(folder, affine=TURNED, **options):
    described = {"channels": ("FLAIR", "T1"), "labels": NESTED, "affine": affine, "n_subjects": 3} | options
    real = real_cohort(folder / "real", spatial_dims=3, n_healthy=1, n_unknown=1, **described)
    drawn_cohort(folder / "drawn", real.of_subjects(real.subjects[:1]))
    return [folder / "real", folder / "drawn"]


def in_place(array, affine):
    """Return an array in the order of RAS, and its affine."""
    image = nib.as_closest_canonical(nib.Nifti1Image(np.asarray(array, np.float64), affine))
    return image.get_fdata(), image.affine


def segments_by_place(path, shape, affine):
    """Return the label map that the frames of a SEG make, each pixel by the place in mm that pydicom reads."""
    content, label = dcmread(path), np.zeros(shape, np.uint8)
    to_voxels = np.linalg.inv(np.diag([-1, -1, 1, 1]) @ affine)
    shared = content.SharedFunctionalGroupsSequence[0]
    turned = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3)).astype(float)
    between_rows, between_columns = (float(step) for step in shared.PixelMeasuresSequence[0].PixelSpacing)
    frames = content.pixel_array.reshape(-1, content.Rows, content.Columns)
    for frame, pixels in zip(content.PerFrameFunctionalGroupsSequence, frames, strict=True):
        start = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        value = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        rows, columns = np.nonzero(pixels)
        mm = start + np.outer(columns * between_columns, turned[0]) + np.outer(rows * between_rows, turned[1])
        places = mm @ to_voxels[:3, :3].T + to_voxels[:3, 3]
        np.testing.assert_allclose(places, np.rint(places), atol=1e-3)
        label[tuple(np.rint(places).astype(int).T)] = value
    return label


def test_what_is_exported_is_imported_as_it_was(tmp_path):
    folders = sources(tmp_path, LEFT_HANDED)
    export_cohorts(folders, tmp_path / "out", method="dicom", folds=2)
    cohort = write_nnunet(read_dicom(tmp_path / "out"), tmp_path / "back").cohort
    before = {case.case_id: case for folder in folders for case in read_cohort(folder)}
    assert (set(before), cohort.channels) == ({case.case_id for case in cohort}, ("FLAIR", "T1"))
    assert cohort.labels == {"background": 0, **{name: value for name, value in NESTED.items() if value}}
    for case in cohort:
        old, scan = load_scan(before[case.case_id], cohort.channels), load_scan(case, cohort.channels)
        for name in ("subject_id", "origin", "annotation", "parents", "source_case", "synthesizer"):
            assert getattr(case, name) == getattr(before[case.case_id], name)
        for channel, file in case.images.items():
            assert read_stored(file).simulated == read_stored(before[case.case_id].images[channel]).simulated
        for was, now in zip(old.image, scan.image, strict=True):
            (values, place), (back, there) = in_place(was, old.affine), in_place(now, scan.affine)
            np.testing.assert_allclose(back, values, atol=np.ptp(values) / 65535 * 0.51)
            np.testing.assert_allclose(there, place, atol=1e-4)
        assert (old.label is None) is (scan.label is None)
        if old.label is not None:
            seg = tmp_path / "out" / "cases" / case.case_id / "lesion.dcm"
            np.testing.assert_array_equal(segments_by_place(seg, old.label.shape, old.affine), old.label)
            np.testing.assert_array_equal(in_place(scan.label, scan.affine)[0], in_place(old.label, old.affine)[0])


def test_the_libraries_of_viewers_read_it(tmp_path):
    folders, out = sources(tmp_path), tmp_path / "out"
    made = export_cohorts(folders, out, method="dicom", folds=2)
    case = made.written.cohort.cases[0]
    scan = load_scan(read_cohort(folders[0])[case.case_id], ("FLAIR", "T1"))
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(case.images["FLAIR"])))
    image = reader.Execute()
    assert scan.label.any()
    for index in np.argwhere(scan.label)[:5].tolist():
        mm = np.diag([-1, -1, 1, 1]) @ scan.affine @ [*index, 1]
        np.testing.assert_allclose(image.TransformIndexToPhysicalPoint(index), mm[:3], atol=1e-4)
        assert image[index] == pytest.approx(
            float(scan.image[0][tuple(index)]), abs=float(np.ptp(scan.image[0])) / 65535
        )
    segments = highdicom.seg.segread(case.label)
    assert [segment.segment_label for segment in segments.SegmentSequence] == [name for name in NESTED if NESTED[name]]
    uids = [dcmread(path).SOPInstanceUID for path in sorted(case.images["FLAIR"].iterdir())]
    label = segments.get_pixels_by_source_instance(uids, combine_segments=True, assert_missing_frames_are_empty=True)
    np.testing.assert_array_equal(label.transpose(2, 1, 0), scan.label)
    np.testing.assert_array_equal(segments_by_place(case.label, scan.label.shape, scan.affine), scan.label)


def test_it_says_that_it_is_derived_and_names_nobody_and_is_the_same_each_time(tmp_path):
    folders = sources(tmp_path)
    for name in ("out", "again"):
        export_cohorts(folders, tmp_path / name, method="dicom", folds=2)
    files = content(tmp_path / "out")
    assert files == content(tmp_path / "again")
    origins, uids = set(), set()
    for path in (path for path in files if path.suffix == ".dcm"):
        header = dcmread(tmp_path / "out" / path)
        assert header.ImageType[0] == "DERIVED"
        assert header.PatientID.startswith("sub-")
        assert not any(header.get(name) for name in ("PatientName", "PatientBirthDate", "PatientSex", "StudyDate"))
        assert b"sub_0" not in files[path]
        uids.add(header.SOPInstanceUID)
        if header.Modality == "MR":
            assert header.ImageType[1] == "SECONDARY"
            origins.add(header.DerivationDescription.split()[0])
    assert len(uids) == len([path for path in files if path.suffix == ".dcm"])
    assert origins == {"simulated", "synthetic"} or origins == {"real", "synthetic"}
    assert json.loads((tmp_path / "out" / "splits_final.json").read_text())


def test_drawn_cases_without_their_table_are_refused(tmp_path):
    export_cohorts(sources(tmp_path), tmp_path / "out", method="dicom", folds=2)
    for name in ("series.csv", "cases.csv"):
        (tmp_path / "out" / name).unlink()
    problems = []
    cohort = read_dicom(tmp_path / "out", channels={"FLAIR": "FLAIR"}, on_problem=problems.append)
    assert all(case.origin == "real" for case in cohort)
    assert {problem.what for problem in problems} == {"was drawn by a synthesizer, and nothing says from whom"}


def test_slices_shear_and_long_names_are_refused(tmp_path):
    real_cohort(tmp_path / "flat", spatial_dims=2)
    sheared = TURNED.copy()
    sheared[0, 2] = 1.0
    real_cohort(tmp_path / "sheared", spatial_dims=3, affine=sheared)
    real_cohort(tmp_path / "long", spatial_dims=3, channels=("x" * 65,))
    for name, told in (("flat", "PNG slices"), ("sheared", "not at right angles"), ("long", "longer than 64")):
        with pytest.raises(CohortError, match=told):
            export_cohorts([tmp_path / name], tmp_path / "out", method="dicom")
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "values",
    [
        np.array([-1024.0, 3, 3071]),
        np.array([0.1, 0.2, 1.7]),
        np.array([-1e9, 5e8, 3.3e9]),
        np.array([1e-9, 2e-9]),
        np.array([4.25, 4.25]),
        np.array([-3.0, 70000.0]),
    ],
)
def test_values_come_back_within_half_a_step(values):
    pixels, slope, inter = in_16_bits(values)
    step = float(slope) if np.ptp(values) else 0.0
    np.testing.assert_allclose(pixels * float(slope) + float(inter), values, atol=step * 0.5001, rtol=0)
    assert all(len(str(number)) <= 16 for number in (slope, inter))
    assert pixels.dtype == np.uint16


def test_names_in_any_letters_come_back(tmp_path):
    real_cohort(tmp_path / "real", spatial_dims=3, n_subjects=1, channels=("T2*",), labels={"background": 0, "Ödem": 1})
    export_cohorts([tmp_path / "real"], tmp_path / "out", method="dicom", folds=0)
    cohort = read_dicom(tmp_path / "out")
    assert (cohort.channels, list(cohort.labels)) == (("T2*",), ["background", "Ödem"])
