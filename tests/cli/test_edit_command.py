"""The command edit, and named edits in synthesize."""

import numpy as np
import pytest

from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.scan import load_scan
from lesionforge.training.model_folder import save_model
from tests.cli.commands import error, typed
from tests.helpers import tiny_cohort
from tests.synthesizers.models import untrained_pix2pix


def model_in(folder, cohort, condition):
    model = untrained_pix2pix(cohort, condition=condition)
    save_model(folder, model.info, model.tensors())
    return folder


@pytest.fixture
def cohort(tmp_path):
    return tiny_cohort(tmp_path / "in", spatial_dims=2, n_subjects=4, n_healthy=1)


def test_edits_are_written_drawn_and_shown(tmp_path, cohort):
    model = model_in(tmp_path / "model", cohort, "label")
    out = tmp_path / "out"
    result = typed("edit", tmp_path / "in", out, "--edit", "shift", "--edit", "transplant", "--model", model)
    assert "4 cases with edited labels" in result.output
    assert (out / "edits.png").is_file()
    drawn = tmp_path / "drawn"
    typed("synthesize", model, out, "--out", drawn, "--masks", "own", "--blend", "full")
    assert len(read_cohort(drawn)) == 4
    message = error("segment", "train", out, "--out", tmp_path / "unet", "--steps", "1")
    assert "case_000_shift0: its label was edited, but its image does not show that" in message


def test_scans_keep_the_channels_of_the_model_or_those_that_are_named(tmp_path):
    both = tiny_cohort(tmp_path / "in", spatial_dims=2, n_subjects=1, channels=("T1", "FLAIR"))
    model = model_in(tmp_path / "model", both.with_channels(["FLAIR"]), "label")
    edit = ("edit", tmp_path / "in", tmp_path / "out", "--edit", "shift")
    assert "has no channel 'T2'" in error(*edit, "--channel", "T2")
    typed(*edit, "--model", model)
    assert read_cohort(tmp_path / "out").channels == ("FLAIR",)
    typed("edit", tmp_path / "in", tmp_path / "named", "--edit", "shift", "--channel", "T1")
    assert read_cohort(tmp_path / "named").channels == ("T1",)


def test_synthesize_makes_one_named_edit_of_each_scans_own_lesion(tmp_path, cohort):
    model = model_in(tmp_path / "model", cohort, "label")
    masks = ["--masks", "edited", "--mask-set", "edit=shift", "--mask-set", "distance_mm=[3,6]"]
    typed("synthesize", model, tmp_path / "in", "--out", tmp_path / "out", *masks, "--blend", "full")
    drawn = read_cohort(tmp_path / "out")
    assert [case.source_case for case in drawn] == ["case_000", "case_001", "case_002"]
    for case in drawn:
        new, old = (load_scan(one, ("FLAIR",)).label for one in (case, cohort[case.source_case]))
        assert not np.array_equal(new, old)


def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path, cohort):
    model, out = model_in(tmp_path / "model", cohort, "inpaint"), tmp_path / "out"
    assert "draws into the scan" in error("edit", tmp_path / "in", out, "--model", model)
    assert "enlarge" in error("edit", tmp_path / "in", out, "--edit", "blur")
    assert "within 0.6 to 1" in error("edit", tmp_path / "in", out, "--edit", "shrink", "--set", "factor=[0.2,0.4]")
    masks = ["--masks", "edited", "--mask-set", "edit"]
    message = error("synthesize", model, tmp_path / "in", "--out", out, *masks)
    assert "--mask-set: 'edit' is not KEY=VALUE" in message
    assert not out.exists()
