from dataclasses import replace

import numpy as np
import pytest
import torch

from lesionforge.errors import CohortError, ConfigError, DoubtWarning, ModelError, OutputError
from lesionforge.preprocessing.lesions.margin import hole_around
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.production.blend import blend_lesion
from lesionforge.seeding import generator
from lesionforge.synthesizers.registry import load_synthesizer
from lesionforge.synthesizers.translation.conditions import Condition
from lesionforge.synthesizers.translation.pix2pix import Pix2Pix, Pix2PixModule
from lesionforge.synthesizers.translation.pix2pix_config import Pix2PixConfig
from lesionforge.synthesizers.translation.translator import anatomy_values
from lesionforge.training import fitting
from tests.helpers import tiny_cohort
from tests.synthesizers.models import (
    ball_mask,
    make_sample,
    read_samples,
    tiny_options,
    tiny_training,
    train_pix2pix,
    untrained_pix2pix,
)

CONDITIONS = ("label", "scan", "inpaint")
DIMS = [2, 3]


def middle_mask(sample, *, radius=4, values=(1,)):
    """Return nested balls in the middle of the sample."""
    shape = sample.image.shape[1:]
    balls = [ball_mask(shape, [n // 2 for n in shape], radius - 2 * i, v) for i, v in enumerate(values)]
    return np.max(balls, axis=0)


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize("condition", ["label", *(pytest.param(one, marks=pytest.mark.slow) for one in CONDITIONS[1:])])
def test_a_saved_model_draws_the_same_bytes(condition, spatial_dims, rich_cohorts, tmp_path):
    cohort = rich_cohorts[spatial_dims]
    model = train_pix2pix(cohort, tmp_path / "model", spatial_dims=spatial_dims, condition=condition)
    loaded = load_synthesizer(tmp_path / "model")
    assert loaded.info == model.info
    sample = read_samples(cohort, model.info.preprocessing)[0]
    mask = middle_mask(sample, values=(1, 2))
    first, second = (m.synthesize(sample, mask, generator(3)) for m in (model, loaded))
    assert first.image.tobytes() == second.image.tobytes()
    assert first.image.shape == sample.image.shape
    assert np.isfinite(first.image).all()
    assert np.array_equal(first.label, np.where(mask > 0, mask, sample.label))
    assert not np.array_equal(first.image[:, mask > 0], sample.image[:, mask > 0])
    assert set(model.info.training_subjects) == set(cohort.subjects)
    for name in ("model.safetensors", "model.json", "model_card.md", "metrics.csv"):
        assert (tmp_path / "model" / name).is_file()


@pytest.mark.parametrize("spatial_dims", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_training_moves_what_is_drawn(spatial_dims, cohorts, tmp_path):
    cohort = cohorts[spatial_dims]
    sample = read_samples(cohort)[0]
    drawn = []
    for steps in (1, 4):
        model = train_pix2pix(cohort, tmp_path / str(steps), spatial_dims=spatial_dims, steps=steps)
        assert model.info.training["steps"] == steps
        drawn.append(model.synthesize(sample, middle_mask(sample), generator(0)).image)
    assert not np.array_equal(*drawn)


@pytest.mark.slow
def test_each_option_trains_and_counts(cohorts, tmp_path):
    weights = {
        name: train_pix2pix(cohorts[2], tmp_path / name, spatial_dims=2, **options).tensors()
        for name, options in {
            "default": {},
            "log": {"adversarial": "log"},
            "hinge": {"adversarial": "hinge"},
            "smaller patches": {"num_layers_d": 3},
            "spectral norm": {"spectral_norm": True},
            "nothing flipped or turned": {"augment": False},
            "other rates": {"optimiser": {"ema_decay": 0.5, "learning_rate": 1e-3}},
            "clipped": {"optimiser": {"ema_decay": 0.5, "clip_norm": 1e-3, "pool_size": 0}},
        }.items()
    }
    for name, tensors in weights.items():
        assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
        same = [torch.equal(tensors[key], weights["default"][key]) for key in tensors]
        assert all(same) == (name == "default"), name


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize("condition", CONDITIONS)
def test_the_critic_is_asked_about_patches_with_something_drawn(condition, spatial_dims):
    """This critic says which row a patch lies in."""
    shown = Condition(name=condition, image_channels=1, classes=(1,))
    config = Pix2PixConfig(condition=condition, spatial_dims=spatial_dims, roi_size=(32,) * spatial_dims, width=0.125)
    module = Pix2PixModule(config, shown, seed=0)
    module.critic = TellsRows()
    pair = torch.zeros(2, shown.critic_channels + 1, *[32] * spatial_dims)
    pair[0, 1, 8:12] = 1
    heard = module._judge(pair)
    if condition == "inpaint":
        assert heard.tolist() == [2.0] * 8 ** (spatial_dims - 1)
    else:
        assert torch.equal(heard, module.critic(pair))


class TellsRows(torch.nn.Module):
    def forward(self, image):
        dims = image.dim() - 2
        return torch.arange(8.0).reshape(8, *[1] * (dims - 1)).expand(len(image), 1, *[8] * dims)


class DrawsNoise(torch.nn.Module):
    """Draws two channels, the same whatever it is shown."""

    def forward(self, condition):
        noise = generator(7).uniform(-1, 1, (len(condition), 2, *condition.shape[2:]))
        return torch.from_numpy(noise.astype(np.float32))


class TellsMeans(torch.nn.Module):
    """Says of every voxel the mean of the two channels of its image."""

    def forward(self, pair):
        return pair[:, -2:].mean(1, keepdim=True)


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_both_losses_are_the_published_ones_over_what_is_drawn(spatial_dims):
    """Isola et al. 2017, equations 1 and 4, with the least squares of Mao et al. 2017."""
    shown = Condition(name="inpaint", image_channels=2, classes=(1,))
    config = Pix2PixConfig(spatial_dims=spatial_dims, roi_size=(32,) * spatial_dims, width=0.125, lambda_l1=7.0)
    module = Pix2PixModule(config, shown, seed=0)
    module.generator, module.critic = DrawsNoise(), TellsMeans()
    real = torch.rand(2, 2, *[12] * spatial_dims) * 2 - 1
    hole = torch.zeros(2, 1, *[12] * spatial_dims, dtype=torch.bool)
    hole[0, :, 3:7], hole[1, :, 5:6] = True, True
    condition = torch.cat([real * ~hole, hole, hole, torch.randn(hole.shape)], 1)
    batch = {"condition": condition, "image": real, "hole": hole}
    loss, pair, _ = module.generator_loss(batch)
    fake = torch.where(hole, module.generator(condition), real)
    assert torch.equal(pair, torch.cat([condition[:, :4], fake], 1))
    of_fake, of_real = (image.mean(1, keepdim=True)[hole] for image in (fake, real))
    l1 = (fake - real)[hole.expand_as(real)].abs().mean()
    torch.testing.assert_close(loss, (of_fake - 1).square().mean() + 7 * l1)
    loss, _ = module.critic_loss(batch, pair)
    torch.testing.assert_close(loss, ((of_real - 1).square().mean() + of_fake.square().mean()) / 2)


def test_the_averaged_generator_is_kept(cohorts, tmp_path, monkeypatch):
    def train(module, *args, **kwargs):
        for weight in module.averaged.parameters():
            weight.data.fill_(0.5)
        return 2

    monkeypatch.setattr(fitting, "fit", train)
    for decay, averaged in ((0.9, True), (0, False)):
        model = train_pix2pix(cohorts[2], tmp_path / str(decay), spatial_dims=2, optimiser={"ema_decay": decay})
        assert all((weight == 0.5).all() for weight in model.generator.parameters()) == averaged


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_preprocessing_is_shared_where_its_dimensions_are_the_models(spatial_dims, cohorts, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "fit", lambda *args, **kwargs: 1)
    for dims in DIMS:
        given = Preprocessing(spatial_dims=dims, channels=("FLAIR",), spacing=(2.5,) * dims)
        model = Pix2Pix.fit(
            cohorts[3],
            channels=("FLAIR",),
            config=tiny_options(spatial_dims),
            training=tiny_training(),
            out=tmp_path / str(dims),
            preprocessing=given,
        )
        assert model.info.preprocessing.spatial_dims == spatial_dims
        assert (model.info.preprocessing == given) == (dims == spatial_dims)


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_anatomy_that_only_some_cases_have_is_not_learnt_and_the_doubt_is_told(spatial_dims, recwarn):
    plain = make_sample((6,) * spatial_dims)
    known = replace(plain, anatomy=np.indices(plain.label.shape)[0].astype(np.int16) // 2)
    assert anatomy_values([known, known], "Tiny") == (0, 1, 2)
    assert anatomy_values([plain, plain], "Tiny") == ()
    assert not recwarn.list
    with pytest.warns(DoubtWarning, match=r"Tiny: 1 of 3 training cases have no anatomy map .*`lesionforge anatomy`"):
        assert anatomy_values([known, plain, known], "Tiny") == ()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"lambda": 3}, "lambda"),
        ({"adversarial": "hinge2"}, "adversarial"),
        ({"lambda_l1": -1}, "lambda_l1"),
        ({"optimiser": {"rate": 1}}, "optimiser.rate"),
        ({"roi_size": (30, 30)}, "roi_size"),
        ({"roi_size": (24, 24, 24)}, "roi_size"),
        ({"roi_size": (16, 32)}, "roi_size"),
    ],
)
def test_a_wrong_option_is_named_in_one_line(options, named, cohorts, tmp_path):
    with pytest.raises(ConfigError) as error:
        train_pix2pix(cohorts[2], tmp_path / "m", spatial_dims=2, **options)
    assert named in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "m").exists()


