"""The command ``export``: what it prints, and what it refuses."""

import json

import pytest

from lesionforge.cohort.layouts import read_cohort
from tests.cli.commands import error, typed
from tests.cohort.export.cohorts import drawn_cohort, real_cohort, splits_of


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("export")
    real = real_cohort(place / "Dataset001_Real", n_unknown=1)
    drawn_cohort(place / "Dataset101_Drawn", real, per_case=2)
    return [place / "Dataset001_Real", place / "Dataset101_Drawn"]


def test_a_mixed_dataset_is_summed_up(folders, tmp_path):
    out = tmp_path / "Dataset201_Mixed"
    result = typed("export", *folders, "--as", "nnunet", "--out", out, "--folds", 2, "--ratio", "2:1", "--seed", 1)
    first, *told, last = result.output.splitlines()
    cohort, folds = read_cohort(out), splits_of(out)
    synthetic = sum(case.derived for case in cohort)
    assert f"{len(cohort)} cases of 6 subjects as nnunet (6 real, {synthetic} synthetic)" in first
    for number, (line, fold) in enumerate(zip(told, folds, strict=True)):
        drawn = sum(cohort[case_id].derived for case_id in fold["train"])
        real = len(fold["train"]) - drawn
        assert (drawn, line) == (
            round(real / 2),
            f"fold {number}: {real} real and {drawn} synthetic cases to train on, {len(fold['val'])} to validate on",
        )
    assert last == "folds: splits_final.json, dataset_0.json, dataset_1.json"


def test_cases_that_no_fold_can_use_are_told(folders, tmp_path):
    real = read_cohort(folders[0])
    drawn_cohort(tmp_path / "all", real.of_subjects(["sub_00"]), parents=real.subjects)
    options = ["--as", "folders", "--folds", 2]
    result = typed("export", folders[0], tmp_path / "all", *options, "--out", tmp_path / "out")
    assert "warning: 1 synthetic cases are in no training set" in result.output
    assert "or ask for --folds 1" in result.output


def test_a_case_that_cannot_be_read_makes_the_exit_code_1(tmp_path):
    real = real_cohort(tmp_path / "real", spatial_dims=3, n_subjects=3)
    real.cases[0].label.write_bytes(b"")
    result = typed("export", tmp_path / "real", "--as", "msd", "--out", tmp_path / "out", "--folds", 2, code=1)
    assert f"1 cases could not be done (also listed in {tmp_path / 'out' / 'problems.csv'})" in result.output
    assert "case_000" in (tmp_path / "out" / "problems.csv").read_text()


@pytest.mark.parametrize("ratio", ["1", "0:1", "1:-1", "a:b", "1:1:1", "1:inf", "nan:1"])
def test_a_ratio_is_two_numbers(folders, tmp_path, ratio):
    message = error("export", *folders, "--as", "folders", "--out", tmp_path / "out", "--ratio", ratio)
    assert message.startswith(f"error: --ratio: '{ratio}' is not a ratio")
    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_is_one_line(folders, tmp_path):
    splits = tmp_path / "splits.json"
    splits.write_text(json.dumps([{"train": ["case_000_s00"], "val": ["case_000"]}]))
    end = ["--out", tmp_path / "out"]
    assert "test subject sub_00" in error("export", *folders, "--as", "folders", *end, "--splits", splits)
    assert "--skull-stripped: does not apply" in error("export", *folders, "--as", "folders", *end, "--skull-stripped")
    assert "--ratio: 1:9 asks for" in error("export", *folders, "--as", "folders", *end, "--folds", 2, "--ratio", "1:9")
    assert "--ratio: there are no synthetic cases" in error(
        "export", folders[0], "--as", "folders", *end, "--ratio", "1:1"
    )
    assert list(tmp_path.iterdir()) == [splits]
