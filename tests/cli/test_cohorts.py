import csv
import re

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from lesionforge.cli import app
from lesionforge.cohort.case import Annotation
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.scan import read_image, read_label
from tests.cli.commands import content, error, typed
from tests.helpers import SHAPES, tiny_cohort, write_array


def test_folders_are_imported(tmp_path):
    for patient, value in (("p1", 1), ("p2", 1), ("p3", 0)):
        label = np.zeros((8, 8, 8), np.uint8)
        label[2:4, 2:4, 2:4] = value
        write_array(tmp_path / "scans" / patient / "flair.nii.gz", np.arange(512.0).reshape(8, 8, 8))
        write_array(tmp_path / "scans" / patient / "lesion.nii.gz", label)
        write_array(tmp_path / "scans" / patient / "tissue.nii.gz", np.ones((8, 8, 8), np.uint8))
    (tmp_path / "scans" / "p4").mkdir()
    write_array(tmp_path / "scans" / "p4" / "flair.nii.gz", np.ones((8, 8, 8)))
    out = tmp_path / "Dataset001_WMH"
    options = ["--layout", "folders", "--channel", "FLAIR=flair.nii.gz", "--mask", "lesion.nii.gz"]
    result = typed("import", tmp_path / "scans", out, *options)
    assert "4 cases of 4 subjects" in result.output
    cohort = read_cohort(out)
    assert cohort.channels == ("FLAIR",)
    states = [case.annotation for case in cohort]
    assert states == [Annotation.LESION, Annotation.LESION, Annotation.LESION_FREE, Annotation.UNKNOWN]
    typed("import", tmp_path / "scans", tmp_path / "free", *options, "--no-mask", "lesion_free")
    assert read_cohort(tmp_path / "free")["p4"].annotation is Annotation.LESION_FREE
    typed("import", tmp_path / "scans", tmp_path / "named", *options, "--label", "stroke=1")
    assert read_cohort(tmp_path / "named").labels == {"background": 0, "stroke": 1}
    typed("import", tmp_path / "scans", tmp_path / "maps", *options, "--anatomy", "tissue.nii.gz")
    for case in read_cohort(tmp_path / "maps"):
        assert (case.anatomy is not None) == (case.case_id != "p4")


def test_slices_with_a_table_are_imported(tmp_path):
    rows = [["slice_id", "subject_id", "image", "mask", "scanner"]]
    for number in range(3):
        image, mask = f"image_{number}.png", f"mask_{number}.png"
        write_array(tmp_path / "scans" / image, np.arange(64.0).reshape(8, 8))
        write_array(tmp_path / "scans" / mask, np.eye(8, dtype=np.uint8))
        rows.append([f"s{number}", f"p{number // 2}", image, mask, "A"])
    table = tmp_path / "scans" / "slices.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    options = ["--layout", "slices", "--channel", "CT", "--keep-column", "scanner"]
    result = typed("import", table, tmp_path / "out", *options)
    assert "3 cases of 2 subjects" in result.output
    cohort = read_cohort(tmp_path / "out")
    assert cohort.channels == ("CT",)
    assert cohort["s0"].extra["scanner"] == "A"


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_nnunet_is_imported_and_missing_channels_are_listed(tmp_path, spatial_dims):
    source = tmp_path / "source"
    cohort = tiny_cohort(
        source, spatial_dims=spatial_dims, n_subjects=3, channels=("FLAIR", "T1"), missing={"case_001": ["T1"]}
    )
    result = typed("import", source, tmp_path / "left", "--layout", "nnunet")
    assert "1 cases lack a channel and were left out" in result.output
    assert [case.case_id for case in read_cohort(tmp_path / "left")] == ["case_000", "case_002"]
    assert "case_001" in (tmp_path / "left" / "missing.csv").read_text()
    result = typed("import", source, tmp_path / "filled", "--layout", "nnunet", "--missing", "zero_fill")
    assert "1 cases lack a channel and were filled with zeros" in result.output
    assert len(read_cohort(tmp_path / "filled")) == len(cohort)


