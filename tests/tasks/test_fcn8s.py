"""FCN-8s as the network of the segmentation task."""

import numpy as np
import pytest
import torch

from lesionforge.cohort.scan import load_scan
from lesionforge.config import parse_options
from lesionforge.errors import ConfigError, ModelError
from lesionforge.networks.segmentation import fcn8s
from lesionforge.networks.segmentation.fcn8s import FCN8s
from lesionforge.tasks.segmentation.segmentation_config import SegmentationConfig
from lesionforge.tasks.segmentation.segmentation_task import SegmentationTask
from lesionforge.training.loop import TrainingConfig
from tests.helpers import NESTED, tiny_cohort

SMALL = {"network": "fcn8s", "width": 1 / 16, "augment": "none"}


def fit(cohort, out, *, steps=2, pretrained=None, **options):
    return SegmentationTask.fit(
        cohort,
        channels=cohort.channels,
        config=parse_options(SegmentationConfig, SMALL | options),
        training=TrainingConfig(steps=steps, batch_size=2, device="cpu"),
        out=out,
        pretrained=pretrained,
    )


@pytest.mark.parametrize("of_cohort", [2, 3])
def test_slices_of_any_size_and_number_of_channels_and_classes_are_segmented(of_cohort, tmp_path):
    shape = (50, 38, 6)[:of_cohort]
    cohort = tiny_cohort(
        tmp_path / "c",
        spatial_dims=of_cohort,
        n_subjects=2,
        channels=("FLAIR", "T1"),
        labels=NESTED,
        shape=shape,
    )
    task = fit(cohort, tmp_path / "model")
    assert task.info.config["roi_size"] == [64, 64]
    scan = load_scan(cohort.cases[0], cohort.channels)
    found = SegmentationTask.load(tmp_path / "model").predict(scan)
    assert found.shape == shape
    assert np.array_equal(found, task.predict(scan))


def test_a_window_smaller_than_the_slice_slides_over_it(tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=2)
    task = fit(cohort, tmp_path / "model", roi_size=(32, 32))
    seen = []
    task.network.register_forward_pre_hook(lambda network, inputs: seen.append(tuple(inputs[0].shape[2:])))
    assert task.predict(load_scan(cohort.cases[0], cohort.channels)).shape == (64, 64)
    assert set(seen) == {(32, 32)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spatial_dims": 3}, "fcn8s is a network for slices"),
        ({"roi_size": (48, 64)}, "needs 2 sides, each a multiple of 32"),
        ({"weights": "vgg16.pth"}, "weights need network=fcn8s and width=1"),
        ({"weights": "vgg16.pth", "width": 1.0, "network": "stroke"}, "weights need network=fcn8s and width=1"),
        ({"width": 0}, "greater than 0"),
    ],
)
def test_options_that_do_not_fit_are_told_in_one_line(options, message):
    with pytest.raises(ConfigError, match=message) as error:
        parse_options(SegmentationConfig, SMALL | options)
    assert "\n" not in str(error.value)


@pytest.fixture
def published(monkeypatch):
    """Widths that are published, as it were, and yet small."""
    monkeypatch.setattr(fcn8s, "WIDTHS", (2, 2, 2, 2, 2, 4))
    return {"width": 1.0, "learning_rate": 1e-9}


def test_training_begins_with_the_weights_of_a_file_that_prediction_does_not_need(published, tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=2)
    encoder = {k: v for k, v in FCN8s(in_channels=3, out_channels=2).state_dict().items() if k.startswith(("f", "c"))}
    torch.save(encoder, tmp_path / "vgg16.pth")
    options = published | {"weights": str(tmp_path / "vgg16.pth")}
    task = fit(cohort, tmp_path / "model", steps=1, **options)
    for name in ("features.28.weight", "classifier.3.weight"):
        assert torch.allclose(task.network.state_dict()[name], encoder[name], atol=1e-6)
    (tmp_path / "vgg16.pth").unlink()
    loaded, scan = SegmentationTask.load(tmp_path / "model"), load_scan(cohort.cases[0], cohort.channels)
    assert np.array_equal(loaded.predict(scan), task.predict(scan))
    tuned = fit(cohort, tmp_path / "tuned", steps=1, pretrained=loaded, **options)
    assert torch.allclose(tuned.network.features[28].weight, task.network.features[28].weight, atol=1e-6)
    with pytest.raises(ModelError, match=r"vgg16\.pth: there is no such file"):
        fit(cohort, tmp_path / "again", **options)


def test_fine_tuning_keeps_the_width(tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=2)
    task = fit(cohort, tmp_path / "model", width=1 / 32)
    with pytest.raises(ConfigError, match=r"width: is 0\.0625, but 0\.03125 in the pretrained model"):
        fit(cohort, tmp_path / "tuned", pretrained=task)
