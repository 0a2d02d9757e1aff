"""SEG and RTSTRUCT become label maps on the grid of the series that they refer to."""

import numpy as np
import pytest

from lesionforge.cohort.layouts import write_nnunet
from lesionforge.cohort.layouts.dicom import read_dicom
from lesionforge.cohort.scan import load_scan, read_label
from lesionforge.errors import CohortError, ConfigError
from tests.cohort.dicom.files import PIXELS, SHAPE, to_mm, write_contours, write_seg, write_series

LABEL = np.zeros(SHAPE, np.uint8)
LABEL[2:4, 1:3, 1:3], LABEL[5, 4, 2] = 1, 2
NAMES = ["oedema", "core"]
SQUARE = [(1.5, 0.5, 1), (5.5, 0.5, 1), (5.5, 4.5, 1), (1.5, 4.5, 1)]
HOLE = [(2.5, 1.5, 1), (4.5, 1.5, 1), (4.5, 3.5, 1), (2.5, 3.5, 1)]
RING = np.zeros(SHAPE, np.uint8)
RING[2:6, 1:5, 1], RING[3:5, 2:4, 1] = 1, 0


def labelled(folder, **options):
    cohort = read_dicom(folder, **options)
    return read_label(cohort.cases[0].label)[0], cohort


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_segments_are_classes_at_the_place_of_their_frames(tmp_path, kind):
    write_seg(tmp_path / "in" / "seg.dcm", write_series(tmp_path / "in" / "scan"), LABEL, NAMES, kind=kind)
    cohort = write_nnunet(read_dicom(tmp_path / "in"), tmp_path / "out").cohort
    assert cohort.labels == {"background": 0, "oedema": 1, "core": 2}
    np.testing.assert_array_equal(load_scan(cohort.cases[0], cohort.channels).label, LABEL)


def test_classes_are_chosen_and_renumbered_by_name_and_other_segments_are_told(tmp_path):
    write_seg(tmp_path / "seg.dcm", write_series(tmp_path / "scan"), LABEL, NAMES)
    notes = []
    label, cohort = labelled(tmp_path, labels={"background": 0, "Core": 1}, on_note=notes.append)
    np.testing.assert_array_equal(label, LABEL == 2)
    assert cohort.labels == {"background": 0, "Core": 1}
    assert notes == ["not used, segments and contours that are no class: oedema"]
    np.testing.assert_array_equal(labelled(tmp_path, mask="OED*")[0], LABEL == 1)
    np.testing.assert_array_equal(labelled(tmp_path, binary_masks=True)[0], LABEL > 0)
    with pytest.raises(ConfigError, match=r"no segment or contour .* has the name 'necrosis'; they are oedema, core"):
        read_dicom(tmp_path, labels={"background": 0, "necrosis": 1})
    with pytest.raises(ConfigError, match=r"no segment or contour .* has such a name; they are oedema, core"):
        read_dicom(tmp_path, mask="x*")


def test_an_empty_segmentation_says_that_there_is_no_lesion_and_none_that_nobody_knows(tmp_path):
    write_seg(tmp_path / "seg.dcm", write_series(tmp_path / "a"), np.zeros(SHAPE, np.uint8), NAMES)
    write_series(tmp_path / "b", study=2, patient="bert")
    assert {case.annotation.value for case in read_dicom(tmp_path)} == {"lesion_free", "unknown"}


def test_nobody_becomes_lesion_free_beside_a_file_that_cannot_be_read_and_may_be_the_mask(tmp_path):
    write_seg(tmp_path / "a" / "seg.dcm", write_series(tmp_path / "a" / "scan"), LABEL, NAMES)
    write_series(tmp_path / "b", study=2, patient="bert")
    seg, problems = tmp_path / "a" / "seg.dcm", []
    seg.write_bytes(seg.read_bytes()[:300])

    def annotations():
        found = read_dicom(tmp_path, no_mask="lesion_free", on_problem=problems.append)
        return {case.images["MR"].relative_to(tmp_path).parts[0]: case.annotation.value for case in found}

    assert annotations() == {"a": "unknown", "b": "lesion_free"}
    assert [problem.where for problem in problems] == [str(seg)]
    (tmp_path / "other.dcm").write_bytes(seg.read_bytes())
    seg.rename(tmp_path / "seg.dcm")
    assert set(annotations().values()) == {"unknown"}
    assert problems[-1].where == str(tmp_path)


def test_several_files_make_one_map_and_the_higher_class_counts(tmp_path):
    sources = write_series(tmp_path / "scan")
    write_seg(tmp_path / "a.dcm", sources, LABEL, NAMES)
    over = np.zeros(SHAPE, np.uint8)
    over[2:6, 1, 1] = 1
    write_seg(tmp_path / "bb.dcm", sources, over, ["core"])
    label, cohort = labelled(tmp_path)
    assert cohort.labels == {"background": 0, "core": 1, "oedema": 2}
    np.testing.assert_array_equal(label, np.where(LABEL == 1, 2, (LABEL == 2) | (over > 0)))


def test_a_fractional_segmentation_is_a_lesion_only_if_asked(tmp_path):
    soft = np.where(LABEL > 0, 0.4, 0.0).astype(np.float32)
    write_seg(tmp_path / "seg.dcm", write_series(tmp_path / "scan"), soft, ["core"], kind="FRACTIONAL")
    np.testing.assert_array_equal(labelled(tmp_path, binary_masks=True)[0], LABEL > 0)
    with pytest.raises(CohortError, match=r"seg.dcm: holds a fractional segmentation; .*binary_masks"):
        read_dicom(tmp_path)


def test_contours_enclose_the_pixels_whose_centres_are_inside_and_leave_holes(tmp_path):
    source = write_series(tmp_path / "scan")[0]
    write_contours(tmp_path / "rt.dcm", source, {"BODY": [to_mm(SQUARE)], "GTV": [to_mm(SQUARE), to_mm(HOLE)]})
    label, cohort = labelled(tmp_path, mask="gtv")
    np.testing.assert_array_equal(label, RING)
    assert cohort.labels == {"background": 0, "GTV": 1}


def test_masks_go_with_the_series_that_they_refer_to(tmp_path):
    for number in (1, 2):
        sources = write_series(tmp_path / f"{number}", PIXELS, series=number, SeriesDescription=f"CT {number}")
        write_seg(tmp_path / f"{'x' * number}.dcm", sources, LABEL * (number == 1), NAMES)
    for number, lesions in ((1, "lesion"), (2, "lesion_free")):
        (case,) = read_dicom(tmp_path, channels={"CT": f"ct {number}"})
        assert case.annotation.value == lesions


def test_masks_of_a_study_that_is_not_there_are_told(tmp_path):
    sources = write_series(tmp_path / "gone", study=7)
    write_seg(tmp_path / "in" / "seg.dcm", sources, LABEL, NAMES)
    write_series(tmp_path / "in" / "scan")
    problems = []
    assert len(read_dicom(tmp_path / "in", on_problem=problems.append)) == 1
    assert "seg.dcm: refers to a series that is no volume" in str(problems[0])
