"""The diffusion model: its network, its loss, and lesions drawn with it."""

import numpy as np
import pytest
import torch
from monai.networks.utils import pixelshuffle, pixelunshuffle

from lesionforge.cohort.scan import load_scan
from lesionforge.config import parse_options
from lesionforge.errors import ConfigError
from lesionforge.networks.generators.denoiser import Denoiser
from lesionforge.preprocessing.lesions.margin import hole_around
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.seeding import generator
from lesionforge.synthesizers.diffusion.lesion_diffusion import (
    LesionDiffusion,
    LesionDiffusionConfig,
    LesionDiffusionModule,
)
from lesionforge.synthesizers.registry import load_synthesizer
from lesionforge.synthesizers.translation.crop_config import condition_of
from lesionforge.synthesizers.translation.training_crops import TrainingCrops
from lesionforge.training.loop import CHECKPOINT
from lesionforge.training.model_folder import describe, read_tensors
from tests.helpers import NESTED, tiny_cohort
from tests.synthesizers.models import ball_mask, read_samples, tiny_training

BOTH = pytest.mark.parametrize("spatial_dims", [2, 3])
SMALL = {"channels": (4, 8), "sampling_steps": 3, "margin_mm": 3.0}


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    """Two channels and two nested classes, by dimensions."""
    return {
        dims: tiny_cohort(
            tmp_path_factory.mktemp(f"diffusion{dims}"),
            spatial_dims=dims,
            n_subjects=2,
            channels=("FLAIR", "T1"),
            labels=NESTED,
        )
        for dims in (2, 3)
    }


def options(spatial_dims, **changes):
    return LesionDiffusionConfig(**{**SMALL, "spatial_dims": spatial_dims, "roi_size": (16,) * spatial_dims, **changes})


def untrained(cohort, spatial_dims, **changes):
    """A model and its module before training; its last layer is not 0, as it is at first."""
    config = options(spatial_dims, **changes)
    info = describe(
        "lesion_diffusion", config, Preprocessing(spatial_dims=spatial_dims, channels=cohort.channels), cohort
    )
    module = LesionDiffusionModule(config, condition_of(config, info), seed=0)
    draws = torch.Generator().manual_seed(1)
    for weight in module.generator.parameters():
        weight.data += torch.randn(weight.shape, generator=draws) * 0.1
    return LesionDiffusion(info, module.generator, np.full((1, 2, 2), 1.5, np.float32)), module


def batch_of(cohort, model, n=2):
    crops = TrainingCrops(read_samples(cohort), model.config, model.condition, seed=0)
    items = [crops[draw] for draw in range(n)]
    return {key: torch.stack([item[key] for item in items]) for key in items[0]}


@BOTH
def test_pixels_that_became_channels_come_back(spatial_dims):
    image = torch.rand(2, 3, *(8,) * spatial_dims)
    folded = pixelunshuffle(image, spatial_dims, 2)
    assert folded.shape == (2, 3 * 2**spatial_dims, *(4,) * spatial_dims)
    assert torch.equal(pixelshuffle(folded, spatial_dims, 2), image)


@BOTH
def test_the_network_gives_an_image_of_the_size_of_its_input(spatial_dims):
    network = Denoiser(spatial_dims=spatial_dims, in_channels=5, out_channels=2, channels=(4, 8), blocks=1)
    shape = (8, 12, 16)[:spatial_dims]
    shown, told = torch.rand(3, 2, *shape), torch.rand(3, 3, *shape)
    assert network(shown, told, torch.tensor([0.1, 0.5, 1.0])).shape == shown.shape


@BOTH
def test_each_items_loss_is_the_mean_over_its_own_hole(spatial_dims, cohorts):
    """A small hole counts as much as a large one, and nothing beyond holes counts."""
    model, module = untrained(cohorts[spatial_dims], spatial_dims)
    batch = batch_of(cohorts[spatial_dims], model)
    batch["hole"] = torch.zeros_like(batch["hole"])
    batch["hole"][0, 0, 4:12, 4:12] = True
    batch["hole"][1, 0, 7, 7] = True
    module.generator.predicted = lambda told, shown, time: (
        batch["image"] + torch.tensor([0.1, 0.3]).reshape(2, *[1] * (spatial_dims + 1)) + (~batch["hole"]).float()
    )
    assert float(module.loss_of(batch)) == pytest.approx((0.1**2 + 0.3**2) / 2, rel=1e-4)


