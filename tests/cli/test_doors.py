"""Values that are checked at the door: nothing is read or written before."""

import pytest

from tests.cli.commands import error, typed
from tests.helpers import tiny_cohort


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("doors") / "c"
    tiny_cohort(folder, spatial_dims=2, n_subjects=3)
    return folder


@pytest.mark.parametrize("empty", [["--out", ""], ["--out="], ["--out", " "]])
def test_an_empty_path_is_not_the_current_folder(empty, cohort, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = error("train", "copy_paste", cohort, *empty)
    assert said == "error: --out: is empty; give a value, or leave it out"
    assert "an argument" in error("import", "", "new", "--layout", "nnunet")
    assert not list(tmp_path.iterdir())


def test_evaluate_overwrites_nothing(cohort, tmp_path):
    scores = tmp_path / "scores.csv"
    typed("evaluate", cohort / "labelsTr", cohort, "--out", scores)
    before = scores.read_bytes()
    assert "is there already" in error("evaluate", cohort / "labelsTr", cohort, "--out", scores)
    assert scores.read_bytes() == before


@pytest.mark.parametrize(
    "command",
    [
        ["train", "pix2pix", "COHORT", "--out", "o", "--workers", "-1"],
        ["segment", "train", "COHORT", "--out", "o", "--workers", "-1"],
        ["synthesize", "m", "COHORT", "--out", "o", "--workers", "-1"],
        ["benchmark", "first", "--data", "COHORT", "--out", "o", "--workers", "0"],
    ],
)
def test_a_number_of_processes_is_one(command, cohort, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = typed(*[cohort if part == "COHORT" else part for part in command], code=2)
    assert "--workers" in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "named"),
    [
        (["train", "pix2pix", "COHORT", "--out", "o", "--set", "training.time_budget=.nan"], "time_budget"),
        (["train", "pix2pix", "COHORT", "--out", "o", "--set", "lambda_l1=.inf"], "lambda_l1"),
        (["train", "pix2pix", "COHORT", "--out", "o", "--set", "roi_size=[1000000,1000000]"], "roi_size"),
        (["train", "pix2pix", "COHORT", "--out", "o", "--time-budget", "0s"], "--time-budget"),
    ],
)
def test_numbers_that_are_none_are_refused(command, named, cohort, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert named in error(*[cohort if part == "COHORT" else part for part in command])
    assert not list(tmp_path.iterdir())


def test_a_volume_is_a_number(cohort, tmp_path):
    typed("train", "copy_paste", cohort, "--out", tmp_path / "m")
    for value in ("nan", "inf", "-1"):
        command = ["synthesize", tmp_path / "m", cohort, "--out", tmp_path / "o", f"--min-volume={value}"]
        assert "--min-volume" in error(*command)
    assert not (tmp_path / "o").exists()


def test_an_import_that_fails_leaves_nothing_and_works_when_it_is_mended(cohort, tmp_path, monkeypatch):
    from lesionforge.cohort.layouts import nnunet

    new = tmp_path / "new"

    def full(source, target):
        raise OSError(28, "No space left on device", str(target))

    with monkeypatch.context() as patch:
        patch.setattr(nnunet, "save_copy", full)
        said = error("import", cohort, new, "--layout", "nnunet")
    assert "No space left" in said
    assert str(new / "imagesTr") in said
    assert not list(tmp_path.iterdir())
    typed("import", cohort, new, "--layout", "nnunet")
    assert {path.name for path in tmp_path.iterdir()} == {"new"}
