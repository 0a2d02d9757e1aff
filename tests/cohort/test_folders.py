import numpy as np
import pytest

from lesionforge.cohort.layouts import read_cohort, read_folders, write_nnunet
from lesionforge.cohort.scan import load_scan
from lesionforge.errors import CohortError, ConfigError
from tests.helpers import write_array

PATTERNS = {"FLAIR": "flair.nii.gz", "T1": "t1.nii.gz"}
IMAGE = np.arange(1, 61).reshape(3, 4, 5)
LESION = (IMAGE > 50).astype(np.uint8)


def write_patient(folder, *names, mask=None):
    for name in names:
        write_array(folder / name, IMAGE)
    if mask is not None:
        write_array(folder / "lesion.nii.gz", mask)


def test_folders_become_a_cohort(tmp_path):
    folder = tmp_path / "ms"
    write_patient(folder / "p1", "flair.nii.gz", "t1.nii.gz", mask=LESION)
    write_patient(folder / "p2", "flair.nii.gz", mask=LESION * 0)
    write_patient(folder / "p3", "flair.nii.gz", "t1.nii.gz")
    (folder / ".cache").mkdir()
    cohort = read_folders(folder, channels=PATTERNS, mask="lesion.nii.gz")
    assert cohort.name == "ms"
    assert cohort.channels == ("FLAIR", "T1")
    assert [(case.case_id, case.subject_id, case.annotation) for case in cohort] == [
        ("p1", "p1", "lesion"),
        ("p2", "p2", "lesion_free"),
        ("p3", "p3", "unknown"),
    ]
    assert set(cohort["p2"].images) == {"FLAIR"}
    assert read_folders(folder, channels=PATTERNS, mask="lesion.nii.gz", no_mask="lesion_free")["p3"].annotation == (
        "lesion_free"
    )
    report = write_nnunet(cohort, tmp_path / "out", missing="zero_fill")
    np.testing.assert_array_equal(load_scan(report.cohort["p1"], ["T1", "FLAIR"]).label, LESION)
    assert report.filled == ("p2",)
    assert read_cohort(tmp_path / "out").labels == {"background": 0, "lesion": 1}


def test_a_folder_that_holds_the_files_is_one_patient(tmp_path):
    write_patient(tmp_path / "volunteer", "flair.nii.gz", "t1.nii.gz")
    (tmp_path / "volunteer" / "notes").mkdir()
    cohort = read_folders(tmp_path / "volunteer", channels=PATTERNS, no_mask="lesion_free")
    assert [case.case_id for case in cohort] == ["volunteer"]
    assert cohort.healthy() == cohort


def test_patterns_reach_into_sub_folders(tmp_path):
    for patient in ("sub-1", "sub-2"):
        anat = tmp_path / patient / "ses-1" / "anat"
        write_array(anat / f"{patient}_T1w.nii.gz", IMAGE)
        write_array(anat / f"{patient}_label-lesion_mask.nii.gz", LESION)
        write_array(anat / f"{patient}_dseg.nii.gz", LESION)
    cohort = read_folders(
        tmp_path, channels={"T1": "**/*_T1w.nii.gz"}, mask="**/*_mask.nii.gz", anatomy="ses-*/anat/*_dseg.nii.gz"
    )
    assert [case.case_id for case in cohort.with_lesions()] == ["sub-1", "sub-2"]
    np.testing.assert_array_equal(load_scan(cohort["sub-2"], ["T1"]).anatomy, LESION)


def test_bad_patients_are_reported_and_the_others_read(tmp_path):
    write_patient(tmp_path / "good", "flair.nii.gz", "t1.nii.gz", mask=LESION)
    write_patient(tmp_path / "lost", "other.nii.gz")
    write_patient(tmp_path / "white", "flair.nii.gz", "t1.nii.gz", mask=LESION * 255)
    write_patient(tmp_path / "twice", "t1.nii.gz", "flair.nii.gz", "visit2/flair.nii.gz")
    problems = []
    patterns = {"FLAIR": "**/flair.nii.gz", "T1": "t1.nii.gz"}
    cohort = read_folders(tmp_path, channels=patterns, mask="lesion.nii.gz", on_problem=problems.append)
    assert [case.case_id for case in cohort] == ["good"]
    text = "\n".join(map(str, problems))
    assert "lost: no file matches" in text
    assert "twice: 2 files match" in text
    assert "lesion.nii.gz: the mask is stored as 0 and 255" in text
    with pytest.raises(CohortError, match="no file matches"):
        read_folders(tmp_path, channels=patterns, mask="lesion.nii.gz")


def test_masks_of_0_and_255_can_be_imported(tmp_path):
    write_patient(tmp_path / "src" / "p", "flair.nii.gz", mask=LESION * 255)
    cohort = read_folders(tmp_path / "src", channels={"FLAIR": "flair.nii.gz"}, mask="lesion.nii.gz", binary_masks=True)
    report = write_nnunet(cohort, tmp_path / "out", binary_masks=True)
    np.testing.assert_array_equal(load_scan(report.cohort["p"], ["FLAIR"]).label, LESION)


@pytest.mark.parametrize("channels", [{}, {"FLAIR": ""}, {"FLAIR": "/etc/*"}])
def test_patterns_that_cannot_be_used_are_refused(tmp_path, channels):
    with pytest.raises(ConfigError, match=r"flair\.nii\.gz"):
        read_folders(tmp_path, channels=channels)


def test_folders_without_patients_are_refused(tmp_path):
    with pytest.raises(CohortError, match="no folders of patients"):
        read_folders(tmp_path, channels=PATTERNS)
    with pytest.raises(CohortError, match="is not a folder"):
        read_folders(tmp_path / "nowhere", channels=PATTERNS)


