"""Detection from the command line: train, predict, evaluate."""

import shutil
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest

from lesionforge.cohort.scan import load_scan, save_label
from lesionforge.scores.detections import case_detections, other_axes
from tests.cli.commands import content, error, sets, typed
from tests.tasks.detection.spots import spotted_cohort

SMALL = ["spatial_dims=2", "radii_mm=[1,2,3]", "filters=[4,8]", "patch_mm=8", "training.batch_size=8"]


@pytest.fixture(scope="module")
def spots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spots") / "Dataset001_Spots"
    return folder, spotted_cohort(folder, 2)


@pytest.fixture(scope="module")
def found(spots, tmp_path_factory):
    folder, _ = spots
    out = tmp_path_factory.mktemp("detector")
    typed("detect", "train", folder, "--out", out / "model", "--steps", 60, *sets(SMALL))
    typed("detect", "predict", out / "model", folder, "--out", out / "found")
    return out


def test_detections_are_written_once_and_scored(spots, found, tmp_path):
    folder, cohort = spots
    before = content(found / "found")
    assert sum(name.endswith(".csv") for name in map(str, before)) == len(cohort)
    typed("detect", "predict", found / "model", folder, "--out", found / "found")
    assert content(found / "found") == before
    said = typed("evaluate", found / "found", folder, "--out", tmp_path / "scores.csv").output
    assert "5 of 5 cases scored" in said
    assert "Sensitivity at 10 false positives: " in said
    assert "with 0 mm" in said
    assert "bootstrap samples reach" in said
    assert (tmp_path / "scores.png").is_file()
    assert len(pd.read_csv(tmp_path / "scores.csv")) == len(cohort)


def test_a_missing_or_foreign_file_is_named_and_the_others_are_scored(spots, found, tmp_path):
    folder, cohort = spots
    shutil.copytree(found / "found", tmp_path / "found")
    first, second = (tmp_path / "found" / f"{case.case_id}.csv" for case in cohort.cases[:2])
    first.unlink()
    table = pd.read_csv(second)
    table["x"] += 1000
    table.to_csv(second, index=False)
    said = typed("evaluate", tmp_path / "found", folder, code=1).output
    assert "3 of 5 cases scored" in said
    assert "there are no detections of this case" in said
    assert "detections outside the scan" in said


def test_positions_that_look_like_another_programs_axes_are_told(spots, found, monkeypatch):
    folder, _ = spots
    assert "LPS" not in typed("evaluate", found / "found", folder).output
    monkeypatch.setattr(other_axes, "looks_like_lps", lambda predictions, cohort, given: 0.9)
    said = " ".join(typed("evaluate", found / "found", folder).output.split())
    assert "of the lesions as they are, and 90% with x and y negated: they look like LPS" in said


def test_readers_replace_the_labels(spots, found, tmp_path):
    """One of two readers marks nothing, so there is no lesion for the majority, and all for any."""
    folder, cohort = spots
    for name in ("marks", "blind"):
        (tmp_path / name).mkdir()
    for case in cohort:
        scan = load_scan(case, ["SWI"])
        save_label(tmp_path / "marks" / f"{case.case_id}.png", scan.label, scan.file)
        save_label(tmp_path / "blind" / f"{case.case_id}.png", np.zeros_like(scan.label), scan.file)
    readers = ["--reader", tmp_path / "marks", "--reader", tmp_path / "blind"]
    everybody = typed("evaluate", found / "found", folder, *readers, "--agree", "any").output
    assert "Sensitivity at 10 false positives: " in everybody
    assert "Sensitivity at 10 false positives: " not in typed("evaluate", found / "found", folder, *readers).output


def test_readers_are_for_detections_and_no_figure_is_overwritten(spots, found, tmp_path):
    folder, _ = spots
    said = error("evaluate", folder / "labelsTr", folder, "--reader", tmp_path)
    assert "--reader: is for detections" in said
    (tmp_path / "scores.png").write_text("mine")
    assert "is there already" in error("evaluate", found / "found", folder, "--out", tmp_path / "scores.csv")
    assert (tmp_path / "scores.png").read_text() == "mine"
    assert "name a .csv" in error("evaluate", found / "found", folder, "--out", tmp_path / "other.png")
    assert not (tmp_path / "other.png").exists()


def test_files_without_a_detection_are_scored(spots, tmp_path, monkeypatch):
    """Nothing is found, so no lesion is hit and nothing is false. Every scan is read once for all tolerances."""
    folder, cohort = spots
    read = Mock(side_effect=load_scan)
    monkeypatch.setattr(case_detections, "load_scan", read)
    for case in cohort:
        (tmp_path / f"{case.case_id}.csv").write_text("x,y,z,confidence\n")
    said = typed("evaluate", tmp_path, folder).output
    assert "5 of 5 cases scored" in said
    assert "Sensitivity at 10 false positives: 0.0 points" in said
    assert "0 % of the bootstrap samples reach" in said
    assert [call.args[0].case_id for call in read.call_args_list] == [case.case_id for case in cohort]


def test_a_model_of_another_task_is_refused(found, spots, unet, tmp_path):
    folder, _ = spots
    assert "name a model that `detect train` made" in error("detect", "predict", unet, folder, "--out", tmp_path / "a")
    said = error("segment", "predict", found / "model", folder, "--out", tmp_path / "b")
    assert "name a model that `segment train` made" in said
