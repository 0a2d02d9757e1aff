"""BIDS: sessions are cases of one subject, suffixes are channels, masks are found by their entities."""

import nibabel as nib
import numpy as np
import pytest

from lesionforge.cohort.layouts import write_nnunet
from lesionforge.cohort.layouts.bids import parse_name, read_bids
from lesionforge.cohort.scan import read_label
from lesionforge.errors import CohortError, ConfigError
from tests.helpers import write_array

IMAGE = np.arange(1, 61).reshape(3, 4, 5)
LESION = (IMAGE > 50).astype(np.uint8)


def put(folder, *names):
    """Write each file where BIDS wants it: ``derivatives/PIPELINE:sub-1_ses-2_T1w`` lies among the derivatives."""
    for name in names:
        place, _, stem = name.rpartition(":")
        sub, *rest = stem.split("_")
        session = [part for part in rest if part.startswith("ses-")]
        mask = stem.endswith(("mask", "msk", "seg", "roi"))
        write_array(folder.joinpath(place, sub, *session, "anat", f"{stem}.nii.gz"), LESION if mask else IMAGE)


def read(folder, **options):
    notes = []
    return read_bids(folder, on_note=notes.append, **options), " ".join(notes)


def files(case):
    return {channel: path.name.removesuffix(".nii.gz") for channel, path in case.images.items()}


def test_names_are_entities_and_a_suffix(tmp_path):
    named = parse_name(tmp_path / "sub-01_ses-pre_run-02_ce-gd_T1w.nii.gz")
    assert named.entities == {"sub": "01", "ses": "pre", "run": "02", "ce": "gd"}
    assert (named.session, named.run, named.channel) == ("sub-01_ses-pre", 2, "T1w ce-gd")
    assert parse_name(tmp_path / "sub-1_dwi.nii").channel == "DWI"
    for other in ("sub-01_T1w.json", "sub-01.nii.gz", "flair.nii.gz", "ses-1_sub-2_T1w.nii.gz", "sub-1_T1_w.nii.gz"):
        assert parse_name(tmp_path / other) is None


def test_sessions_are_cases_of_one_subject_and_suffixes_are_channels(tmp_path):
    for session in ("sub-01_ses-1", "sub-01_ses-2", "sub-02"):
        put(tmp_path, f"{session}_T1w", f"{session}_FLAIR", f"derivatives/lesions:{session}_label-lesion_mask")
    cohort, notes = read(tmp_path)
    assert [(case.case_id, case.subject_id) for case in cohort] == [
        ("sub-01_ses-1", "sub-01"),
        ("sub-01_ses-2", "sub-01"),
        ("sub-02", "sub-02"),
    ]
    assert cohort.channels == ("FLAIR", "T1w")
    assert {case.annotation for case in cohort} == {"lesion"}
    assert not notes


@pytest.mark.parametrize("mask", ["msk", "desc-lesion_mask", "label-tumour_dseg", "label-lesion_roi", "desc-WMH_seg"])
def test_a_lesion_mask_is_known_by_its_entities(tmp_path, mask):
    put(tmp_path, "sub-1_T1w", f"sub-1_{mask}", "derivatives/prep:sub-1_desc-brain_mask", "derivatives/prep:sub-1_dseg")
    cohort, notes = read(tmp_path)
    assert cohort["sub-1"].label.name == f"sub-1_{mask}.nii.gz"
    assert "1 × desc-brain_mask, 1 × dseg" in notes
    with_map, _ = read(tmp_path, anatomy="*_dseg.nii.gz")
    assert with_map["sub-1"].anatomy.name == "sub-1_dseg.nii.gz"


def test_a_brain_mask_is_no_lesion_and_leaves_the_case_unknown(tmp_path):
    put(tmp_path, "sub-1_T1w", "derivatives/prep:sub-1_desc-brain_mask")
    assert [case.annotation for case in read(tmp_path)[0]] == ["unknown"]
    assert [case.annotation for case in read(tmp_path, no_mask="lesion_free")[0]] == ["lesion_free"]
    assert read(tmp_path, mask="*_desc-brain_mask.nii.gz")[0].with_lesions().subjects == ("sub-1",)


