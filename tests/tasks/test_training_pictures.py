"""Pictures that show what a network in training finds."""

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from torch import nn

from lesionforge.tasks.detection.training_picture import ITEMS
from lesionforge.tasks.detection.training_picture import training_picture as detection_picture
from lesionforge.tasks.segmentation.segmentation_config import SegmentationConfig
from lesionforge.tasks.segmentation.segmentation_task import SegmentationTask
from lesionforge.tasks.segmentation.training_picture import training_picture as segmentation_picture
from lesionforge.training.loop import TrainingConfig
from tests.cli.commands import sets, typed
from tests.helpers import tiny_cohort

BOTH = pytest.mark.parametrize("spatial_dims", [2, 3])


class Bright(nn.Module):
    """Finds a lesion where the image is above 0; in training it finds it everywhere else."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        logits = torch.cat([-x, x], 1) * self.scale
        return -logits if self.training else logits


class Mean(nn.Module):
    """Its logit is the mean of a patch."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return x.flatten(1).mean(1, keepdim=True) * self.scale


def squares(spatial_dims):
    image = -torch.ones((1,) + (16,) * spatial_dims)
    image[(0,) + (slice(4, 9),) * spatial_dims] = 1
    return [{"image": image, "label": (image > 0).long()}] * 4


@BOTH
def test_the_found_lesion_is_outlined_as_the_network_finds_it_in_use(spatial_dims):
    network = Bright().train()
    figure = segmentation_picture(network, squares(spatial_dims))
    assert network.training
    truth, found = figure.axes[:2]
    assert [truth.get_title(), found.get_title()] == ["truth", "found"]
    outlines = [[path.vertices for path in axes.collections[0].get_paths()] for axes in (truth, found)]
    assert all(np.array_equal(*pair) for pair in zip(*outlines, strict=True))


@BOTH
def test_patches_with_and_without_a_lesion_have_a_row_each_and_the_confidence(spatial_dims):
    def item(value):
        return {"image": torch.full((1,) + (6,) * spatial_dims, float(value)), "lesion": torch.tensor([value > 0.0])}

    figure = detection_picture(Mean(), [item(3 if draw % 2 else -3) for draw in range(ITEMS)])
    assert [axes.get_title() for axes in figure.axes] == ["95%"] * 6 + ["5%"] * 6


@BOTH
def test_pictures_leave_the_training_alone(spatial_dims, tmp_path):
    cohort = tiny_cohort(tmp_path / "cohort", spatial_dims=spatial_dims)
    config = SegmentationConfig(spatial_dims=spatial_dims, filters=(4, 8), dropout=0.2)
    weights = []
    for name, minutes in (("with", 0.0), ("without", None)):
        training = TrainingConfig(steps=4, batch_size=2, epoch_steps=2, device="cpu", preview_minutes=minutes)
        out = tmp_path / name
        task = SegmentationTask.fit(cohort, channels=cohort.channels, config=config, training=training, out=out)
        weights.append(task.digest)
    assert weights[0] == weights[1]
    assert len(list((tmp_path / "with" / "previews").iterdir())) == 2
    assert not (tmp_path / "without" / "previews").exists()


def test_the_training_of_a_detector_saves_pictures(tmp_path):
    tiny_cohort(tmp_path / "cohort", spatial_dims=2)
    options = ["patch_mm=12", "radii_mm=[2]", "filters=[2,4]", "training.batch_size=2", "spatial_dims=2"]
    typed("detect", "train", tmp_path / "cohort", "--out", tmp_path / "model", "--steps", "2", *sets(options))
    (picture,) = (tmp_path / "model" / "previews").iterdir()
    assert imread(picture).std() > 0
