"""Dice on given cases while a network is trained."""

import numpy as np
import pandas as pd
import pytest
import torch

from lesionforge.cohort.scan import load_scan
from lesionforge.scores.predictions.overlap import dice
from lesionforge.tasks.segmentation.pix2pix_segmentation import Pix2PixSegmentation
from lesionforge.tasks.segmentation.segmentation_config import SegmentationConfig
from lesionforge.tasks.segmentation.segmentation_module import SegmentationModule
from lesionforge.tasks.segmentation.segmentation_task import SegmentationTask
from lesionforge.training.loop import TrainingConfig
from lesionforge.training.model_folder import read_tensors
from tests.helpers import tiny_cohort


def fit(cohort, out, spatial_dims, *, steps=7, **options):
    roi_size = {2: (32, 32), 3: (16, 16, 16)}[spatial_dims]
    # with batch norm and dropout, whose state an evaluation could change
    config = SegmentationConfig(
        spatial_dims=spatial_dims, network="stroke", filters=(4, 8), dropout=0.2, roi_size=roi_size, learning_rate=1e-2
    )
    training = TrainingConfig(steps=steps, batch_size=2, epoch_steps=3, device="cpu", preview_minutes=None)
    return SegmentationTask.fit(cohort, channels=cohort.channels, config=config, training=training, out=out, **options)


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    return {
        dims: tiny_cohort(tmp_path_factory.mktemp("c"), spatial_dims=dims, n_subjects=5, n_healthy=1) for dims in (2, 3)
    }


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_the_weights_do_not_depend_on_it(spatial_dims, cohorts, tmp_path):
    cohort = cohorts[spatial_dims]
    fit(cohort, tmp_path / "without", spatial_dims)
    fit(cohort, tmp_path / "with", spatial_dims, watched={"test": cohort}, watch_every=2)
    without, with_it = (read_tensors(tmp_path / name) for name in ("without", "with"))
    assert without.keys() == with_it.keys()
    assert all(torch.equal(without[name], with_it[name]) for name in without)
    losses = [pd.read_csv(tmp_path / name / "metrics.csv")["train/loss"].dropna() for name in ("without", "with")]
    assert losses[0].tolist() == losses[1].tolist()
    assert "dice/test" not in pd.read_csv(tmp_path / "without" / "metrics.csv")


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_points_are_as_far_apart_as_asked_and_the_last_is_that_of_the_result(spatial_dims, cohorts, tmp_path):
    cohort = cohorts[spatial_dims]
    others = tiny_cohort(tmp_path / "others", spatial_dims=spatial_dims, n_subjects=3, seed=5)
    task = fit(cohort, tmp_path / "m", spatial_dims, watched={"training": cohort, "test": others}, watch_every=3)
    log = pd.read_csv(tmp_path / "m" / "metrics.csv").dropna(subset=["dice/test"])
    assert log["step"].tolist() == [2, 5, 6]
    for name, cases in (("training", cohort), ("test", others)):
        scans = [load_scan(case, cases.channels) for case in cases.with_lesions()]
        scores = [dice(task.predict(scan) > 0, scan.label > 0) for scan in scans]
        assert log[f"dice/{name}"].iloc[-1] == pytest.approx(np.mean(scores))


@pytest.mark.parametrize("method", [SegmentationTask, Pix2PixSegmentation])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_steps_are_those_of_the_optimiser(method, accumulate, cohorts, tmp_path):
    options = {"width": 0.1, "num_layers_d": 2} if method is Pix2PixSegmentation else {"network": "stroke"}
    method.fit(
        cohorts[2],
        channels=cohorts[2].channels,
        config=method.Config(spatial_dims=2, filters=(4, 8), roi_size=(24, 24), **options),
        training=TrainingConfig(
            steps=5, batch_size=1, accumulate=accumulate, epoch_steps=3, device="cpu", preview_minutes=None
        ),
        out=tmp_path / "m",
        watched={"test": cohorts[2]},
        watch_every=2,
    )
    log = pd.read_csv(tmp_path / "m" / "metrics.csv").dropna(subset=["dice/test"])
    assert log["step"].tolist() == [1, 3, 4]


def test_a_resumed_run_has_the_same_points(cohorts, tmp_path):
    watched = {"watched": {"test": cohorts[2]}, "watch_every": 2}
    fit(cohorts[2], tmp_path / "whole", 2, **watched)
    folder = tmp_path / "stopped"
    with pytest.MonkeyPatch.context() as patch:
        stop_at_step(patch, 4)
        with pytest.raises(RuntimeError, match="stopped"):
            fit(cohorts[2], folder, 2, **watched)
    fit(cohorts[2], folder, 2, resume=True, **watched)
    points = [
        pd.read_csv(one / "metrics.csv").dropna(subset=["dice/test"])[["step", "dice/test"]].to_numpy()
        for one in (tmp_path / "whole", folder)
    ]
    assert np.array_equal(*points)


def stop_at_step(patch, step):
    go_on = SegmentationModule.training_step

    def training_step(self, *args):
        if self.global_step == step:
            raise RuntimeError("stopped")
        return go_on(self, *args)

    patch.setattr(SegmentationModule, "training_step", training_step)
