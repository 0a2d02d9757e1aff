"""Series become volumes: order, place, scaling, channels, and what is no volume."""

import gzip

import numpy as np
import pytest
import SimpleITK
from pydicom import dcmread
from pydicom.uid import RLELossless

from lesionforge.cohort.dicom.headers import DIRECTORY
from lesionforge.cohort.grid import is_sheared
from lesionforge.cohort.layouts import read_cohort, write_nnunet
from lesionforge.cohort.layouts.dicom import Dicom, read_dicom
from lesionforge.cohort.layouts.recognition import recognised
from lesionforge.cohort.scan import load_scan
from lesionforge.errors import CohortError, ConfigError
from tests.cli.commands import typed
from tests.cohort.dicom.files import (
    CT,
    PIXELS,
    PLACE,
    SHAPE,
    TO_RAS,
    blank,
    save,
    uid,
    write_enhanced,
    write_seg,
    write_series,
)


def scan_of(cohort, number=0):
    return load_scan(cohort.cases[number], cohort.channels)


def written(cohort, folder):
    return write_nnunet(cohort, folder).cohort


def test_slices_lie_in_the_order_of_their_positions_at_their_place(tmp_path):
    write_series(tmp_path / "in" / "deep", place=PLACE)
    scan = scan_of(written(read_dicom(tmp_path / "in"), tmp_path / "out"))
    np.testing.assert_array_equal(scan.image[0], PIXELS)
    np.testing.assert_allclose(scan.affine, TO_RAS @ PLACE, atol=1e-5)


def test_a_series_against_the_normal_is_turned_and_stays_in_place(tmp_path):
    place = PLACE.copy()
    place[:3, 2] *= -1
    write_series(tmp_path, place=place)
    scan = scan_of(read_dicom(tmp_path))
    np.testing.assert_array_equal(scan.image[0], PIXELS[:, :, ::-1])
    first, last = TO_RAS @ place @ [3, 2, 0, 1], scan.affine @ [3, 2, SHAPE[2] - 1, 1]
    np.testing.assert_allclose(first, last, atol=1e-4)


def test_slope_and_intercept_are_kept_or_applied_where_slices_differ(tmp_path):
    def scaled(content, number):
        content.RescaleSlope, content.RescaleIntercept = slope[number], -1024

    for name, slope in (("same", [2] * 4), ("own", [1, 2, 3, 4])):
        write_series(tmp_path / name, sop_class=CT, edit=scaled)
        cohort = written(read_dicom(tmp_path / name), tmp_path / f"{name}_out")
        assert cohort.channels == ("CT",)
        np.testing.assert_array_equal(scan_of(cohort).image[0], PIXELS * np.float32(slope) - 1024)


def test_an_enhanced_object_is_the_same_volume(tmp_path):
    write_enhanced(tmp_path / "in" / "one.dcm")
    scan = scan_of(written(read_dicom(tmp_path / "in"), tmp_path / "out"))
    np.testing.assert_array_equal(scan.image[0], PIXELS * 2.0 - 3)
    np.testing.assert_allclose(scan.affine, TO_RAS @ PLACE, atol=1e-5)


def test_compressed_pixels_and_a_single_slice_are_read(tmp_path):
    def packed(content, _):
        content.compress(RLELossless)

    write_series(tmp_path, edit=packed, order=[2])
    scan = scan_of(read_dicom(tmp_path))
    np.testing.assert_array_equal(scan.image[0], PIXELS[:, :, 2:3])
    assert scan.spacing == pytest.approx((0.75, 1.5, 1.0))


