"""Options by which training crops and drawings vary: edges, contrast, healthy holes, other scanners."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lesionforge.config import parse_options
from lesionforge.errors import ConfigError
from lesionforge.masks.ellipsoids import Ellipsoids
from lesionforge.preprocessing.lesions.margin import hole_around
from lesionforge.seeding import generator
from lesionforge.synthesizers.diffusion.lesion_diffusion import LesionDiffusionConfig
from lesionforge.synthesizers.registry import load_synthesizer
from lesionforge.synthesizers.translation.conditions import Condition
from lesionforge.synthesizers.translation.cyclegan import CycleGANConfig
from lesionforge.synthesizers.translation.pix2pix import Pix2Pix
from lesionforge.synthesizers.translation.pix2pix_config import Pix2PixConfig
from lesionforge.synthesizers.translation.spade import SpadeConfig
from lesionforge.synthesizers.translation.training_crops import TrainingCrops
from tests.synthesizers.models import (
    ball_mask,
    make_sample,
    read_samples,
    tiny_options,
    tiny_training,
    untrained_pix2pix,
)

DIMS = pytest.mark.parametrize("spatial_dims", [2, 3])
SHAPES = pytest.mark.parametrize("shape", [(41, 37), (33, 30, 29)])
BRIGHT, SMALL = 0.95, Ellipsoids(count=(1, 1), diameter_mm=(5.0, 8.0))
EVERYTHING = {
    "margin_mm": [2, 8],
    "fade_mm": [0.5, 2],
    "lesion_intensity": "quantiles",
    "lesion_contrast": "normal",
    "healthy_holes": 0.5,
    "intensity_variation": True,
    "adversarial": "hinge",
    "spectral_norm": True,
    "num_layers_d": 3,
}


def bright_lesion(shape):
    """A sample whose lesion is brighter than all else."""
    label = ball_mask(shape, [12] * len(shape), 3)
    plain = make_sample(shape, label=label)
    return plain.edited(np.where(label > 0, BRIGHT, plain.image).astype(np.float32), label)


def crops_of(sample, *, masks=None, **options):
    dims = sample.label.ndim
    config = Pix2PixConfig(**tiny_options(dims, condition="inpaint", augment=False, **options))
    condition = Condition(name="inpaint", image_channels=1, classes=(1,), lesion_intensity=config.lesion_intensity)
    return TrainingCrops([sample], config, condition, seed=0, masks=masks)


@DIMS
def test_quantiles_are_shown_in_place_of_the_mean(spatial_dims):
    sample = bright_lesion((24,) * spatial_dims)
    item = crops_of(sample, lesion_intensity="quantiles")[0]
    condition = Condition(name="inpaint", image_channels=1, classes=(1,), lesion_intensity="quantiles")
    assert len(item["condition"]) == condition.in_channels == 7
    shown, lesion = item["condition"][2:5], item["condition"][5] > 0
    expected = np.quantile(item["image"][0][lesion].numpy(), [0.1, 0.5, 0.9])
    assert shown[:, lesion].mean(1).numpy() == pytest.approx(expected, abs=1e-5)
    assert not shown[:, ~lesion].any()
    assert crops_of(sample, lesion_intensity="quantiles").intensities(3).shape == (3, 1, 3)


@SHAPES
def test_a_share_of_the_holes_is_where_no_lesion_is_and_the_mask_is_empty(shape):
    crops = crops_of(bright_lesion(shape), masks=SMALL, healthy_holes=0.3, margin_mm=2.0)
    items = [crops[draw] for draw in range(60)]
    healthy = [item for item in items if not (item["condition"][3] > 0).any()]
    assert 8 < len(healthy) < 30
    for item in healthy:
        assert item["hole"].any()
        assert not (item["image"][item["hole"]] == BRIGHT).any()
        assert not item["condition"][2].any(), "the intensity of no lesion"
        assert (item["condition"][0][item["hole"][0]] == 0).all()
    assert torch.equal(
        crops[7]["condition"],
        crops_of(bright_lesion(shape), masks=SMALL, healthy_holes=0.3, margin_mm=2.0)[7]["condition"],
    )


@DIMS
def test_a_healthy_hole_that_fits_nowhere_leaves_a_crop_with_a_lesion(spatial_dims):
    sample = bright_lesion((24,) * spatial_dims)
    nowhere = replace(sample, region=np.zeros(sample.label.shape, bool))
    crops = crops_of(nowhere, masks=SMALL, healthy_holes=0.9)
    assert all((crops[draw]["condition"][3] > 0).any() for draw in range(6))


@DIMS
def test_the_margin_of_a_training_crop_is_one_of_the_range(spatial_dims):
    sample = bright_lesion((24,) * spatial_dims)
    crops = crops_of(sample, margin_mm=(1.0, 7.0))
    label, spacing = sample.label, sample.spacing
    narrow, wide = (hole_around(label, margin, spacing)[0] for margin in (1.0, 7.0))
    holes = [crops[draw]["hole"][0].numpy() for draw in range(12)]
    assert all(hole[narrow].all() and not hole[~wide].any() for hole in holes)
    assert len({int(hole.sum()) for hole in holes}) > 6


@DIMS
def test_crops_look_like_those_of_other_scanners(spatial_dims):
    sample = bright_lesion((24,) * spatial_dims)
    plain, varied = crops_of(sample), crops_of(sample, intensity_variation=True)
    changes = [varied[draw]["image"] - plain[draw]["image"] for draw in range(8)]
    assert len({round(float(change.mean()), 5) for change in changes}) == 8
    assert all(torch.equal(varied[draw]["hole"], plain[draw]["hole"]) for draw in range(8))
    assert np.array_equal(varied.intensities(4), plain.intensities(4)), "new lesions get the contrasts of real scans"


@DIMS
def test_in_use_the_margin_is_one_of_the_range_and_the_edge_as_soft_as_asked(spatial_dims, cohorts):
    cohort = cohorts[spatial_dims]
    sample = read_samples(cohort)[0]
    mask = ball_mask(sample.label.shape, [n // 2 for n in sample.label.shape], 3)
    model = untrained_pix2pix(cohort, margin_mm=(1.0, 6.0))
    assert model.margin_mm() == 6
    wide, _ = hole_around(mask, 6.0, sample.spacing)
    changed = [(model.synthesize(sample, mask, generator(seed)).image != sample.image).any(0) for seed in range(6)]
    assert all(not one[~wide].any() for one in changed)
    assert len({int(one.sum()) for one in changed}) > 3
    soft, hard = (untrained_pix2pix(cohort, fade_mm=fade).synthesize(sample, mask, generator(0)) for fade in (None, 0))
    rim = hole_around(mask, 6.0, sample.spacing)[0] & ~hole_around(mask, 4.0, sample.spacing)[0]
    change = [np.abs(drawn.image - sample.image)[:, rim].mean() for drawn in (soft, hard)]
    assert change[0] < 0.5 * change[1]
    assert np.array_equal(soft.image[:, mask > 0], hard.image[:, mask > 0])


class Recorder(torch.nn.Module):
    """Draws mid-grey and keeps what it was shown."""

    def forward(self, condition):
        self.shown = condition
        return torch.zeros_like(condition[:, :1])


@DIMS
def test_a_negative_is_drawn_from_the_hole_alone_and_its_label_stays(spatial_dims, cohorts):
    cohort = cohorts[spatial_dims]
    model = untrained_pix2pix(cohort, healthy_holes=0.2, margin_mm=3.0)
    sample = next(sample for sample in read_samples(cohort) if sample.label.any())
    beside = np.roll(sample.label, 1, 0) & ~sample.label
    hole, _ = hole_around(beside, 3.0, sample.spacing)
    hole &= sample.label == 0
    first, again = (model.redraw_healthy(sample, beside, generator(1)) for _ in range(2))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.label, sample.label)
    changed = (first.image != sample.image).any(0)
    assert changed[beside > 0].mean() > 0.9
    assert not changed[~hole].any(), "the lesion that is there stays"
    model.generator = Recorder()
    model.redraw_healthy(sample, beside, generator(1))
    assert not model.generator.shown[:, 2:4].any(), "neither an intensity nor a lesion"
    assert model.generator.shown[:, 1].any()


def test_what_has_not_learnt_to_draw_healthy_tissue_draws_no_negative(cohorts):
    sample = read_samples(cohorts[2])[0]
    with pytest.raises(ConfigError, match="has not learnt to fill holes"):
        untrained_pix2pix(cohorts[2]).redraw_healthy(sample, sample.label, generator(0))


@DIMS
@pytest.mark.slow
def test_all_of_it_trains_is_saved_and_resumed_to_the_same_bytes(spatial_dims, cohorts, tmp_path):
    """With the hinge loss, spectral norm and averaging; shapes of 2D holes are slices, of 3D ones whole lesions."""

    def train(name, steps, **how):
        config = tiny_options(spatial_dims, **EVERYTHING)
        training = tiny_training(steps=steps, checkpoint_minutes=0)
        cohort = cohorts[3]
        return Pix2Pix.fit(cohort, channels=("FLAIR",), config=config, training=training, out=tmp_path / name, **how)

    whole = train("whole", 4)
    train("parts", 2)
    train("parts", 4, resume=True)
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts"))
    assert first == second
    assert all(torch.isfinite(tensor).all() for tensor in whole.generator.state_dict().values())
    sample, loaded = read_samples(cohorts[3], whole.info.preprocessing)[0], load_synthesizer(tmp_path / "whole")
    mask = ball_mask(sample.label.shape, [n // 2 for n in sample.label.shape], 3)
    for draw in ("synthesize", "redraw_healthy"):
        images = [getattr(model, draw)(sample, mask, generator(2)).image for model in (whole, loaded)]
        assert np.array_equal(*images)
        assert not np.array_equal(images[0], sample.image)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"condition": "scan", "margin_mm": [2, 8]}, "a range of margin_mm needs condition=inpaint, not scan"),
        ({"condition": "label", "fade_mm": 1}, "fade_mm needs condition=inpaint"),
        ({"condition": "scan", "healthy_holes": 0.2}, "healthy_holes needs condition=inpaint"),
        ({"condition": "label", "lesion_intensity": "quantiles"}, "needs condition=scan or inpaint, not label"),
        ({"condition": "label", "intensity_variation": True}, "intensity_variation needs condition=scan or inpaint"),
        ({"condition": "label", "lesion_contrast": "normal"}, "lesion_contrast=normal needs"),
        ({"lesion_intensity": False, "lesion_contrast": "normal"}, "no effect without lesion_intensity"),
        ({"margin_mm": -1}, "is no distance"),
        ({"margin_mm": [8, 2]}, "is no distance"),
        ({"fade_mm": [-1, 2]}, "is no distance"),
        ({"healthy_holes": 1}, "less than 1"),
    ],
)
def test_what_has_no_effect_or_no_sense_is_refused_in_one_line(options, what):
    with pytest.raises(ConfigError, match=what) as error:
        parse_options(Pix2PixConfig, options)
    assert "\n" not in str(error.value)


def test_methods_take_what_fits_their_condition():
    for config in (SpadeConfig, CycleGANConfig):
        with pytest.raises(ConfigError, match="needs condition=scan or inpaint"):
            parse_options(config, {"intensity_variation": True})
    of_holes = {name: EVERYTHING[name] for name in list(EVERYTHING)[:6]}
    assert parse_options(LesionDiffusionConfig, of_holes).margin_mm == (2, 8)
    assert parse_options(Pix2PixConfig, {"condition": "scan", "lesion_intensity": "quantiles"}).margin_mm == 6
