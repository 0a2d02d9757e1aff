import sys

import numpy as np
import pytest

from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.scan import read_image
from tests.cli.commands import content, error, typed
from tests.helpers import tiny_cohort, write_array

SMALL = ["--size", "32,40,24", "--drop", 2]


def test_a_cohort_is_aligned_and_the_first_one_stays(volumes, tmp_path):
    before = content(volumes)
    result = typed("align", volumes, tmp_path / "out", *SMALL, "--background", 20)
    assert "3 cases on one grid" in result.output
    for case in read_cohort(tmp_path / "out"):
        for file in case.images.values():
            image, _ = read_image(file)
            assert image.shape == (32, 40, 20)
            assert image[image > 0].min() >= 20
    assert content(volumes) == before
    typed("align", volumes, tmp_path / "again", *SMALL, "--background", 20)
    assert content(tmp_path / "again") == content(tmp_path / "out")


def test_bad_and_poor_cases_are_named(tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=3, n_subjects=3, anatomy=True)
    cohort.cases[0].images["FLAIR"].unlink()
    apart = np.zeros((32, 32, 16), np.uint8)
    apart[2:6, 10:20, 4:12] = apart[26:30, 10:20, 4:12] = 1
    write_array(cohort.cases[1].anatomy, apart, np.diag([2.0, 2, 2, 1]))
    result = typed("align", tmp_path / "c", tmp_path / "out", *SMALL, code=1)
    warning = next(line for line in result.output.splitlines() if line.startswith("warning"))
    assert "below 0.8" in warning
    assert "case_001" in warning
    assert "case_002" not in warning
    assert "1 cases could not be done" in result.output
    assert "the file is missing" in (tmp_path / "out/problems.csv").read_text()


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--size", "128,x,40"], "--size: 'x' is not a whole number"),
        (["--size", "128,128"], "--size: (128, 128) is not the size"),
        (["--drop", 20], "--drop: dropping 20 of 40 slices"),
        (["--background", "dark"], "--background: 'dark' is not an intensity"),
    ],
)
def test_an_option_that_does_not_fit_is_said_in_one_line(volumes, tmp_path, options, what):
    assert what in error("align", volumes, tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_aligned_is_said_in_one_line(volumes, slices, tmp_path, monkeypatch):
    assert "is a cohort of slices" in error("align", slices, tmp_path / "out")
    assert "not empty" in error("align", volumes, slices)
    monkeypatch.setitem(sys.modules, "ants", None)
    missing = error("align", volumes, tmp_path / "out", "--registration", "ants")
    assert "pip install 'lesionforge[registration]'" in missing
    assert not (tmp_path / "out").exists()