def test_lossless_jpeg_which_pydicom_does_not_unpack_is_read(tmp_path):
    writer = SimpleITK.ImageFileWriter()
    writer.SetCompressor("JPEG")
    writer.SetUseCompression(True)
    writer.SetFileName(str(tmp_path / "itk.dcm"))
    writer.Execute(SimpleITK.GetImageFromArray(PIXELS[:, :, :1].T))
    made = dcmread(tmp_path / "itk.dcm")

    def packed(content, _):
        content.file_meta.TransferSyntaxUID, content.PixelData = made.file_meta.TransferSyntaxUID, made.PixelData
        content.RescaleSlope, content.RescaleIntercept = 2, -7

    write_series(tmp_path / "in", order=[0], edit=packed)
    scan = scan_of(read_dicom(tmp_path / "in"))
    np.testing.assert_array_equal(scan.image[0], 2.0 * PIXELS[:, :, :1] - 7)


@pytest.mark.parametrize(("pixels", "top"), [(PIXELS, -1), ((PIXELS + 50).astype(np.uint16), 65535)])
def test_where_low_values_are_bright_they_are_counted_from_the_other_end_as_in_itk(tmp_path, pixels, top):
    def inverted(content, _):
        content.PhotometricInterpretation = "MONOCHROME1"

    write_series(tmp_path, pixels, edit=inverted)
    image = scan_of(read_dicom(tmp_path)).image[0]
    np.testing.assert_array_equal(image, top - pixels.astype(np.float32))
    reader = SimpleITK.ReadImage(str(tmp_path / "IM0900"))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(reader)[0].T, image[:, :, 0])


def test_the_top_of_inverted_values_is_that_of_the_bits_that_are_stored(tmp_path):
    def inverted(content, _):
        content.PhotometricInterpretation, content.BitsStored, content.HighBit = "MONOCHROME1", 12, 11

    pixels = (PIXELS + 50).astype(np.uint16)
    write_series(tmp_path, pixels, edit=inverted)
    np.testing.assert_array_equal(scan_of(read_dicom(tmp_path)).image[0], 4095 - pixels)


def test_nothing_of_the_header_is_written_but_geometry(tmp_path):
    write_series(tmp_path / "in", patient="MRN-4711")
    written(read_dicom(tmp_path / "in"), tmp_path / "out")
    for path in (path for path in (tmp_path / "out").rglob("*") if path.is_file()):
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for text in (b"4711", b"Doe", b"ACME", b"Hospital", b"2020", b"1.2.826", b"IM0"):
            assert text not in content


def test_a_study_is_a_session_and_its_subject_stays_the_same(tmp_path):
    for study, patient in ((3, "anna"), (1, "anna"), (2, "bert")):
        write_series(tmp_path / f"b{9 - study}", study=study, patient=patient)
    write_series(tmp_path / "other" / "x", study=5, patient="anna")
    cohort = read_dicom(tmp_path)
    assert len(cohort.subjects) == 2
    anna = read_dicom(tmp_path / "other").subjects[0]
    first, second, third = cohort.of_subjects([anna]).cases
    assert [case.case_id for case in (first, second, third)] == [f"{anna}_ses-{number}" for number in (1, 2, 3)]
    assert first.images["MR"].parent.name == "b8"


def test_channels_are_chosen_by_description_and_other_series_are_not_used(tmp_path):
    write_series(tmp_path / "a", SeriesDescription="AX  T2 FLAIR fs")
    write_series(tmp_path / "b", PIXELS + 1, series=2, SeriesDescription="t1 mprage")
    write_series(tmp_path / "c", series=3, SeriesDescription="DWI", order=[0, 2, 3])
    write_series(tmp_path / "d", series=4, SeriesDescription="t1 mprage", study=2, patient="bert")
    with pytest.raises(CohortError, match=r"'t1 mprage'.*channel=FLAIR"):
        read_dicom(tmp_path)
    cohort = read_dicom(tmp_path, channels={"FLAIR": "*flair*", "T1": "T1*"})
    both = next(case for case in cohort if len(case.images) == 2)
    np.testing.assert_array_equal(load_scan(both, cohort.channels).image, [PIXELS, PIXELS + 1])
    assert sorted(len(case.images) for case in cohort) == [1, 2]
    with pytest.raises(ConfigError, match="no series has such a description; they are 't1 mprage'"):
        read_dicom(tmp_path, channels={"FLAIR": "swi*"})


