"""Every bad input of the catalogue ends as it must: one line, nothing lost, the good cases done."""

import shutil

import pytest
from typer.testing import CliRunner

from lesionforge.cli import app
from tests.cli.commands import content, typed
from tests.cohort.dicom.files import to_mm, write_contours, write_series
from tests.faults.catalogue import CASE, PLAN, WHOLE, bad_inputs
from tests.faults.wrong_dicom import SQUARE
from tests.faults.wrong_files import IMAGE, LESION, save_nifti
from tests.helpers import tiny_cohort

BAD = list(bad_inputs())


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Folders that are good: two cohorts, a model, a plan."""
    folder = tmp_path_factory.mktemp("good")
    tiny_cohort(folder / "slices", spatial_dims=2, n_subjects=3)
    tiny_cohort(folder / "volumes", spatial_dims=3, n_subjects=3, shape=(20, 20, 12))
    typed("train", "copy_paste", folder / "slices", "--out", folder / "model")
    _archives(folder)
    (folder / "plan").mkdir()
    (folder / "plan" / "plan.yaml").write_text(PLAN)
    return folder


def _archives(folder):
    """Write two DICOM studies with a contour, a BIDS session and a case of BraTS."""
    source = write_series(folder / "dicom" / "a")[0]
    write_series(folder / "dicom" / "b", study=2)
    write_contours(folder / "dicom" / "rt", source, {"core": [to_mm(SQUARE)]})
    for name, image, mask in (
        ("bids", "sub-1/anat/sub-1_FLAIR", "sub-1/anat/sub-1_label-lesion_mask"),
        ("brats", "a/a_flair", "a/a_seg"),
    ):
        save_nifti(folder / name / f"{image}.nii.gz", IMAGE)
        save_nifti(folder / name / f"{mask}.nii.gz", LESION)


def test_there_are_enough_and_each_once():
    assert len({str(bad) for bad in BAD}) == len(BAD) >= 100


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_a_bad_input_ends_in_a_line_and_spoils_nothing(bad, good, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changed = tmp_path / bad.start
    shutil.copytree(good / bad.start, changed)
    bad.change(changed)
    paths = {
        "DATA": good / "slices" if bad.start in ("model", "plan") else changed,
        "MODEL": changed if bad.start == "model" else good / "model",
        "PLAN": changed / "plan.yaml",
        "OUT": tmp_path / "out",
    }
    typed_in = [part for word in bad.command for part in [_put_in(word, paths)]]
    before = content(tmp_path)
    result = CliRunner().invoke(app, typed_in)
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == bad.ends, result.output
    assert "Traceback" not in result.output
    assert bad.named in result.output.replace("\n", "")
    after = content(tmp_path)
    assert {path: data for path, data in after.items() if path in before} == before
    if bad.ends == WHOLE:
        assert after == before
        last = result.stderr.strip().splitlines()[-1]
        assert last.startswith(("error: ", "╰")), result.output
    if bad.ends == CASE and "OUT" in bad.command:
        assert (tmp_path / "out" / "model.json").is_file()


def _put_in(word, paths):
    first, slash, rest = word.partition("/")
    return f"{paths[first]}{slash}{rest}" if first in paths else word
