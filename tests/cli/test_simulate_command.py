import numpy as np
import pytest

from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.scan import load_scan
from tests.cli.commands import content, error, typed
from tests.helpers import write_array


def test_a_cohort_is_simulated_and_said_to_be(tmp_path):
    options = ["--n", 3, "--lesion", "stroke", "--contrast", "DWI", "--contrast", "FLAIR", "--healthy", 0.34]
    result = typed("simulate", tmp_path / "a", *options, "--spacing", 5, "--thickness", 8)
    assert "3 simulated cases of 3 subjects" in result.output
    cohort = read_cohort(tmp_path / "a")
    assert cohort.channels == ("DWI", "FLAIR")
    assert [case.annotation.value for case in cohort].count("lesion_free") == 1
    assert {case.origin for case in cohort} == {"simulated"}
    assert load_scan(cohort.cases[0], ["DWI"]).spacing == pytest.approx((5, 5, 8))
    before = content(tmp_path / "a")
    typed("simulate", tmp_path / "a", *options, "--spacing", 5, "--thickness", 8)
    assert content(tmp_path / "a") == before


def test_settings_that_do_not_fit_are_said_in_one_line(tmp_path):
    assert "masks: need label maps" in error("simulate", tmp_path / "a", "--masks", mask_folder(tmp_path))
    assert "spacing: 20.0 does not fit" in error("simulate", tmp_path / "a", "--spacing", 20)
    assert "holds no label map" in error("simulate", tmp_path / "a", "--maps", tmp_path / "nothing")


def mask_folder(tmp_path):
    write_array(tmp_path / "masks" / "one.nii.gz", np.ones((4, 4, 4), np.int16), np.eye(4))
    return tmp_path / "masks"