def test_a_table_names_series_channels_cases_and_subjects(tmp_path):
    for number in (1, 2):
        write_series(tmp_path / "in" / f"{number}", PIXELS + number, series=number, SeriesDescription="same")
    write_series(tmp_path / "in" / "3", study=2, SeriesDescription="same")
    rows = [f"{uid(1, 2)},T1,p1_a,p1", f"{uid(1, 1)},FLAIR,p1_a,p1", f"{uid(2, 1)},T1,,", f"{uid(9, 9)},T1,x,x"]
    (tmp_path / "t.csv").write_text("\n".join(["series,channel,case_id,subject_id", *rows]))
    problems = []
    cohort = read_dicom(tmp_path / "in", series=tmp_path / "t.csv", on_problem=problems.append)
    assert (cohort.channels, cohort.cases[0].case_id, cohort.cases[0].subject_id) == (("T1", "FLAIR"), "p1_a", "p1")
    np.testing.assert_array_equal(scan_of(cohort).image, [PIXELS + 2, PIXELS + 1])
    assert cohort.cases[1].case_id.startswith("sub-")
    assert "t.csv: lists the series '1.2.826.0.1.9.9'" in str(problems[0])
    (tmp_path / "in" / "series.csv").write_text((tmp_path / "t.csv").read_text())
    assert read_dicom(tmp_path / "in", on_problem=problems.append).subjects == cohort.subjects


def test_two_series_for_one_channel_leave_their_study_out(tmp_path):
    for number, study in ((1, 1), (2, 1), (3, 2)):
        write_series(tmp_path / f"{number}", series=number, study=study, SeriesDescription=f"FLAIR {number}")
    problems = []
    cohort = read_dicom(tmp_path, channels={"FLAIR": "flair*"}, on_problem=problems.append)
    assert len(cohort) == 1
    assert "several series for the channel FLAIR: 'FLAIR 1' (1), 'FLAIR 2' (1)" in str(problems[0])


@pytest.mark.parametrize("lean", [(1.0, 0.0), (-0.7, 0.4), (0.3, -1.2)])
def test_a_tilted_gantry_is_straightened_with_its_mask(tmp_path, lean):
    place = PLACE.copy()
    place[:3, 2] += np.array(lean) @ PLACE[:3, :2].T
    mm = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1) @ place[:3, :3].T + place[:3, 3]
    pixels = np.rint(mm @ [300, -200, 100] + 9000).astype(np.int16)
    inside = np.zeros(SHAPE, np.uint8)
    inside[2:5, 2:4, 1:3] = 1
    write_seg(tmp_path / "seg.dcm", write_series(tmp_path / "scan", pixels, place=place), inside, ["lesion"])
    notes = []
    scan = scan_of(read_dicom(tmp_path, on_note=notes.append))
    assert "straightened" in notes[0]
    assert not is_sheared(scan.affine)
    indices = np.stack(np.meshgrid(*map(np.arange, scan.spatial_shape), indexing="ij"), axis=-1)
    there = (indices @ scan.affine[:3, :3].T + scan.affine[:3, 3]) * [-1, -1, 1]
    source = (there - place[:3, 3]) @ np.linalg.inv(place[:3, :3]).T
    within = ((source >= 0) & (source <= np.array(SHAPE) - 1)).all(axis=-1)
    np.testing.assert_allclose(scan.image[0][within], (there @ [300, -200, 100] + 9000)[within], atol=2)
    assert (scan.image[0][~within] <= pixels.max()).all()
    assert within.sum() >= 0.6 * pixels.size
    assert scan.label.sum() == inside.sum()
    lesion = source[scan.label > 0]
    assert (np.abs(lesion - np.clip(lesion, [2, 2, 1], [4, 3, 2])) <= 0.51).all()