def test_a_3d_model_of_slices_is_refused_in_one_line(cohorts, tmp_path):
    for options in ({}, {"roi_size": None}):
        with pytest.raises(ConfigError, match="slices") as error:
            train_pix2pix(cohorts[2], tmp_path / "m", spatial_dims=3, **options)
        assert "\n" not in str(error.value)


def test_default_crops_are_large_enough_for_the_critic(tmp_path):
    cohort = tiny_cohort(tmp_path / "thin", spatial_dims=3, shape=(32, 32, 10))
    model = train_pix2pix(cohort, tmp_path / "m", spatial_dims=3, roi_size=None)
    assert min(model.config.roi_size) >= 24
    assert all(n % 4 == 0 for n in model.config.roi_size)


def test_a_finished_run_is_not_overwritten(cohorts, tmp_path):
    train_pix2pix(cohorts[2], tmp_path / "m", spatial_dims=2)
    with pytest.raises(OutputError):
        train_pix2pix(cohorts[2], tmp_path / "m", spatial_dims=2)


def test_without_lesions_nothing_is_trained(cohorts, tmp_path):
    with pytest.raises(CohortError, match="lesion"):
        train_pix2pix(cohorts[2].healthy(), tmp_path / "m", spatial_dims=2)


def test_a_damaged_model_is_refused_in_one_line(cohorts, tmp_path):
    untrained_pix2pix(cohorts[2]).save(tmp_path / "m")
    for name in ("model.safetensors", "model.json"):
        content = (tmp_path / "m" / name).read_bytes()
        (tmp_path / "m" / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(ModelError) as error:
            load_synthesizer(tmp_path / "m")
        assert "\n" not in str(error.value)
        (tmp_path / "m" / name).write_bytes(content)
    load_synthesizer(tmp_path / "m")


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize("margin_mm", [0.0, 5.0])
def test_inpainting_changes_nothing_beyond_the_margin(spatial_dims, margin_mm, rich_cohorts):
    model = untrained_pix2pix(rich_cohorts[spatial_dims], margin_mm=margin_mm)
    sample = read_samples(rich_cohorts[spatial_dims])[0]
    mask = middle_mask(sample, values=(1, 2))
    drawn = model.synthesize(sample, mask, generator(0))
    hole, _ = hole_around(mask, margin_mm, sample.spacing)
    changed = drawn.image != sample.image
    assert not changed[:, ~hole].any()
    assert changed[:, mask > 0].mean() > 0.9
    assert drawn.image.min() >= -1
    assert drawn.image[:, mask > 0].max() <= 1


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize("condition", ["label", "scan"])
def test_a_whole_image_is_blended_around_the_mask(condition, spatial_dims, cohorts):
    model = untrained_pix2pix(cohorts[spatial_dims], condition=condition, margin_mm=4.0)
    sample = read_samples(cohorts[spatial_dims])[0]
    mask = middle_mask(sample)
    drawn = model.synthesize(sample, mask, generator(0))
    assert model.draws_whole_image
    assert (drawn.image != sample.image).mean() > 0.9
    blended = blend_lesion(sample, drawn.image, mask, margin_mm=4.0, spatial_dims=spatial_dims)
    hole, _ = hole_around(mask, 4.0, sample.spacing)
    assert np.array_equal(blended[:, ~hole], sample.image[:, ~hole])
    np.testing.assert_allclose(blended[:, mask > 0], drawn.image[:, mask > 0], atol=1e-6)


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize("condition", CONDITIONS)
def test_the_generator_decides_what_is_drawn(condition, spatial_dims, cohorts):
    """Another class at the same place draws something else; noise gives variety, and the same for the same rng."""
    model = untrained_pix2pix(cohorts[spatial_dims], condition=condition)
    sample = read_samples(cohorts[spatial_dims])[0]
    mask = middle_mask(sample)
    first, again, other = (model.synthesize(sample, mask, generator(seed)).image for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first[:, mask > 0], other[:, mask > 0])


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_without_noise_there_is_one_drawing(spatial_dims, cohorts):
    model = untrained_pix2pix(cohorts[spatial_dims], noise_channels=0)
    sample = read_samples(cohorts[spatial_dims])[0]
    first, other = (model.synthesize(sample, middle_mask(sample), generator(seed)).image for seed in (1, 2))
    assert np.array_equal(first, other)


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_classes_are_told_apart(spatial_dims, rich_cohorts):
    model = untrained_pix2pix(rich_cohorts[spatial_dims])
    sample = read_samples(rich_cohorts[spatial_dims])[0]
    one, two = (model.synthesize(sample, middle_mask(sample, values=v), generator(0)) for v in ((1,), (2,)))
    assert not np.array_equal(one.image, two.image)


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize("condition", CONDITIONS)
def test_lesions_larger_than_the_crop_at_the_border_or_side_by_side(condition, spatial_dims, cohorts):
    model = untrained_pix2pix(cohorts[spatial_dims], condition=condition, margin_mm=3.0)
    shape = {2: (50, 61), 3: (42, 33, 26)}[spatial_dims]
    sample = make_sample(shape, label=ball_mask(shape, [n - 4 for n in shape], 3))
    masks = {
        "larger": ball_mask(shape, [n // 2 for n in shape], 17),
        "corner": ball_mask(shape, [0] * spatial_dims, 4),
        "side by side": ball_mask(shape, [8] * spatial_dims, 3) + ball_mask(shape, [15] + [8] * (spatial_dims - 1), 3),
        "far apart": ball_mask(shape, [5] * spatial_dims, 3) + ball_mask(shape, [n - 5 for n in shape], 3),
    }
    for name, mask in masks.items():
        drawn = model.synthesize(sample, mask, generator(0))
        changed = (drawn.image != sample.image).any(0)
        assert changed[mask > 0].mean() > 0.95, name
        assert np.array_equal(drawn.label > 0, (mask > 0) | (sample.label > 0)), name
        if condition == "inpaint":
            hole, _ = hole_around(mask, 3.0, sample.spacing)
            assert not changed[~hole].any(), name


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize("distance", [14, 38])
def test_two_holes_are_drawn_as_if_each_were_alone(distance, spatial_dims, cohorts):
    """In crops that reach each other or do not, and with the same noise at the same place."""
    model = untrained_pix2pix(cohorts[spatial_dims], margin_mm=2.0)
    shape = (64, *[24] * (spatial_dims - 1))
    sample = make_sample(shape)
    places = [ball_mask(shape, [x, *[12] * (spatial_dims - 1)], 3) for x in (12, 12 + distance)]
    both = model.synthesize(sample, places[0] + places[1], generator(0)).image
    for place in places:
        alone = model.synthesize(sample, place, generator(0)).image
        hole, _ = hole_around(place, 2.0, sample.spacing)
        assert np.allclose(both[:, hole], alone[:, hole], atol=1e-6)


def shown_to_the_generator(model, sample, mask):
    """Return the inputs of every crop that is drawn; each is drawn white."""
    seen = []

    class White(torch.nn.Module):
        def forward(self, inputs):
            seen.extend(inputs.numpy())
            return torch.ones(len(inputs), len(sample.image), *inputs.shape[2:])

    model.generator = White()
    return seen, model.synthesize(sample, mask, generator(0))


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_a_label_map_shows_old_lesions_and_the_new_one_a_scan_the_new_one(spatial_dims, cohorts):
    shape = (24,) * spatial_dims
    old, new = (ball_mask(shape, [x] * spatial_dims, 3) for x in (6, 16))
    for condition, wanted in (("label", old + new), ("scan", new), ("inpaint", new)):
        model = untrained_pix2pix(cohorts[spatial_dims], condition=condition)
        (inputs,), _ = shown_to_the_generator(model, make_sample(shape, label=old), new)
        assert np.array_equal(inputs[-2], wanted), condition


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize("condition", ["scan", "inpaint"])
def test_old_lesions_have_no_part_in_how_bright_a_new_one_shall_be(condition, spatial_dims, cohorts):
    """They may be most of what is around it."""
    shape = (32,) * spatial_dims
    new = ball_mask(shape, [16] * spatial_dims, 3)
    old = np.where(hole_around(new, 4.0, [1.0] * spatial_dims)[0] | (np.indices(shape)[0] < 10), 0, 1).astype(np.int16)
    wanted = []
    for level in (-0.9, 0.9):
        sample = make_sample(shape, label=old)
        sample.image[:, old > 0] = level
        model = untrained_pix2pix(cohorts[spatial_dims], condition=condition, margin_mm=2.0, roi_size=shape)
        (inputs,), _ = shown_to_the_generator(model, sample, new)
        wanted.append(inputs[-3])
    assert np.array_equal(*wanted)
    assert (wanted[0] != 0).any()


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize("condition", ["scan", "inpaint"])
def test_the_generator_sees_air_beyond_the_image(condition, spatial_dims, cohorts):
    shape = (18, 21, 22)[:spatial_dims]
    model = untrained_pix2pix(cohorts[spatial_dims], condition=condition)
    (inputs,), _ = shown_to_the_generator(model, make_sample(shape), ball_mask(shape, [9] * spatial_dims, 2))
    beyond = np.ones(inputs.shape[1:], bool)
    beyond[tuple(slice(n) for n in shape)] = False
    assert beyond.any()
    assert (inputs[0][beyond] == -1).all()


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_what_is_drawn_fades_out_over_the_margin(spatial_dims, cohorts):
    model = untrained_pix2pix(cohorts[spatial_dims], margin_mm=5.0)
    sample = make_sample((24,) * spatial_dims)
    mask = middle_mask(sample, radius=3)
    _, drawn = shown_to_the_generator(model, sample, mask)
    _, weight = hole_around(mask, 5.0, sample.spacing)
    assert len(np.unique(weight)) > 5
    np.testing.assert_allclose(drawn.image, sample.image + weight * (1 - sample.image), atol=1e-6)


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_whatever_its_size_a_hole_has_something_around_it(spatial_dims, cohorts):
    model = untrained_pix2pix(cohorts[spatial_dims], margin_mm=2.0)
    sample = make_sample((48,) * spatial_dims)
    for radius in range(4, 16):
        (inputs,), _ = shown_to_the_generator(model, sample, middle_mask(sample, radius=radius))
        for axis in range(spatial_dims):
            across = inputs[1].any(axis=tuple(other for other in range(spatial_dims) if other != axis))
            assert np.count_nonzero(~across) >= model.config.divisor


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_dropout_is_for_training_alone(spatial_dims, cohorts):
    model = untrained_pix2pix(cohorts[spatial_dims], dropout=0.5, channels=(4, 8, 8))
    sample = make_sample((24,) * spatial_dims)
    first, again = (model.synthesize(sample, middle_mask(sample), generator(0)).image for _ in range(2))
    assert np.array_equal(first, again)
    model.generator.train()
    assert not np.array_equal(model.synthesize(sample, middle_mask(sample), generator(0)).image, first)


def test_an_image_smaller_than_the_crop(cohorts):
    model = untrained_pix2pix(cohorts[2], roi_size=(64, 64))
    sample = make_sample((20, 30))
    mask = middle_mask(sample, radius=3)
    drawn = model.synthesize(sample, mask, generator(0))
    hole, _ = hole_around(mask, model.margin_mm(), sample.spacing)
    assert drawn.image.shape == sample.image.shape
    assert np.array_equal(drawn.image[:, ~hole], sample.image[:, ~hole])


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_a_blend_of_slices_stays_within_them(spatial_dims):
    sample = make_sample((16, 16, 16))
    mask = ball_mask((16, 16, 16), (8, 8, 8), 3)
    blended = blend_lesion(sample, np.ones_like(sample.image), mask, margin_mm=3.0, spatial_dims=spatial_dims)
    changed = (blended != sample.image).any(0)
    for axis in range(3):
        wide = axis < spatial_dims
        assert np.ptp(np.flatnonzero(np.moveaxis(changed, axis, 0).any((1, 2)))) == (10 if wide else 6)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_2d_model_draws_volumes_slice_by_slice(condition, cohorts, tmp_path):
    cohort = cohorts[3]
    model = train_pix2pix(cohort, tmp_path / "m", spatial_dims=2, condition=condition)
    sample = read_samples(cohort, model.info.preprocessing)[0]
    assert sample.image.ndim == 4
    mask = np.zeros(sample.image.shape[1:], np.int16)
    mask[12:18, 12:18, 5:8] = 1
    drawn = model.synthesize(sample, mask, generator(0))
    changed = (drawn.image != sample.image).any(0)
    assert changed[mask > 0].mean() > 0.95
    if condition == "inpaint":
        assert np.array_equal(np.flatnonzero(changed.any((0, 1))), [5, 6, 7])
    flat = replace(sample.slice(6), height=0.5)
    alone = model.synthesize(flat, mask[..., 6], generator(0))
    np.testing.assert_allclose(alone.image, drawn.image[..., 6], atol=1e-5)


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_an_empty_mask_inpaints_nothing(spatial_dims, cohorts):
    sample = read_samples(cohorts[spatial_dims])[0]
    drawn = untrained_pix2pix(cohorts[spatial_dims]).synthesize(sample, np.zeros_like(sample.label), generator(0))
    assert np.array_equal(drawn.image, sample.image)
    assert np.array_equal(drawn.label, sample.label)


def test_a_model_of_anatomy_wants_anatomy(rich_cohorts, tmp_path):
    model = train_pix2pix(rich_cohorts[2], tmp_path / "m", spatial_dims=2, condition="label")
    assert model.info.anatomy == (0, 1, 2)
    sample = read_samples(rich_cohorts[2], model.info.preprocessing)[0]
    mask = middle_mask(sample)
    with pytest.raises(CohortError, match="anatomy"):
        model.synthesize(replace(sample, anatomy=None), mask, generator(0))
    moved = np.roll(sample.anatomy, 9, 0)
    plain, other = (model.synthesize(replace(sample, anatomy=a), mask, generator(0)) for a in (sample.anatomy, moved))
    assert not np.array_equal(plain.image, other.image)


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_the_input_is_left_as_it_was(spatial_dims, cohorts):
    sample = read_samples(cohorts[spatial_dims])[0]
    before = sample.image.copy(), sample.label.copy()
    for condition in CONDITIONS:
        untrained_pix2pix(cohorts[spatial_dims], condition=condition).synthesize(
            sample, middle_mask(sample), generator(0)
        )
    assert np.array_equal(sample.image, before[0])
    assert np.array_equal(sample.label, before[1])


def test_training_twice_gives_the_same_weights(cohorts, tmp_path):
    torch.manual_seed(0)
    first = train_pix2pix(cohorts[2], tmp_path / "a", spatial_dims=2)
    torch.manual_seed(1)
    second = train_pix2pix(cohorts[2], tmp_path / "b", spatial_dims=2)
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()
    assert first.info == second.info
    other = Pix2Pix.fit(
        cohorts[2], channels=("FLAIR",), config=tiny_options(2), training=tiny_training(seed=1), out=tmp_path / "c"
    )
    assert any(not torch.equal(a, b) for a, b in zip(first.tensors().values(), other.tensors().values(), strict=True))
