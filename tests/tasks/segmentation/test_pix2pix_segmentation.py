"""pix2pix as a segmenter: its rules, its two losses, and training on brain structures."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.scan import load_scan
from lesionforge.cohort.structures import structures_as_lesions
from lesionforge.errors import ConfigError, ModelError
from lesionforge.files import write_json
from lesionforge.tasks.segmentation.anatomy import segmented_structures
from lesionforge.tasks.segmentation.loading import load_segmentation
from lesionforge.tasks.segmentation.pix2pix_segmentation import (
    Pix2PixSegmentation,
    Pix2PixSegmentationConfig,
    Pix2PixSegmentationModule,
)
from lesionforge.tasks.segmentation.segmentation_config import SegmentationConfig
from lesionforge.tasks.segmentation.segmentation_task import SegmentationTask
from lesionforge.testing import check_task, tiny_cohort
from lesionforge.training.loop import TrainingConfig, fit
from lesionforge.training.rng import torch_seed
from tests.synthesizers.models import fit_library
from tests.training.runs import training

BOTH = pytest.mark.parametrize("spatial_dims", [2, 3])


def small(spatial_dims):
    return {"filters": (4, 8), "width": 0.1, "num_layers_d": 2, "roi_size": (24,) * spatial_dims}


@BOTH
def test_it_keeps_the_rules_of_a_task(spatial_dims):
    check_task("pix2pix_segmentation", spatial_dims=(spatial_dims,), options=small(spatial_dims))


class Told(torch.nn.Module):
    """Returns the logits that it is told."""

    def __init__(self, logits):
        super().__init__()
        self.logits, self.weight = logits, torch.nn.Parameter(torch.zeros(1))

    def forward(self, image):
        return self.logits + self.weight * image.mean()


class Mean(torch.nn.Module):
    """Judges a pair of scan and label map by the mean of the first lesion class."""

    def forward(self, pair):
        return pair[:, 2:3].mean(dim=tuple(range(2, pair.ndim)), keepdim=True)


class Noise(Dataset):
    """Item ``draw`` has an image and a label map of its own."""

    def __init__(self, spatial_dims):
        self.shape = (1, *[24] * spatial_dims)

    def __len__(self):
        return 4

    def __getitem__(self, draw):
        image = torch.rand(self.shape, generator=torch.Generator().manual_seed(draw))
        return {"image": image, "label": (image > 0.5).long()}


@BOTH
def test_two_batches_of_two_make_the_step_of_one_batch_of_four(spatial_dims, tmp_path):
    info = SimpleNamespace(preprocessing=SimpleNamespace(channels=("FLAIR",)), classes=("lesion",))
    config = Pix2PixSegmentationConfig(spatial_dims=spatial_dims, **small(spatial_dims))
    found = []
    for accumulate in (1, 2):
        options = training(steps=1, accumulate=accumulate, batch_size=4 // accumulate)
        with torch_seed(0, "weights"):
            network = (torch.nn.Conv2d, torch.nn.Conv3d)[spatial_dims - 2](1, 2, 1)
        module, gradients = Pix2PixSegmentation.module(network, config, info, options), []
        module.on_before_optimizer_step = lambda optimiser, kept=gradients: kept.extend(
            weight.grad.clone() for group in optimiser.param_groups for weight in group["params"]
        )
        fit(module, Noise(spatial_dims), out=tmp_path / str(accumulate), config=options)
        assert module.batches_per_step == accumulate
        found.append(gradients)
    assert any(gradient.abs().max() > 0.01 for gradient in found[0])
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-5)


@BOTH
def test_the_losses_are_those_of_the_paper(spatial_dims):
    label = torch.zeros(1, 1, *[8] * spatial_dims, dtype=torch.int64)
    label[(0, 0, *[slice(0, 4)] * spatial_dims)] = 1
    share = label.float().mean().item()
    batch = {"image": torch.zeros(1, 1, *[8] * spatial_dims), "label": label}
    undecided = Told(torch.zeros(1, 2, *[8] * spatial_dims))
    config = Pix2PixSegmentationConfig(spatial_dims=spatial_dims, adversarial="lsgan", lambda_l1=100.0)
    module = Pix2PixSegmentationModule(undecided, Mean(), config, seed=0)
    loss, pair, logs = module.generator_loss(batch)
    assert logs["l1"].item() == pytest.approx(0.5)
    assert logs["adversarial"].item() == pytest.approx((0.5 - 1) ** 2)
    assert loss.item() == pytest.approx(0.25 + 100 * 0.5)
    critic, _ = module.critic_loss(batch, pair)
    assert critic.item() == pytest.approx(((share - 1) ** 2 + 0.5**2) / 2)


@BOTH
def test_a_map_that_is_right_costs_only_what_the_critic_says(spatial_dims):
    label = torch.randint(0, 3, (2, 1, *[8] * spatial_dims))
    right = 50.0 * torch.nn.functional.one_hot(label[:, 0], 3).movedim(-1, 1).float()
    config = Pix2PixSegmentationConfig(spatial_dims=spatial_dims)
    module = Pix2PixSegmentationModule(Told(right), Mean(), config, seed=0)
    _, _, logs = module.generator_loss({"image": torch.zeros(2, 1, *[8] * spatial_dims), "label": label})
    assert logs["l1"].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("network", ["unet", "lcgan"])
def test_thick_slices_have_strides_of_their_own(network):
    strides = ((2, 2, 2), (2, 2, 1), (2, 2, 1))
    options = {"network": network, "spatial_dims": 3, "filters": (4, 8, 8), "strides": strides}
    assert Pix2PixSegmentationConfig(**options, roi_size=(32, 32, 26)).divisors == (8, 8, 2)
    with pytest.raises(ValueError, match="each a multiple of 8, 8, 2 in turn and 24 or more"):
        Pix2PixSegmentationConfig(**options, roi_size=(32, 32, 27))
    with pytest.raises(ValueError, match="needs 3 steps of 3 numbers"):
        Pix2PixSegmentationConfig(**{**options, "strides": strides[:2]})


@pytest.mark.parametrize("network", ["segresnet", "stroke", "pseudo_healthy", "fcn8s"])
def test_networks_with_fixed_strides_say_so(network):
    with pytest.raises(ValueError, match=f"those of {network} are fixed"):
        SegmentationConfig(network=network, filters=(8, 16), strides=((2, 2),))


@BOTH
def test_a_network_with_its_strides_keeps_the_size(spatial_dims, cohorts, tmp_path):
    options = {"filters": (4, 8, 8), "res_units": 0, "spatial_dims": spatial_dims}
    strides = ((2,) * spatial_dims, (*[2] * (spatial_dims - 1), 1))
    roi_size = (*[16] * (spatial_dims - 1), 14)
    cohort = cohorts[spatial_dims]
    task = SegmentationTask.fit(
        cohort,
        channels=cohort.channels,
        config=SegmentationConfig(**options, strides=strides, roi_size=roi_size),
        training=TrainingConfig(steps=1, batch_size=2, device="cpu"),
        out=tmp_path / "model",
    )
    assert task.network(torch.zeros(1, 1, *roi_size)).shape == (1, len(cohort.labels), *roi_size)


@BOTH
def test_segresnet_is_trained_and_loaded(spatial_dims, cohorts, tmp_path):
    cohort = cohorts[spatial_dims]
    config = SegmentationConfig(network="segresnet", filters=(8, 16, 32), spatial_dims=spatial_dims)
    training = TrainingConfig(steps=1, batch_size=2, device="cpu")
    options = {"channels": cohort.channels, "config": config, "training": training}
    task = SegmentationTask.fit(cohort, **options, out=tmp_path / "model")
    scan = load_scan(cohort.cases[0], cohort.channels)
    assert np.array_equal(load_segmentation(tmp_path / "model").predict(scan), task.predict(scan))


@pytest.mark.parametrize("filters", [(4, 8), (8, 8), (16, 32, 48)])
def test_the_widths_of_segresnet_double(filters):
    with pytest.raises(ValueError, match="start with a multiple of 8 and double"):
        SegmentationConfig(network="segresnet", filters=filters)


class TestStructures:
    """Networks that segment brain structures."""

    @pytest.fixture
    def folder(self, tmp_path):
        tiny_cohort(tmp_path / "cohort", spatial_dims=2, n_subjects=3, anatomy=True)
        write_json(
            tmp_path / "cohort" / "anatomy.json",
            {"structures": {"left ventricle": 1, "white matter": 2}, "parenchyma": [2]},
        )
        return tmp_path / "cohort"

    def fit(self, folder, out, **options):
        cohort = structures_as_lesions(read_cohort(folder), folder)
        return Pix2PixSegmentation.fit(
            cohort,
            channels=cohort.channels,
            config=Pix2PixSegmentationConfig(**small(2), **options),
            training=TrainingConfig(steps=2, batch_size=2, device="cpu"),
            out=out,
        )

    def test_a_map_is_made_of_what_the_network_was_trained_on(self, folder, tmp_path):
        task = self.fit(folder, tmp_path / "model", mirror=False)
        scan = load_scan(read_cohort(folder).cases[0], ("FLAIR",))
        make, structures = segmented_structures(tmp_path / "model")
        assert structures.names == {"left ventricle": 1, "white matter": 2}
        assert structures.parenchyma == (2,)
        assert np.array_equal(make(scan), task.predict(scan))

    def test_classes_with_a_side_are_not_mirrored(self, folder, tmp_path):
        for options in ({}, {"augment": "affine", "mirror": False}, {"augment": "ct"}):
            with pytest.raises(ConfigError, match="mirrors training items, but 'left ventricle' has a side"):
                self.fit(folder, tmp_path / "model", **options)
        self.fit(folder, tmp_path / "model", augment="elastic")

    def test_the_maps_need_names_and_values_without_gaps(self, folder):
        cohort = read_cohort(folder)
        write_json(folder / "anatomy.json", {"structures": {"rim": 1, "inner": 3}, "parenchyma": [3]})
        with pytest.raises(Exception, match="has the values"):
            structures_as_lesions(cohort, folder)
        (folder / "anatomy.json").unlink()
        with pytest.raises(Exception, match="which names the structures"):
            structures_as_lesions(cohort, folder)


def test_a_model_that_segments_nothing_is_refused(cohorts, tmp_path):
    fit_library("copy_paste", cohorts[2], tmp_path / "model")
    with pytest.raises(ModelError, match="name a model that `segment train` made"):
        load_segmentation(tmp_path / "model")
