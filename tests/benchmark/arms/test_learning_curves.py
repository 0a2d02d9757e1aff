"""A plan that has Dice logged while its arms are trained."""

import pandas as pd
import pytest

from lesionforge.benchmark.arms.arm_jobs import train
from lesionforge.benchmark.arms.control import Length, Lengths
from lesionforge.benchmark.arms.repeats import make_arms
from lesionforge.benchmark.plan import Plan
from lesionforge.benchmark.report.method_notes import method_notes
from lesionforge.training.model_folder import read_tensors
from tests.helpers import tiny_cohort

PLAN = {
    "subjects": {"train": 0.5, "development": 0.25, "test": 0.25, "numbers": [1.0]},
    "training": {"steps": 4, "batch_size": 2, "device": "cpu", "preview_minutes": None},
    "arms": {"real": {"augment": "none"}},
    "baseline": "real",
}


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_every_arm_is_scored_on_its_training_and_on_the_test_cases_and_trained_alike(spatial_dims, tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims, n_subjects=4)
    roi_size = [32, 32] if spatial_dims == 2 else [16, 16, 16]
    task = {"spatial_dims": spatial_dims, "filters": [4, 8], "res_units": 0, "roi_size": roi_size}
    logs, weights, notes = {}, {}, {}
    for every in (None, 2):
        plan = Plan.model_validate({**PLAN, "task": task, "learning_curves": every})
        training = make_arms(plan, cohort, {}, tmp_path / str(every)).repeat(1.0, 0).training("real", 4)
        train(training)
        notes[every] = method_notes(training.study, Lengths(of={1.0: Length(steps=4)}))["Test subjects"]
        logs[every], weights[every] = pd.read_csv(training.folder / "metrics.csv"), read_tensors(training.folder)
    assert notes[None].endswith("never trained on, scored once")
    assert notes[2].endswith("scored at the end, and every 2 steps for the learning curves, which decide nothing")
    assert not set(logs[None]) & {"dice/training", "dice/test"}
    points = logs[2].dropna(subset=["dice/training", "dice/test"])
    assert points["step"].tolist() == [1, 3]
    assert points[["dice/training", "dice/test"]].stack().between(0, 1).all()
    assert all((weights[None][name] == weights[2][name]).all() for name in weights[None])
