import csv
import json

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from lesionforge.cohort.inspection.checks import check_cohort, check_folder
from lesionforge.cohort.inspection.fingerprint import Fingerprint
from lesionforge.errors import CohortError, OutputError
from tests.helpers import tiny_cohort

both_dims = pytest.mark.parametrize("spatial_dims", [2, 3])


def state(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def change(path, edit, *, affine=None, dtype=None):
    """Write an image again with other values, another affine or another type."""
    if path.suffix == ".png":
        Image.fromarray(edit(np.asarray(Image.open(path)))).save(path)
        return
    image = nib.load(path)
    values = edit(np.asarray(image.dataobj))
    values = values.astype(dtype or values.dtype)
    nib.save(nib.Nifti1Image(values, image.affine if affine is None else affine), path)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def with_brightest(value):
    return lambda values: np.where(values == values.max(), value, values.astype(np.float32))


IMAGE, LABEL = "imagesTr/case_001_0000", "labelsTr/case_001"
FAULTS = {
    "missing": (3, IMAGE, lambda path: path.unlink(), "missing", "restore"),
    "missing_slice": (2, IMAGE, lambda path: path.unlink(), "missing", "restore"),
    "truncated": (3, IMAGE, truncate, "cannot be read", "copy or export"),
    "truncated_slice": (2, IMAGE, truncate, "cannot be read", "copy or export"),
    "truncated_label": (3, LABEL, truncate, "cannot be read", "copy or export"),
    "label_size": (3, LABEL, lambda p: change(p, lambda v: v[:-1]), "has size", "resample"),
    "label_size_slice": (2, LABEL, lambda p: change(p, lambda v: v[:-1]), "has size", "resample"),
    "label_affine": (3, LABEL, lambda p: change(p, lambda v: v, affine=np.diag([-2, 2, 2, 1])), "affine", "resample"),
    "unknown_value": (3, LABEL, lambda p: change(p, lambda v: v * 7), "[7]", "class"),
    "stored_255": (2, LABEL, lambda p: change(p, lambda v: v * 255), "0 and 255", "1, 2"),
    "fractions": (3, LABEL, lambda p: change(p, lambda v: v / 2, dtype=np.float32), "whole numbers", "integers"),
    "nan": (3, IMAGE, lambda p: change(p, with_brightest(np.nan)), "NaN", "replace"),
    "infinite": (3, IMAGE, lambda p: change(p, with_brightest(np.inf)), "infinite", "replace"),
    "zero": (3, IMAGE, lambda p: change(p, lambda v: v * 0), "zero everywhere", "export"),
    "zero_slice": (2, IMAGE, lambda p: change(p, lambda v: v * 0), "zero everywhere", "export"),
    "four_axes": (3, IMAGE, lambda p: change(p, lambda v: np.stack([v, v], -1)), "4 dimensions", "3D file"),
    "colour": (2, IMAGE, lambda p: change(p, lambda v: np.stack([v, v, v // 2], -1)), "colour", "grey of 8 or 16 bits"),
    "lesion_but_empty": (3, LABEL, lambda p: change(p, lambda v: v * 0), "is empty", "lesion_free"),
    "lesion_but_empty_slice": (2, LABEL, lambda p: change(p, lambda v: v * 0), "is empty", "lesion_free"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_with_file_and_remedy_and_the_other_cases_go_on(fault, tmp_path):
    spatial_dims, stem, spoil, what, remedy = FAULTS[fault]
    tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims, n_subjects=3)
    path = tmp_path / "c" / f"{stem}{'.png' if spatial_dims == 2 else '.nii.gz'}"
    spoil(path)
    report = check_folder(tmp_path / "c")
    (problem,) = report.problems
    line = str(problem)
    assert path.name in line
    assert "\n" not in line
    assert what in problem.what
    assert remedy in problem.remedy
    assert [case.case_id for case in report.fingerprint.cases] == ["case_000", "case_002"]


@both_dims
def test_sound_cohort_has_no_finding(spatial_dims, tmp_path):
    tiny_cohort(
        tmp_path,
        spatial_dims=spatial_dims,
        n_subjects=5,
        n_healthy=1,
        n_unknown=1,
        channels=("T1", "FLAIR"),
        missing={"case_000": ["T1"]},
        anatomy=True,
    )
    report = check_folder(tmp_path)
    assert report.findings == ()
    assert len(report.fingerprint.cases) == 5


@both_dims
def test_every_problem_of_a_case_is_reported(spatial_dims, tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=spatial_dims, channels=("T1", "T2", "FLAIR"), anatomy=True)
    case = cohort.cases[2]
    case.images["T1"].unlink()
    change(case.images["FLAIR"], lambda values: values * 0)
    change(case.label, lambda values: values * 3)
    change(case.anatomy, lambda values: values[1:])
    problems = check_folder(tmp_path).problems
    assert {problem.case_id for problem in problems} == {"case_002"}
    expected = [case.images["T1"], case.images["FLAIR"], case.label, case.anatomy]
    assert [problem.where for problem in problems] == [str(path) for path in expected]


@both_dims
def test_lesion_voxels_in_a_lesion_free_case_are_a_problem(spatial_dims, tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=spatial_dims, n_healthy=1)
    change(cohort.cases[-1].label, lambda values: np.ones_like(values))
    (problem,) = check_folder(tmp_path).problems
    assert problem.case_id == "case_003"
    assert "lesion_free" in problem.what


@both_dims
def test_without_a_table_a_bad_label_still_leaves_the_other_cases(spatial_dims, tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=spatial_dims)
    (tmp_path / "cases.csv").unlink()
    change(cohort.cases[0].label, lambda values: values * 255)
    report = check_folder(tmp_path)
    (problem,) = report.problems
    assert problem.where == str(cohort.cases[0].label)
    assert len(report.fingerprint.cases) == 3
    assert report.warnings == ()


@both_dims
def test_files_of_no_case_are_a_warning(spatial_dims, tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=spatial_dims)
    path = cohort.cases[0].images["FLAIR"]
    stray = path.with_name(path.name.replace("case_000_0000", "stray_0000"))
    second_channel = path.with_name(path.name.replace("_0000", "_0001"))
    for copy in (stray, second_channel):
        copy.write_bytes(path.read_bytes())
    report = check_folder(tmp_path)
    (warning,) = report.warnings
    assert stray.name in warning.what
    assert second_channel.name in warning.what
    assert report.problems == ()


def test_mixed_spacings_and_orientations_are_warnings(tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=3)
    for path in (cohort.cases[0].images["FLAIR"], cohort.cases[0].label):
        change(path, lambda values: values, affine=np.diag([-2.0, 2.0, 4.0, 1.0]))
    report = check_folder(tmp_path)
    assert report.problems == ()
    orientations, spacings = (warning.what for warning in report.warnings)
    assert "RAS ×3, LAS ×1" in orientations
    assert "(2 × 2 × 2–4 mm)" in spacings


def test_a_channel_in_two_units_is_a_warning(tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=3, channels=("DWI", "ADC"))
    change(cohort.cases[2].images["ADC"], lambda values: values / 1000, dtype=np.float32)
    report = check_folder(tmp_path)
    assert report.problems == ()
    (warning,) = report.warnings
    assert "ADC" in warning.what
    assert "case_002" in warning.what


def test_duplicate_ids_empty_folders_and_cohorts_are_named(tmp_path):
    cohort = tiny_cohort(tmp_path / "double", spatial_dims=2)
    table = tmp_path / "double" / "cases.csv"
    table.write_text(table.read_text().replace("case_001", "case_000"))
    with pytest.raises(CohortError, match=r"cases\.csv.*case_000.*own id"):
        check_folder(tmp_path / "double")
    tiny_cohort(tmp_path / "empty", spatial_dims=2, n_subjects=1)
    (tmp_path / "empty" / "cases.csv").unlink()
    for file in (tmp_path / "empty" / "imagesTr").iterdir():
        file.unlink()
    with pytest.raises(CohortError, match="no usable case"):
        check_folder(tmp_path / "empty")
    (problem,) = check_cohort(cohort.with_cases([])).problems
    assert "no cases" in str(problem)


@both_dims
def test_report_is_written_and_the_cohort_is_not_touched(spatial_dims, tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims)
    cohort.cases[1].images["FLAIR"].unlink()
    before = state(tmp_path / "c")
    report = check_folder(tmp_path / "c", out=tmp_path / "out")
    assert state(tmp_path / "c") == before
    assert Fingerprint.load(tmp_path / "out" / "fingerprint.json") == report.fingerprint
    assert json.loads((tmp_path / "out" / "fingerprint.json").read_text())["schema_version"] == 1
    with (tmp_path / "out" / "findings.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["severity"], row["case_id"]) for row in rows] == [("problem", "case_001")]
    assert "case_001" in (tmp_path / "out" / "fingerprint.md").read_text()


def test_report_is_refused_inside_the_cohort_and_over_other_files(tmp_path):
    tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=1)
    before = state(tmp_path / "c")
    with pytest.raises(OutputError, match="outside"):
        check_folder(tmp_path / "c", out=tmp_path / "c" / "report")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        check_folder(tmp_path / "c", out=tmp_path / "full")
    assert state(tmp_path / "c") == before


def test_progress_counts_every_case(tmp_path):
    tiny_cohort(tmp_path, spatial_dims=2, n_subjects=2)
    calls = []
    check_folder(tmp_path, progress=lambda *call: calls.append(call))
    assert calls == [(1, 2), (2, 2)]


def copied(source, target):
    target.write_bytes(source.read_bytes())


@both_dims
def test_a_scan_of_two_subjects_is_a_problem_and_of_one_a_warning(spatial_dims, tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=spatial_dims, cases_per_subject=2, n_subjects=3)
    copied(cohort.cases[0].images["FLAIR"], cohort.cases[1].images["FLAIR"])
    copied(cohort.cases[2].images["FLAIR"], cohort.cases[4].images["FLAIR"])
    report = check_folder(tmp_path)
    (problem,), (warning,) = report.problems, report.warnings
    assert str(problem).startswith(
        "case_002 and case_004: hold the same image, but belong to two subjects (sub_01, sub_02)"
    )
    assert str(warning).startswith("case_000 and case_001: hold the same image, which counts twice")


def renamed(folder, names):
    table = folder / "cases.csv"
    text = table.read_text()
    for old, new in names.items():
        text = text.replace(f",{old},", f",{new},")
    table.write_text(text)


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (("p05", "P5", "q1", "q2"), "p05 and P5: read alike, but are different subjects; if they are one person"),
        (("p05", "sub-p05.", "ｐ０５", "q"), "p05 and sub-p05. and ｐ０５: read alike"),
        (
            ("BRATS-7-100", "BRATS-7-101", "BRATS-8-100", "BRATS-8-101"),
            "4 subjects look like visits of 2 people (BRATS-7-100, BRATS-7-101: BRATS-7?); give",
        ),
        (("anna_pre", "anna_post", "bert", "carl"), "2 subjects look like visits of one person (anna_pre, anna_post"),
    ],
)
def test_subjects_that_may_be_one_person_are_a_warning(names, what, tmp_path):
    tiny_cohort(tmp_path, spatial_dims=2)
    renamed(tmp_path, {f"sub_{number:02d}": name for number, name in enumerate(names)})
    report = check_folder(tmp_path)
    (warning,) = report.warnings
    assert what in str(warning)
    assert report.problems == ()


def hounsfield(values):
    return np.where(values < 20, -1000, np.where(values > 120, 1200, values)).astype(np.int16)


def overshoot(values):
    """Return a scan of large numbers with a few negative ones, as interpolation makes them."""
    values = values * 1e4
    values[values == values.max()] = -9000
    return values


DOUBTS = {
    "constant": (lambda v: v * 0 + 7, "T1 is constant (7) in 2 cases (case_001, case_003)"),
    "all below 0": (lambda v: v.astype(np.int16) - 3000, "T1 is nowhere above 0 (-3000 … "),
    "z-scored": (lambda v: np.where(v > 0, v - v[v > 0].mean(), 0), "T1 is below 0 in up to "),
    "Hounsfield": (hounsfield, "T1 is in Hounsfield units, of whose range lesions are a small part (-1000 … 1200)"),
}


@pytest.mark.parametrize("fault", DOUBTS)
def test_intensities_that_training_minds_are_a_warning_that_names_channel_and_cases(fault, tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=3, channels=("FLAIR", "T1"))
    edit, what = DOUBTS[fault]
    for case in (cohort.cases[1], cohort.cases[3]):
        change(case.images["T1"], edit, dtype=np.float32)
    report = check_folder(tmp_path)
    lines = [str(warning) for warning in report.warnings]
    assert any(what in line and "in 2 cases (case_001, case_003); " in line for line in lines), lines
    assert report.problems == ()


def test_ct_without_a_window_is_told_the_option_and_small_undershoot_is_nothing(tmp_path):
    cohort = tiny_cohort(tmp_path / "ct", spatial_dims=3, channels=("CT",))
    for case in cohort:
        change(case.images["CT"], hounsfield)
    (warning,) = check_folder(tmp_path / "ct").warnings
    assert warning.remedy == "import it through a window, such as `window=0,80`"
    for case in tiny_cohort(tmp_path / "overshoot", spatial_dims=3):
        change(case.images["FLAIR"], overshoot, dtype=np.float32)
    assert check_folder(tmp_path / "overshoot").findings == ()
    ripple = -3 * (np.indices((32, 32, 16)).sum(0) % 2)
    for case in tiny_cohort(tmp_path / "mr", spatial_dims=3):
        change(case.images["FLAIR"], lambda values: np.where(values == 0, ripple, values), dtype=np.int16)
    assert check_folder(tmp_path / "mr").findings == ()


@both_dims
def test_labels_named_like_channels_belong_to_no_case_and_leave_everybody_unknown(spatial_dims, tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=spatial_dims)
    (tmp_path / "cases.csv").unlink()
    for case in cohort:
        case.label.rename(case.label.with_name(case.images["FLAIR"].name))
    report = check_folder(tmp_path)
    unknown, unused = report.warnings
    assert "the lesions of all 4 cases are unknown" in unknown.what
    assert unused.where == str(tmp_path / "labelsTr")
    assert "4 files belong to no case" in unused.what
    assert "without _0000" in unused.remedy


def test_slices_stored_as_volumes_are_a_warning(tmp_path):
    for case in tiny_cohort(tmp_path, spatial_dims=3, n_healthy=4):
        for path in (*case.images.values(), case.label):
            change(path, lambda values: values[..., 7:8])
    lines = [warning.what for warning in check_folder(tmp_path).warnings]
    assert "4 cases (case_000, case_001, case_002, …) of one slice, stored as volumes" in lines


@both_dims
def test_names_show_as_they_are_in_the_report(spatial_dims, tmp_path):
    labels = {"background": 0, "<img src=x>": 1, "*core* | edge": 2}
    tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims, channels=("[T1](http://x)", "`T2`"), labels=labels)
    check_folder(tmp_path / "c", out=tmp_path / "report")
    text = (tmp_path / "report" / "fingerprint.md").read_text()
    assert "<img" not in text
    assert "[T1](" not in text
    header, ruler, *rows = (line.replace("\\|", "") for line in text.splitlines() if line.startswith("|"))
    assert {line.count("|") for line in (header, ruler, *rows)} <= {3, 4, 5, 8}
