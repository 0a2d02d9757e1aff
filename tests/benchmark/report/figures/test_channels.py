"""The figure of channels that belong together."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lesionforge.benchmark.arms.arm_jobs import draw_offline, fit_synthesizer
from lesionforge.benchmark.arms.finished import FinishedRun
from lesionforge.benchmark.arms.repeats import make_arms
from lesionforge.benchmark.plan import Plan
from lesionforge.benchmark.report import channels
from lesionforge.benchmark.report.channels import (
    measure_channels,
    of_several_channels,
    read_errors,
    summarize_channels,
    write_channels,
)
from lesionforge.benchmark.report.drawn_on_the_fly import DRAWN, drawn_scans
from lesionforge.benchmark.report.figures.channels import channel_fit
from lesionforge.benchmark.report.page import template
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.scan import load_scan
from lesionforge.scores.statistics.intervals import mean_interval
from tests.helpers import tiny_cohort, write_array

INJECTION = {"method": "injection", "masks": "bank", "min_volume": 20}


def finished(folder, spatial_dims, channels, *, use="offline", **synthesizer):
    cohort = tiny_cohort(folder / "cohort", spatial_dims=spatial_dims, n_subjects=8, channels=channels)
    plan = {
        "subjects": {"train": 0.5, "development": 0.25, "test": 0.25, "numbers": [1.0]},
        "task": {"spatial_dims": spatial_dims},
        "seeds": [0],
        "synthesizers": {"fits": INJECTION | synthesizer, "torn": INJECTION | synthesizer},
        "arms": {"real": {}, "fits": {"synthesizer": "fits", "use": use}, "torn": {"synthesizer": "torn", "use": use}},
        "baseline": "real",
    }
    run = FinishedRun(make_arms(Plan.model_validate(plan), cohort, {}, folder / "run"), 1)
    fit_synthesizer(run.repeat, "fits")
    for name in ("fits", "torn") if use == "offline" else ():
        draw_offline(run.repeat, name)
    return run


def tear(cases):
    """Replace the second channel of every case by that of the next one, mirrored."""
    images = [load_scan(case, cases.channels).image[1] for case in cases]
    for case, other in zip(cases, [*images[1:], images[0]], strict=True):
        scan = load_scan(case, cases.channels)
        write_array(case.images[cases.channels[1]], np.flip(other, 0), scan.affine)


@pytest.mark.parametrize("spatial_dims", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_cases_whose_channels_are_of_different_people_lie_far_from_real_ones(spatial_dims, tmp_path):
    run = finished(tmp_path, spatial_dims, ("FLAIR", "T1"))
    tear(read_cohort(run.cohorts["torn"]))
    errors = measure_channels(run)
    made = channel_fit(errors, run)
    assert made.file == "channel_fit.svg"
    head, _ = made.figure.axes
    assert [label.get_text() for label in head.get_yticklabels()] == ["fits", "torn"]
    real, fits, _, torn = (line.get_xdata()[0] for line in head.lines)
    assert torn > 1.05 * max(fits, real)
    rows = write_channels(errors, [*of_several_channels(run.study), "on_the_fly"], tmp_path)
    assert [row["drawn"] == "not measured" for row in rows] == [False] * 4 + [True] * 2
    page = template("report/channels.html.j2").render(channels=rows)
    assert page.count("<tr><td>") == 6
    assert page.count("not measured</td>") == 6
    table = pd.read_csv(tmp_path / "channels.csv").set_index(["synthesizer", "place"])
    one = table.loc[("torn", "head")]
    assert one["drawn"] == pytest.approx(torn)
    assert one["held_out_low"] < one["held_out"] < one["held_out_high"]
    assert one["difference"] == pytest.approx(one["drawn"] - one["held_out"])
    assert one["difference_low"] < one["difference"] < one["difference_high"]
    assert one["difference"] > max(0, table.loc[("fits", "head"), "difference"])
    assert table.loc[("on_the_fly", "head"), "drawn_subjects"] == 0
    assert len(read_errors([tmp_path, tmp_path / "no_fold", tmp_path])) == 2 * len(errors)


@pytest.mark.slow
@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("method", ["injection", "carvemix"])
def test_what_draws_on_the_fly_is_measured_in_development_scans(spatial_dims, method, tmp_path):
    run = finished(tmp_path, spatial_dims, ("FLAIR", "T1"), use="on_the_fly", method=method)
    assert not run.cohorts
    drawn = drawn_scans(run, "fits")
    development = set(run.study.development.subjects)
    assert len(drawn) == DRAWN
    for scan, ancestry in drawn:
        assert scan.case.subject_id in development
        assert set(run.train.subjects) < ancestry
        assert not ancestry & set(run.study.test.subjects)
        assert (load_scan(scan.case, run.study.channels).image != scan.image).any()
    errors = measure_channels(run)
    assert set(errors["subject_id"]) == development
    assert measure_channels(run).equals(errors)
    head, *_ = write_channels(errors, of_several_channels(run.study), tmp_path)
    assert not set(head.values()) & {"not measured"}
    assert channel_fit(errors, run).file == "channel_fit.svg"


def test_a_generator_that_tears_the_channels_apart_on_the_fly_is_seen(tmp_path, monkeypatch):
    run = finished(tmp_path, 2, ("FLAIR", "T1"), use="on_the_fly")
    real = drawn_scans(run, "fits")
    assert len(real) == DRAWN
    assert {scan.case.subject_id for scan, _ in real} == set(run.study.development.subjects)
    torn = [(replace(scan, image=np.stack([scan.image[0], np.flip(scan.image[1], 0)])), who) for scan, who in real]
    monkeypatch.setattr(channels, "drawn_scans", lambda run, name: torn if name == "torn" else real)
    table = summarize_channels(measure_channels(run), ["fits", "torn"]).set_index(["synthesizer", "place"])
    assert set(table["drawn_cases"]) == {DRAWN}, "not the predictions, of which some cases have two"
    fits, apart = (table.loc[(name, "head"), "difference"] for name in ("fits", "torn"))
    assert apart > fits + 0.02


def test_a_subject_counts_once_and_only_subjects_of_both_kinds_are_compared():
    rows = [("gan", True, 3, "a", 1.0), ("gan", True, 3, "a", 3.0), ("gan", True, 3, "b", 4.0)]
    rows += [("gan", True, 3, "new", 9.0), ("gan", False, 2, "a", 1.0), ("gan", False, 2, "b", 1.0)]
    errors = pd.DataFrame(rows, columns=["synthesizer", "drawn", "cases", "subject_id", "head"]).assign(lesion=np.nan)
    head, lesion = summarize_channels(errors, ["gan"]).to_dict("records")
    assert (head["drawn"], head["drawn_subjects"]) == (5.0, 3)
    assert (head["difference"], head["difference_subjects"]) == (2.0, 2)
    assert (head["difference_low"], head["difference_high"]) == pytest.approx(
        (mean_interval([1, 3]).low, mean_interval([1, 3]).high)
    )
    assert lesion["drawn_subjects"] == 0
    assert (head["drawn_cases"], head["held_out_cases"]) == (3, 2)
    folds = pd.concat([errors.assign(fold=name) for name in ("fold_0", "fold_1")])
    assert summarize_channels(folds, ["gan"])["drawn_cases"].tolist() == [6, 6]


def test_one_channel_has_nothing_to_fit(tmp_path):
    run = finished(tmp_path, 2, ("FLAIR",))
    errors = measure_channels(run)
    assert channel_fit(errors, run) is None
    assert write_channels(errors, of_several_channels(run.study), tmp_path / "none") == []
    assert not (tmp_path / "none").exists()
    (head, _) = write_channels(errors, ["on_the_fly"], tmp_path)
    assert set(head.values()) == {"on_the_fly", "head without lesions", "not measured"}
