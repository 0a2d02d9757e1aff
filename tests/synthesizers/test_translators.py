"""SPADE and CycleGAN, and pix2pix with the residual generator: whole images from label maps."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lesionforge.cohort.inspection.fingerprint import fingerprint
from lesionforge.errors import ConfigError
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.seeding import generator
from lesionforge.synthesizers.registry import SYNTHESIZERS, load_synthesizer
from lesionforge.synthesizers.translation.conditions import Condition
from lesionforge.synthesizers.translation.cyclegan import CycleGAN, CycleGANConfig, CycleGANModule, Unpaired
from lesionforge.synthesizers.translation.pix2pix import Pix2Pix
from lesionforge.synthesizers.translation.pix2pix_config import Pix2PixConfig
from lesionforge.synthesizers.translation.spade import SpadeConfig
from lesionforge.synthesizers.translation.training_crops import TrainingCrops
from lesionforge.training.items.samples import cached_samples, training_size
from lesionforge.training.rng import torch_seed
from tests.helpers import NESTED, tiny_cohort
from tests.synthesizers.models import ball_mask, make_sample, read_samples, tiny_options, tiny_training

BOTH = pytest.mark.parametrize("spatial_dims", [2, 3])
TRANSLATORS = {
    "spade": {"channels": (8, 4, 4), "latent": 16},
    "cyclegan": {},
    "pix2pix": {"condition": "label", "network": "resnet"},
}
UNPAIRED = Condition(name="label", image_channels=1, classes=(1,), noise_channels=0)
EACH = pytest.mark.parametrize("method", TRANSLATORS)


@pytest.fixture(scope="module")
def anatomies(tmp_path_factory):
    """Cohorts with anatomy maps, nested lesions and lesion-free cases."""
    return {
        dims: tiny_cohort(
            tmp_path_factory.mktemp(f"anatomy{dims}"),
            spatial_dims=dims,
            n_subjects=5,
            n_healthy=2,
            labels=NESTED,
            anatomy=True,
        )
        for dims in (2, 3)
    }


def train(method, cohort, out, spatial_dims, *, steps=2, **options):
    return SYNTHESIZERS[method].fit(
        cohort,
        channels=cohort.channels,
        config=tiny_options(spatial_dims, **{**TRANSLATORS[method], **options}),
        training=tiny_training(steps=steps),
        out=out,
    )


@EACH
@BOTH
def test_a_saved_model_draws_the_same_image(method, spatial_dims, anatomies, tmp_path):
    cohort = anatomies[spatial_dims]
    model = train(method, cohort, tmp_path / "model", spatial_dims)
    loaded = load_synthesizer(tmp_path / "model")
    assert loaded.info == model.info
    assert loaded.draws_whole_image
    sample = read_samples(cohort, model.info.preprocessing)[4]
    mask = ball_mask(sample.label.shape, [n // 2 for n in sample.label.shape], 3)
    first, second = (m.synthesize(sample, mask, generator(3)) for m in (model, loaded))
    assert first.image.tobytes() == second.image.tobytes()
    assert first.image.shape == sample.image.shape
    assert np.isfinite(first.image).all()
    assert np.array_equal(first.label, mask)


@EACH
def test_lesion_free_cases_are_trained_on_too(method, anatomies, tmp_path):
    model = train(method, anatomies[2], tmp_path / "model", 2)
    assert len(model.info.training_cases) == 5
    assert model.info.anatomy == (0, 1, 2)
    assert len(train("pix2pix", anatomies[2], tmp_path / "other", 2, condition="inpaint").info.training_cases) == 3


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@BOTH
def test_a_share_of_the_training_crops_shows_a_lesion(share, spatial_dims):
    shape = (24,) * spatial_dims
    lesion = make_sample(shape, label=ball_mask(shape, [12] * spatial_dims, 4))
    config = Pix2PixConfig(**tiny_options(spatial_dims, condition="label", lesion_share=share))
    condition = Condition(name="label", image_channels=1, classes=(1,))
    crops = TrainingCrops([lesion, make_sample(shape)], config, condition, seed=0)
    shown = np.mean([bool((crops[draw]["condition"][1] > 0).any()) for draw in range(60)])
    assert shown == pytest.approx(share, abs=0.2 if share == 0.5 else 0)
    inpaint = config.model_copy(update={"condition": "inpaint"})
    only = TrainingCrops([lesion, make_sample(shape)], inpaint, condition, seed=0)
    assert all(bool(only[draw]["hole"].any()) for draw in range(10))


def test_label_maps_are_learnt_from_whole_slices(anatomies):
    cohort = anatomies[2]
    samples = cached_samples(cohort, Preprocessing(spatial_dims=2, channels=cohort.channels))
    options = tiny_options(2, roi_size=None)
    facts = fingerprint(cohort, cohort.channels)
    assert training_size(facts, samples, Pix2PixConfig(**options, condition="label")) == (64, 64)
    assert training_size(facts, samples, Pix2PixConfig(**options, condition="inpaint")) < (64, 64)


@BOTH
def test_spade_draws_another_image_with_another_latent_vector(spatial_dims, anatomies, tmp_path):
    cohort = anatomies[spatial_dims]
    model = train("spade", cohort, tmp_path / "model", spatial_dims)
    for weight in model.generator.parameters():
        weight.data.normal_(0, 0.3, generator=torch.Generator().manual_seed(int(weight.numel())))
    sample = read_samples(cohort, model.info.preprocessing)[0]
    mask = ball_mask(sample.label.shape, [n // 2 for n in sample.label.shape], 3)
    drawn = [model.synthesize(sample, mask, generator(seed)).image for seed in (1, 1, 2)]
    assert np.array_equal(drawn[0], drawn[1])
    assert np.abs(drawn[0] - drawn[2]).mean() > 1e-3


def test_all_slices_of_a_volume_share_the_latent_vector(anatomies, tmp_path):
    cohort = anatomies[3]
    model = train("spade", cohort, tmp_path / "model", 2, roi_size=(32, 32))
    sample = read_samples(cohort, model.info.preprocessing)[0]
    flat = sample.edited(sample.image, np.zeros_like(sample.label))
    same = np.repeat(flat.anatomy[..., 8:9], flat.anatomy.shape[-1], axis=-1)
    flat = replace(flat, anatomy=same)
    drawn = model.synthesize(flat, np.zeros_like(flat.label), generator(0)).image
    assert np.allclose(drawn, drawn[..., :1], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"condition": "inpaint"}, "condition"),
        ({"noise_channels": 2}, "noise_channels"),
        ({"roi_size": (24, 24), "latent": 600}, "fewer voxels than the 600 of latent"),
        ({"network": "unet"}, "network"),
    ],
)
def test_what_spade_cannot_do_is_refused(options, what, anatomies, tmp_path):
    with pytest.raises(ConfigError, match=what):
        train("spade", anatomies[2], tmp_path / "model", 2, **options)


@BOTH
def test_the_residual_generator_needs_one_step_less(spatial_dims):
    options = {"spatial_dims": spatial_dims, "channels": (4, 8, 8), "network": "resnet"}
    assert Pix2PixConfig(**options, roi_size=(28,) * spatial_dims).divisor == 4
    with pytest.raises(ValueError, match="each a multiple of 8"):
        Pix2PixConfig(**{**options, "network": "unet"}, roi_size=(28,) * spatial_dims)


def test_with_strides_each_side_has_a_divisor_of_its_own():
    options = {"spatial_dims": 3, "channels": (4, 8, 8, 8, 8), "roi_size": (128, 128, 54)}
    strides = ((2, 2, 2), *[(2, 2, 1)] * 4)
    assert Pix2PixConfig(**options, strides=strides).divisors == (32, 32, 2)
    with pytest.raises(ValueError, match="each a multiple of 32 and"):
        Pix2PixConfig(**options)
    with pytest.raises(ValueError, match="each a multiple of 32, 32, 4 in turn"):
        Pix2PixConfig(**options, strides=((2, 2, 2), (2, 2, 2), *[(2, 2, 1)] * 3))


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"strides": [[2, 2]]}, "needs 2 steps of 2 numbers"),
        ({"strides": [[2, 2, 2], [2, 2, 2]]}, "needs 2 steps"),
        ({"strides": [[2, 2], [2, 0]]}, "greater than or equal to 1"),
        ({"strides": [[2, 2], [5, 2]]}, "less than or equal to 4"),
        ({"strides": [[2, 2], [2, 2]], "network": "resnet"}, "only unet and lcgan have strides"),
    ],
)
def test_strides_that_do_not_fit_are_refused(options, what):
    with pytest.raises(ValueError, match=what):
        Pix2PixConfig(**{"spatial_dims": 2, "channels": (4, 8), **options})


def cycle_module(spatial_dims, **options):
    config = CycleGANConfig(**tiny_options(spatial_dims, **options))
    return CycleGANModule(config, UNPAIRED, seed=0)


def batch_of(spatial_dims, n=2):
    size = (24,) * spatial_dims
    with torch_seed(0, "batch"):
        lesion = (torch.rand(n, 1, *size) > 0.8).float()
        return {"condition": torch.cat([1 - lesion, lesion], 1), "image": torch.rand(n, 1, *size) * 2 - 1}


@BOTH
@pytest.mark.parametrize("cycle", ["l1", "l2"])
def test_the_cycle_term_is_the_distance_after_both_ways_round(spatial_dims, cycle):
    module = cycle_module(spatial_dims, cycle=cycle, lambda_cycle=7.0)
    batch = batch_of(spatial_dims)
    with torch.no_grad():
        total, fakes, logs = module.generator_loss(batch)
        drawn, told = module.generator["image"](batch["condition"]), module.generator["label"](batch["image"])
        around = module.generator["image"]((told + 1) / 2) - batch["image"]
        back = (module.generator["label"](drawn) + 1) / 2 - batch["condition"]
    power = 1 if cycle == "l1" else 2
    expected = around.abs().pow(power).mean() + back.abs().pow(power).mean()
    assert logs["cycle"].item() == pytest.approx(expected.item(), rel=1e-4)
    assert (total - logs["adversarial"]).item() == pytest.approx(7 * expected.item(), rel=1e-4)
    assert torch.equal(fakes, torch.cat([(told + 1) / 2, drawn], 1))


@BOTH
def test_each_critic_judges_its_own_domain(spatial_dims):
    module = cycle_module(spatial_dims)
    batch = batch_of(spatial_dims)
    with torch.no_grad():
        real = torch.cat([batch["condition"], batch["image"]], 1)
        _, alike = module.critic_loss(batch, real)
        changed = real.clone()
        changed[:, 2:] += 0.5
        _, image_changed = module.critic_loss(batch, changed)
    assert image_changed["d_label"].item() == pytest.approx(alike["d_label"].item())
    assert image_changed["d_image"].item() != pytest.approx(alike["d_image"].item())


def test_both_generators_and_both_critics_learn():
    module = cycle_module(2)
    batch = batch_of(2)
    loss, fakes, _ = module.generator_loss(batch)
    loss.backward()
    module.critic.zero_grad()
    module.critic_loss(batch, fakes)[0].backward()
    for name, weight in [*module.generator.named_parameters(), *module.critic.named_parameters()]:
        assert weight.grad is not None, name
        assert torch.isfinite(weight.grad).all(), name


def test_maps_and_images_are_of_different_draws():
    shape = (24, 24)
    samples = [make_sample(shape, label=ball_mask(shape, [12, 12], 2 + n), seed=n) for n in range(6)]
    config = CycleGANConfig(**tiny_options(2, augment=False))
    crops = TrainingCrops(samples, config, UNPAIRED, seed=0)
    items = Unpaired(crops)
    images = [sample.image for sample in samples]
    radii = {int((sample.label > 0).sum()): number for number, sample in enumerate(samples)}
    paired = 0
    for draw in range(40):
        item = items[draw]
        paired += np.array_equal(item["image"].numpy(), images[radii[int(item["condition"][1].sum())]])
    assert paired < 20


def test_a_cyclegan_keeps_the_generator_of_images_alone(anatomies, tmp_path):
    model = train("cyclegan", anatomies[2], tmp_path / "model", 2)
    assert isinstance(model, CycleGAN)
    assert isinstance(model, Pix2Pix)
    assert not any(name.startswith(("image.", "label.")) for name in model.tensors())


@pytest.mark.parametrize("options", [Pix2PixConfig, CycleGANConfig, SpadeConfig])
def test_every_translator_has_the_dropout_that_its_options_name(options):
    config = options(condition="label", roi_size=(32, 32), channels=(8, 8, 8, 8), dropout=0.3)
    rates = {layer.p for layer in config.generator(3, 1).modules() if isinstance(layer, torch.nn.Dropout)}
    assert rates == {0.3}