def bids(folder, *subjects, masks="", sessions=("1", "2")):
    for subject in subjects:
        for session in sessions:
            name = f"sub-{subject}_ses-{session}"
            write_array(folder / f"sub-{subject}" / f"ses-{session}" / "dwi" / f"{name}_dwi.nii.gz", IMAGE)
            if masks:
                place = folder / masks / f"sub-{subject}" / f"ses-{session}"
                write_array(place / f"{name}_msk.nii.gz", LESION)


@pytest.mark.parametrize("masks", ["derivatives", "derivatives/manual"])
def test_masks_among_the_derivatives_of_a_bids_folder_are_found(masks, tmp_path):
    bids(tmp_path, "01", "02", masks=masks, sessions=("1",))
    problems = []
    cohort = read_folders(
        tmp_path, channels={"DWI": "**/*_dwi.nii.gz"}, mask="**/*_msk.nii.gz", on_problem=problems.append
    )
    assert [case.case_id for case in cohort.with_lesions()] == ["sub-01", "sub-02"]
    assert not problems


@pytest.mark.parametrize("no_mask", ["unknown", "lesion_free"])
@pytest.mark.parametrize("part", ["mask", "anatomy", "T1"])
def test_a_pattern_that_matches_nobody_is_an_error_and_makes_nobody_healthy(part, no_mask, tmp_path):
    for patient in ("p1", "p2"):
        write_patient(tmp_path / patient, "flair.nii.gz", mask=LESION)
    patterns = {"mask": "lesion.nii.gz", "anatomy": None, "T1": None, part: "no_such.nii.gz"}
    channels = {"FLAIR": "flair.nii.gz", **({"T1": patterns["T1"]} if patterns["T1"] else {})}
    with pytest.raises(ConfigError, match=r"'no_such\.nii\.gz': no patient in .* has a file that matches it; correct"):
        read_folders(tmp_path, channels=channels, mask=patterns["mask"], anatomy=patterns["anatomy"], no_mask=no_mask)


def test_a_session_of_a_bids_name_is_of_the_subject(tmp_path):
    for name in ("sub-01_ses-1", "sub-01_ses-2", "sub-02", "p_1"):
        write_patient(tmp_path / name, "flair.nii.gz")
    cohort = read_folders(tmp_path, channels={"FLAIR": "flair.nii.gz"})
    assert {case.case_id: case.subject_id for case in cohort} == {
        "p_1": "p_1",
        "sub-01_ses-1": "sub-01",
        "sub-01_ses-2": "sub-01",
        "sub-02": "sub-02",
    }


@pytest.mark.parametrize("pattern", [r".*-\d+(?=-)", r"(.*-\d+)-\d+"])
def test_a_pattern_finds_the_subject_in_the_name(pattern, tmp_path):
    for name in ("GLI-05-100", "GLI-05-101", "GLI-06-100"):
        write_patient(tmp_path / name, "flair.nii.gz")
    cohort = read_folders(tmp_path, channels={"FLAIR": "flair.nii.gz"}, subject_pattern=pattern)
    assert [case.subject_id for case in cohort] == ["GLI-05", "GLI-05", "GLI-06"]
    assert write_nnunet(cohort, tmp_path / "out").cohort.subjects == ("GLI-05", "GLI-06")
    write_patient(tmp_path / "other", "flair.nii.gz")
    problems = []
    read_folders(tmp_path, channels={"FLAIR": "flair.nii.gz"}, subject_pattern=pattern, on_problem=problems.append)
    assert any("other: the subject pattern" in str(problem) for problem in problems)
    with pytest.raises(ConfigError, match=r"`subject_pattern`: .* is not a regular expression"):
        read_folders(tmp_path, channels={"FLAIR": "flair.nii.gz"}, subject_pattern="(")


def test_values_that_are_not_1_to_k_are_told_of_all_patients_and_of_none_in_particular(tmp_path):
    for number, value in enumerate((1, 4)):
        write_patient(tmp_path / f"p{number}", "flair.nii.gz", mask=LESION * value)
    with pytest.raises(CohortError, match=r"`label=NAME=1` `label=NAME=4`") as caught:
        read_folders(tmp_path, channels={"FLAIR": "flair.nii.gz"}, mask="lesion.nii.gz")
    assert caught.value.where == str(tmp_path)


def test_a_table_of_cases_says_who_is_who_and_tables_of_others_are_passed_over(tmp_path):
    for patient in ("p1", "p2"):
        write_patient(tmp_path / patient, "flair.nii.gz")
    options = {"channels": {"FLAIR": "flair.nii.gz"}}
    (tmp_path / "cases.csv").write_bytes("Patient;Größe\np1;3\n".encode("latin-1"))
    assert read_folders(tmp_path, **options).subjects == ("p1", "p2")
    (tmp_path / "cases.csv").write_text("case_id,subject_id,annotation\np1,anna,lesion_free\np2,anna,\n")
    read = read_folders(tmp_path, **options)
    assert [(case.subject_id, case.annotation) for case in read] == [("anna", "lesion_free"), ("anna", "unknown")]


def test_images_that_no_pattern_matches_are_counted(tmp_path):
    for patient in ("p1", "p2"):
        write_patient(tmp_path / patient, "flair.nii.gz", "more/dwi.nii.gz", "._flair.nii.gz", mask=LESION)
    (tmp_path / "p1" / "notes.txt").write_text("")
    notes = []
    options = {"channels": {"FLAIR": "flair.nii.gz"}, "on_note": notes.append}
    read_folders(tmp_path, mask="lesion.nii.gz", **options)
    assert "no pattern matches: 2 files, such as dwi.nii.gz" in notes.pop()
    read_folders(tmp_path, mask="lesion.nii.gz", anatomy="**/dwi.nii.gz", **options)
    assert notes == []