def test_images_come_from_the_space_and_the_run_of_the_mask(tmp_path):
    prep = "derivatives/prep:sub-1"
    put(tmp_path, "sub-1_run-1_T1w", "sub-1_run-2_T1w", f"{prep}_run-2_desc-preproc_T1w", f"{prep}_space-MNI_T1w")
    assert files(read(tmp_path)[0]["sub-1"]) == {"T1w": "sub-1_run-1_T1w"}
    put(tmp_path, "derivatives/lesions:sub-1_run-2_label-lesion_mask")
    cohort, notes = read(tmp_path)
    assert files(cohort["sub-1"]) == {"T1w": "sub-1_run-2_T1w"}
    assert "1 × T1w, 1 × desc-preproc_T1w, 1 × space-MNI_T1w" in notes
    put(tmp_path, "derivatives/lesions:sub-1_space-MNI_label-lesion_mask")
    with pytest.raises(CohortError, match="several spaces: its own, MNI"):
        read(tmp_path)
    assert files(read(tmp_path, mask="*_space-MNI_*mask.nii.gz")[0]["sub-1"]) == {"T1w": "sub-1_space-MNI_T1w"}


def test_a_space_that_is_named_after_an_image_is_its_own(tmp_path):
    put(tmp_path, "sub-1_T1w", "sub-1_FLAIR", "derivatives/prep:sub-1_space-T1w_FLAIR")
    put(tmp_path, "derivatives/prep:sub-1_space-T1w_label-lesion_mask")
    assert files(read(tmp_path)[0]["sub-1"]) == {"FLAIR": "sub-1_space-T1w_FLAIR", "T1w": "sub-1_T1w"}


def test_two_files_that_both_fit_are_told_and_the_other_subjects_go_on(tmp_path):
    put(tmp_path, "sub-1_acq-a_T1w", "sub-1_acq-b_T1w", "sub-2_acq-a_T1w")
    problems = []
    assert [case.case_id for case in read(tmp_path, on_problem=problems.append)[0]] == ["sub-2"]
    assert "sub-1_acq-a_T1w.nii.gz, sub-1_acq-b_T1w.nii.gz" in str(problems[0])
    assert len(read(tmp_path, channels={"T1": "*_acq-a_T1w.nii.gz"})[0]) == 2


def put_mask(folder, name, lesion):
    write_array(folder / "derivatives" / "lesions" / "sub-1" / "anat" / f"sub-1_{name}_mask.nii.gz", lesion)


@pytest.mark.parametrize(
    "names", [("label-lesion_desc-a", "label-lesion_desc-b"), ("run-1_desc-lesion", "run-2_desc-lesion")]
)
def test_several_masks_of_a_scan_are_refused_or_merged_where_a_pattern_matches_them(tmp_path, names):
    put(tmp_path, "sub-1_T1w", "sub-2_T1w", "derivatives/lesions:sub-2_label-lesion_mask")
    for name, lesion in zip(names, (IMAGE > 50, IMAGE < 3), strict=True):
        put_mask(tmp_path, name, lesion.astype(np.uint8))
    problems = []
    assert [case.case_id for case in read(tmp_path, on_problem=problems.append)[0]] == ["sub-2"]
    assert f"sub-1: has several lesion masks (sub-1_{names[0]}_mask.nii.gz, sub-1_{names[1]}_mask" in str(problems[0])
    cohort, notes = read(tmp_path, mask="*_mask.nii.gz")
    assert "1 sessions have several masks, which were merged" in notes
    written = write_nnunet(cohort, tmp_path / "out").cohort
    np.testing.assert_array_equal(read_label(written["sub-1"].label)[0], (IMAGE > 50) | (IMAGE < 3))
    assert written.labels == {"background": 0, "lesion": 1}
    assert len(read(tmp_path, mask=f"*_{names[1]}_mask.nii.gz")[0].with_lesions()) == 1


def test_masks_on_two_grids_are_not_merged(tmp_path):
    put(tmp_path, "sub-1_T1w")
    put_mask(tmp_path, "label-lesion", LESION)
    put_mask(tmp_path, "label-lesion_desc-core", LESION[:-1])
    with pytest.raises(
        CohortError, match=r"lesion_mask.nii.gz: lies on another grid than sub-1_label-lesion_desc-core_mask"
    ):
        read(tmp_path, mask="*_mask.nii.gz")


def test_time_series_are_no_channels(tmp_path):
    put(tmp_path, "sub-1_T1w")
    series = tmp_path / "sub-1" / "func" / "sub-1_task-rest_bold.nii.gz"
    series.parent.mkdir()
    nib.save(nib.Nifti1Image(np.ones((3, 4, 5, 2), np.int16), np.eye(4)), series)
    cohort, notes = read(tmp_path)
    assert cohort.channels == ("T1w",)
    assert "1 × task-rest_bold" in notes


@pytest.mark.parametrize("option", [{"mask": "*_none.nii.gz"}, {"channels": {"T1": "*_none.nii.gz"}}])
def test_a_pattern_that_matches_nothing_is_an_error(tmp_path, option):
    put(tmp_path, "sub-1_T1w")
    with pytest.raises(ConfigError, match="no file with a BIDS name"):
        read(tmp_path, no_mask="lesion_free", **option)