@pytest.mark.parametrize("table", [True, False], ids=["with cases.csv", "without"])
def test_masks_of_0_and_255_are_named_and_can_be_imported(tmp_path, table):
    source = tmp_path / "source"
    for case in tiny_cohort(source, spatial_dims=2, n_subjects=2):
        write_array(case.label, read_label(case.label)[0] * 255)
    if not table:
        (source / "cases.csv").unlink()
    message = error("import", source, tmp_path / "refused", "--layout", "nnunet")
    assert "2 × the mask is stored as 0 and 255 (first: " in message
    assert "case_000.png; store the classes as 1, 2, …, or import it with --binary-masks)" in message
    checked = CliRunner().invoke(app, ["check", str(source)])
    assert checked.exit_code != 0
    assert "the mask is stored as 0 and 255" in checked.output
    typed("import", source, tmp_path / "out", "--layout", "nnunet", "--binary-masks")
    typed("check", tmp_path / "out")
    assert {v for case in read_cohort(tmp_path / "out") for v in np.unique(read_label(case.label)[0])} == {0, 1}


def zoomed(array):
    return np.repeat(array, 2, axis=0)


def save_float(path, change):
    values = nib.load(path).get_fdata()
    nib.save(nib.Nifti1Image(change(values).astype(np.float32), np.diag([2.0, 2, 2, 1])), path)


AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
FAULTS_OF_ALL = {
    "the file is missing": lambda image, label: image.unlink(),
    "cannot be read": lambda image, label: image.write_bytes(image.read_bytes()[:-40]),
    "has size": lambda image, label: write_array(label, zoomed(read_label(label)[0]), AFFINE),
    "holds the label values [3]": lambda image, label: write_array(label, read_label(label)[0] * 3, AFFINE),
    "stored as 0 and 255": lambda image, label: write_array(label, read_label(label)[0] * 255, AFFINE),
    "is zero everywhere": lambda image, label: write_array(image, 0 * read_label(label)[0], AFFINE),
}
FAULTS = {
    2: FAULTS_OF_ALL
    | {
        "is transparent": lambda image, label: Image.new("LA", (64, 64), (9, 99)).save(image),
        "a colour (RGB) PNG": lambda image, label: Image.new("RGB", (64, 64), "red").save(image),
    },
    3: FAULTS_OF_ALL
    | {
        "its affine differs": lambda image, label: write_array(label, read_label(label)[0], np.eye(4)),
        "NaN or infinite": lambda image, label: save_float(image, lambda x: np.where(x > 90, np.nan, x)),
        "infinite intensities": lambda image, label: save_float(image, lambda x: np.where(x > 90, np.inf, x)),
        "has 4 dimensions": lambda image, label: save_float(image, lambda x: np.stack([x, x], -1)),
    },
}


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_every_bad_file_is_named_with_a_remedy_and_the_good_cases_are_done(tmp_path, spatial_dims):
    faults = FAULTS[spatial_dims]
    source = tmp_path / "source"
    cohort = tiny_cohort(source, spatial_dims=spatial_dims, n_subjects=len(faults) + 2)
    bad = dict(zip([case.case_id for case in cohort][1:], faults, strict=False))
    for case_id, what in bad.items():
        faults[what](cohort[case_id].images["FLAIR"], cohort[case_id].label)
    imported = typed("import", source, tmp_path / "out", "--layout", "nnunet", code=1)
    checked = typed("check", source, code=1)
    assert "2 cases of 2 subjects" in imported.output
    assert [case.case_id for case in read_cohort(tmp_path / "out")] == [
        cohort.cases[0].case_id,
        cohort.cases[-1].case_id,
    ]
    listed = (tmp_path / "out" / "problems.csv").read_text().splitlines()[1:]
    assert len(listed) == len(bad)
    for result in (imported.output.splitlines(), checked.output.splitlines(), listed):
        for case_id, what in bad.items():
            (line,) = [line for line in result if f"{case_id}_0000." in line or f"{case_id}." in line]
            assert what in line
            assert line.rstrip().rstrip('"`')[-1].isalnum()
    for line in imported.output.splitlines()[-len(bad) :]:
        assert re.fullmatch(r"  .+: .+; .+", line)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--layout", "folders"], "--channel"),
        (["--layout", "folders", "--channel", "flair.nii.gz"], "NAME=VALUE"),
        (["--layout", "folders", "--channel", "=flair.nii.gz"], "NAME=VALUE"),
        (["--layout", "folders", "--channel", "FLAIR="], "NAME=VALUE"),
        (["--layout", "folders", "--channel", "FLAIR=flair.nii.gz"], "nowhere: is not a folder"),
        (["--layout", "slices", "--channel", "CT", "--channel", "MR"], "slices have one channel"),
        (["--layout", "slices"], "nowhere: the file is missing"),
        (["--layout", "slices", "--label", "lesion=one"], "'one' is not a whole number"),
        (["--layout", "slices", "--mask", "lesion.nii.gz"], "--mask: does not apply to the layout slices"),
        (["--layout", "nnunet"], "nowhere: has no dataset.json"),
        (["--layout", "nnunet", "--channel", "FLAIR=flair.nii.gz"], "--channel: does not apply to"),
        (["--layout", "nnunet", "--no-mask", "lesion_free"], "--no-mask: does not apply to the layout nnunet"),
        (["--layout", "slices", "--subject-pattern", "p"], "--subject-pattern: does not apply to the layout slices"),
        (["--layout", "dicomdir"], "dicomdir: is not a layout; choose from "),
    ],
)
def test_imports_that_cannot_be_done_are_refused(tmp_path, monkeypatch, options, what):
    monkeypatch.chdir(tmp_path)
    assert what in error("import", "nowhere", "out", *options)