@BOTH
def test_the_network_is_shown_the_image_with_the_noise_of_its_time(spatial_dims, cohorts):
    """Each item has a time of its own, and the times of many batches cover all of 0 to 1."""
    model, module = untrained(cohorts[spatial_dims], spatial_dims)
    batch = batch_of(cohorts[spatial_dims], model, n=4)
    seen = []
    module.generator.predicted = lambda told, shown, time: seen.append((shown, time)) or shown
    noise = batch["condition"][:, -2:]
    for _ in range(100):
        module.loss_of(batch)
    for shown, time in seen:
        angle = time.reshape(-1, *[1] * (spatial_dims + 1)) * (np.pi / 2)
        assert torch.allclose(shown, angle.cos() * batch["image"] + angle.sin() * noise, atol=1e-5)
    times = torch.stack([time for _, time in seen])
    assert torch.allclose(times * 1000, (times * 1000).round(), atol=1e-3)
    assert times.std(1).min() > 0
    assert times.min() < 0.05
    assert times.max() > 0.95
    assert times.mean() == pytest.approx(0.5, abs=0.06)


@BOTH
def test_a_step_lowers_the_loss_on_its_batch(spatial_dims, cohorts):
    model, _ = untrained(cohorts[spatial_dims], spatial_dims)
    module = LesionDiffusionModule(model.config, model.condition, seed=0)
    batch, optimizer = batch_of(cohorts[spatial_dims], model), module.configure_optimizers()

    def loss():
        torch.manual_seed(0)
        return module.loss_of(batch)

    first = loss()
    first.backward()
    optimizer.step()
    assert loss() < first


@BOTH
def test_the_hole_is_drawn_and_nothing_else(spatial_dims, cohorts):
    cohort = cohorts[spatial_dims]
    model, _ = untrained(cohort, spatial_dims)
    sample = read_samples(cohort)[0]
    mask = ball_mask(sample.label.shape, [n // 2 for n in sample.label.shape], 3)
    images = [model.synthesize(sample, mask, generator(seed)).image for seed in (0, 0, 1)]
    hole, _ = hole_around(mask, model.margin_mm(), sample.spacing)
    assert np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])
    assert np.array_equal(images[0][:, ~hole], sample.image[:, ~hole])
    assert (images[0] != sample.image)[:, mask > 0].mean() > 0.9
    assert np.abs(images[0][:, mask > 0]).max() <= 1


def test_slices_of_a_volume_are_drawn_from_one_noise(cohorts):
    model, _ = untrained(cohorts[3], 2)
    noise = model._noise((8, 8, 5), generator(0))
    assert noise.shape == (2, 8, 8, 5)
    assert (noise == noise[..., :1]).all()


def test_sides_that_the_network_cannot_halve_are_refused():
    with pytest.raises(ConfigError, match=r"roi_size.*multiple"):
        parse_options(LesionDiffusionConfig, {"roi_size": (20, 20)})


@pytest.mark.slow
@BOTH
def test_a_resumed_run_ends_like_one_that_was_not_stopped_and_draws_as_it_did_when_saved(
    spatial_dims, cohorts, tmp_path
):
    cohort = cohorts[spatial_dims]

    def train(name, steps, **how):
        config = {**SMALL, "spatial_dims": spatial_dims, "roi_size": (16,) * spatial_dims, "ema_decay": 0.5}
        training = tiny_training(steps=steps, checkpoint_minutes=0)
        return LesionDiffusion.fit(
            cohort, channels=cohort.channels, config=config, training=training, out=tmp_path / name, **how
        )

    whole = train("whole", 4)
    train("parts", 2)
    assert (tmp_path / "parts" / CHECKPOINT).is_file()
    train("parts", 4, resume=True)
    first, second = (read_tensors(tmp_path / name, with_gaps=LesionDiffusion.with_gaps) for name in ("whole", "parts"))
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name], equal_nan=True) for name in first)
    sample, loaded = read_samples(cohort)[0], load_synthesizer(tmp_path / "whole")
    mask = ball_mask(sample.label.shape, [n // 2 for n in sample.label.shape], 3)
    images = [model.synthesize(sample, mask, generator(2)).image for model in (whole, loaded)]
    assert np.array_equal(*images)
    assert load_scan(cohort.cases[0], cohort.channels).spatial_dims == spatial_dims
