"""The figure of channels that belong together."""

import numpy as np
import pytest

from lesionforge.benchmark.arms.arm_jobs import draw_offline, fit_synthesizer
from lesionforge.benchmark.arms.finished import FinishedRun
from lesionforge.benchmark.arms.repeats import make_arms
from lesionforge.benchmark.plan import Plan
from lesionforge.benchmark.report.figures.channels import channel_fit
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.scan import load_scan
from tests.helpers import tiny_cohort, write_array

INJECTION = {"method": "injection", "masks": "bank", "min_volume": 20}


def finished(folder, spatial_dims, channels):
    cohort = tiny_cohort(folder / "cohort", spatial_dims=spatial_dims, n_subjects=8, channels=channels)
    plan = {
        "subjects": {"train": 0.5, "development": 0.25, "test": 0.25, "numbers": [1.0]},
        "task": {"spatial_dims": spatial_dims},
        "seeds": [0],
        "synthesizers": {"fits": INJECTION, "torn": INJECTION},
        "arms": {"real": {}, "fits": {"synthesizer": "fits"}, "torn": {"synthesizer": "torn"}},
        "baseline": "real",
    }
    run = FinishedRun(make_arms(Plan.model_validate(plan), cohort, {}, folder / "run"), 1)
    fit_synthesizer(run.repeat, "fits")
    for name in ("fits", "torn"):
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
    made = channel_fit(run)
    assert made.file == "channel_fit.svg"
    head, _ = made.figure.axes
    assert [label.get_text() for label in head.get_yticklabels()] == ["fits", "torn"]
    real, fits, _, torn = (line.get_xdata()[0] for line in head.lines)
    assert torn > 1.05 * max(fits, real)


def test_one_channel_has_nothing_to_fit(tmp_path):
    assert channel_fit(finished(tmp_path, 2, ("FLAIR",))) is None