def hounsfield_scan(folder, low=-1000.0, high=1500.0):
    """Write air around tissue of 35 HU with a bleed of 65 HU."""
    scan, label = np.full((16, 16, 8), low), np.zeros((16, 16, 8), np.uint8)
    scan[3:13, 3:13, 2:6], scan[5:8, 5:8, 3:5], scan[3, 3:13, 2:6] = 35, 65, high
    label[5:8, 5:8, 3:5] = 1
    write_array(folder / "ct.nii.gz", scan)
    write_array(folder / "mask.nii.gz", label)


def test_ct_in_hounsfield_units_is_clipped_to_a_window(tmp_path):
    hounsfield_scan(tmp_path / "scans" / "p1")
    options = ["--layout", "folders", "--channel", "CT=ct.nii.gz", "--mask", "mask.nii.gz"]
    typed("import", tmp_path / "scans", tmp_path / "out", *options, "--window", "-10,90")
    image, _ = read_image(read_cohort(tmp_path / "out")["p1"].images["CT"])
    assert set(np.unique(image)) == {0, 45, 75, 100}
    source, _ = read_image(tmp_path / "scans" / "p1" / "ct.nii.gz")
    assert source.min() == -1000
    result = typed("import", tmp_path / "scans", tmp_path / "all", *options)
    assert (
        "warning: p1: CT is in Hounsfield units, of whose range lesions are a small part (-1000 … 1500)"
        in result.output
    )


def test_a_window_that_fits_nothing_is_said(tmp_path):
    hounsfield_scan(tmp_path / "scans" / "p1")
    hounsfield_scan(tmp_path / "scans" / "p2", low=0.0, high=3000.0)
    options = ["--layout", "folders", "--channel", "CT=ct.nii.gz", "--mask", "mask.nii.gz"]
    result = typed("import", tmp_path / "scans", tmp_path / "out", *options, "--window", "2000,4000", code=1)
    assert "holds -1000 … 1500, nothing in the window 2000 … 4000" in result.output
    assert [case.case_id for case in read_cohort(tmp_path / "out")] == ["p2"]
    assert not list((tmp_path / "out").rglob("p1*"))
    for window, what in (("80", "is not a window"), ("80,0", "is not above the lower end"), ("a,b", "is not a window")):
        assert what in error("import", tmp_path / "scans", tmp_path / "o", *options, "--window", window)
    other = [*options[:3], "FLAIR=ct.nii.gz"]
    assert "no channel CT" in error("import", tmp_path / "scans", tmp_path / "o", *other, "--window", "0,80")
    assert not (tmp_path / "o").exists()