def test_copies_localisers_captures_reports_and_other_files_are_told_and_not_used(tmp_path):
    def localiser(content, _):
        content.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    def mosaic(content, _):
        content.ImageType = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]

    def capture(content, _):
        del content.ImagePositionPatient
        content.SOPClassUID = content.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"

    def colour(content, _):
        content.SamplesPerPixel, content.PhotometricInterpretation = 3, "RGB"

    def flat(content, _):
        del content.PixelSpacing

    write_series(tmp_path / "scan")
    write_series(tmp_path / "copy", order=[1])
    write_series(tmp_path / "loc", series=2, SeriesDescription="3 plane", edit=localiser)
    write_series(tmp_path / "cap", series=3, edit=capture, order=[0])
    write_series(tmp_path / "rgb", series=4, edit=colour, order=[0])
    write_series(tmp_path / "mos", series=6, edit=mosaic, order=[0])
    save(blank("1.2.840.10008.5.1.4.1.1.88.11", 1, series=5), tmp_path / "report")
    write_series(tmp_path / "xray", study=8, order=[0], edit=flat, Modality="CR", SeriesDescription="chest")
    index = blank(DIRECTORY, 1)
    del index.SOPClassUID, index.SeriesInstanceUID, index.StudyInstanceUID
    save(index, tmp_path / "DICOMDIR")
    (tmp_path / "notes.txt").write_text("x")
    notes = []
    cohort = read_dicom(tmp_path, on_note=notes.append)
    assert len(cohort) == 1
    assert sorted(notes) == [
        "not used, a localiser: series '3 plane', 4 of 4 files, such as loc/IM0897",
        "not used, a secondary capture without a place: series 'FLAIR', 1 of 1 files, such as cap/IM0900",
        "not used, in colour: series 'FLAIR', 1 of 1 files, such as rgb/IM0900",
        "not used, mosaics of slices, which dcm2niix converts: series 'FLAIR', 1 of 1 files, such as mos/IM0900",
        "not used, neither images nor masks: 2 files, such as DICOMDIR",
        "not used, no DICOM: 1 files, such as notes.txt",
        "not used, second copies of an object: 1 files, such as scan/IM0899",
        "not used, without PixelSpacing: series 'chest', 1 of 1 files, such as xray/IM0900",
    ]


def test_patients_without_an_id_or_with_one_for_all_are_told(tmp_path):
    for patient in ("", "ANON"):
        notes, folder = [], tmp_path / f"p{patient}"
        for study in (1, 2, 3):
            write_series(folder / f"{study}", study=study, patient=patient)
        cohort = read_dicom(folder, on_note=notes.append)
        assert len(cohort.subjects) == (1 if patient else 3)
        assert "one patient id" in notes[0] if patient else "no patient id" in notes[0]


def test_the_layout_is_recognised_unless_other_images_prevail(tmp_path):
    write_series(tmp_path)
    assert recognised(tmp_path)[0] is Dicom
    for number in range(5):
        (tmp_path / f"{number}.nii.gz").touch()
    assert Dicom.recognise(tmp_path) == ""


def test_the_command_imports_and_its_dry_run_writes_nothing(tmp_path):
    write_series(tmp_path / "in" / "a")
    write_series(tmp_path / "in" / "b", study=2, patient="bert")
    before = sorted(tmp_path.rglob("*"))
    said = typed("import", tmp_path / "in", "--dry-run", "--channel", "T2=flair").stdout
    assert "layout dicom" in said
    assert "2 cases of 2 subjects would be imported" in said
    assert sorted(tmp_path.rglob("*")) == before
    typed("import", tmp_path / "in", tmp_path / "out", "--channel", "T2=flair", "--new-ids", tmp_path / "ids.csv")
    cohort = read_cohort(tmp_path / "out")
    assert all(case.case_id.startswith("case_") for case in cohort)
    np.testing.assert_array_equal(scan_of(cohort).image[0], PIXELS)