def test_check_reports_without_writing_into_the_cohort(slices, tmp_path):
    before = content(slices)
    result = typed("check", slices, "--out", tmp_path / "report")
    assert "0 problems" in result.output
    assert "P99.5" in result.output
    assert content(slices) == before
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        "findings.csv",
        "fingerprint.json",
        "fingerprint.md",
    }
    assert "lies in the cohort" in error("check", slices, "--out", slices / "report")
    assert content(slices) == before


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_check_names_every_bad_case_in_one_line_and_fails(tmp_path, spatial_dims):
    cohort = tiny_cohort(tmp_path / "cohort", spatial_dims=spatial_dims, n_subjects=4)
    cohort["case_000"].images["FLAIR"].unlink()
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    write_array(cohort["case_001"].label, read_label(cohort["case_001"].label)[0] * 3, affine)
    write_array(cohort["case_002"].images["FLAIR"], np.zeros(SHAPES[spatial_dims]), affine)
    result = typed("check", tmp_path / "cohort", code=1)
    assert "3 problems" in result.output
    for number, what in enumerate(("the file is missing", "holds the label values [3]", "is zero everywhere")):
        (line,) = [line for line in result.output.splitlines() if f"case_00{number}" in line]
        assert what in line
        assert "; " in line


def test_warnings_alone_do_not_fail_a_check(tmp_path):
    tiny_cohort(tmp_path / "cohort", spatial_dims=2, n_subjects=2)
    write_array(tmp_path / "cohort" / "imagesTr" / "spare_0000.png", np.ones((8, 8)))
    result = typed("check", tmp_path / "cohort")
    assert "0 problems, 1 warnings" in result.output


@pytest.mark.parametrize("cohort", ["slices", "volumes"])
def test_show_draws_a_sheet(cohort, tmp_path, request):
    typed("show", request.getfixturevalue(cohort), "--out", tmp_path / "sheet.png", "--n", 2, "--channels", "FLAIR")
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    typed("show", request.getfixturevalue(cohort), "--out", tmp_path / "one.png", "--n", 1, "--channels", "FLAIR")
    widths = [Image.open(tmp_path / name).width for name in ("one.png", "sheet.png")]
    assert widths[0] < widths[1]


def folders_of(folder, *names, masks=True):
    for number, name in enumerate(names):
        scan = np.random.default_rng(number).integers(1, 100, (8, 8, 4))
        write_array(folder / name / "flair.nii.gz", scan)
        if masks:
            write_array(folder / name / "lesion.nii.gz", (scan > 95).astype(np.uint8))


FLAIR = ["--layout", "folders", "--channel", "FLAIR=flair.nii.gz"]


def test_visits_are_warned_of_and_a_pattern_makes_them_one_subject(tmp_path):
    folders_of(tmp_path / "scans", "GLI-05-100", "GLI-05-101", "GLI-06-100")
    options = [*FLAIR, "--mask", "lesion.nii.gz"]
    result = typed("import", tmp_path / "scans", tmp_path / "a", *options)
    assert "3 cases of 3 subjects" in result.output
    assert "warning: a: 2 subjects look like visits of one person" in result.output
    assert "--subject-pattern" in result.output
    result = typed("import", tmp_path / "scans", tmp_path / "b", *options, "--subject-pattern", r"(GLI-\d+)-\d+")
    assert "3 cases of 2 subjects" in result.output
    assert "warning" not in result.output
    assert typed("check", tmp_path / "b").output.splitlines()[-1] == "0 problems, 0 warnings"


@pytest.mark.parametrize("no_mask", ["unknown", "lesion_free"])
def test_a_mask_pattern_that_matches_nobody_stops_the_import(no_mask, tmp_path):
    folders_of(tmp_path / "scans", "p1", "p2")
    options = [*FLAIR, "--mask", "masks.nii.gz", "--no-mask", no_mask]
    assert "has a file that matches it" in error("import", tmp_path / "scans", tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


def test_a_cohort_of_which_nothing_is_known_says_so(tmp_path):
    folders_of(tmp_path / "scans", "p1", "p2", masks=False)
    result = typed("import", tmp_path / "scans", tmp_path / "out", *FLAIR)
    assert "warning: the lesions of all 2 cases are unknown" in result.output


def test_a_channel_that_is_given_twice_is_refused(tmp_path):
    folders_of(tmp_path / "scans", "p1")
    line = error("import", tmp_path / "scans", tmp_path / "out", *FLAIR, "--channel", "FLAIR=lesion.nii.gz")
    assert "FLAIR is given twice, as flair.nii.gz and as lesion.nii.gz" in line


def test_one_scan_of_two_subjects_fails_the_check(tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=2)
    cohort.cases[0].images["FLAIR"].write_bytes(cohort.cases[1].images["FLAIR"].read_bytes())
    assert "case_000 and case_001: hold the same image" in typed("check", tmp_path, code=1).output
