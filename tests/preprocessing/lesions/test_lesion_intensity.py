import numpy as np
import pytest

from lesionforge.preprocessing.lesions.lesion_intensity import (
    BEYOND,
    QUANTILES,
    WIDER,
    absolute,
    draw,
    draw_faint,
    draw_normal,
    measure,
    paint,
    relative,
    surroundings,
)
from lesionforge.preprocessing.lesions.margin import hole_around
from lesionforge.seeding import generator
from lesionforge.synthesizers.translation.pix2pix import Pix2Pix
from tests.synthesizers.models import ball_mask, make_sample, train_pix2pix

DIMS = pytest.mark.parametrize("spatial_dims", [2, 3])
CLASSES = (1, 2, 5)


def two_classes(spatial_dims):
    shape = (24,) * spatial_dims
    return ball_mask(shape, [12] * spatial_dims, 6) + ball_mask(shape, [12] * spatial_dims, 3)


@DIMS
def test_what_is_painted_is_what_is_measured(spatial_dims):
    mask = two_classes(spatial_dims)
    image = generator(0).uniform(-1, 1, (2, *mask.shape)).astype(np.float32)
    found = measure(image, mask, CLASSES)
    assert found.shape == (3, 2)
    assert found[0] == pytest.approx(image[:, mask == 1].mean(axis=1), abs=1e-6)
    assert np.isnan(found[2]).all()
    painted = paint(found, mask, CLASSES)
    assert painted.shape == image.shape
    assert np.array_equal(painted != 0, np.broadcast_to(mask > 0, image.shape))
    assert measure(painted, mask, CLASSES)[:2] == pytest.approx(found[:2], abs=1e-6)


@DIMS
def test_what_is_around_is_a_ring_beyond_the_margin_without_other_lesions(spatial_dims):
    shape, spacing = (40,) * spatial_dims, (1.0,) * spatial_dims
    mask = ball_mask(shape, [20] * spatial_dims, 5)
    image = np.full((1, *shape), 0.2, np.float32)
    near, _ = hole_around(mask, 3.0, spacing)
    image[:, near] = 0.9
    assert surroundings(image, mask, spacing, margin_mm=3.0) == pytest.approx([0.2])
    other = np.indices(shape)[0] > 20
    image[:, other] = 0.8
    image[:, 26:] = 0.8
    assert surroundings(image, mask, spacing, margin_mm=3.0, leave_out=other) == pytest.approx([0.2])
    assert surroundings(image, mask, spacing, margin_mm=3.0, leave_out=~other) == pytest.approx([0.8])
    everywhere = np.ones(shape, np.int16)
    assert surroundings(image, everywhere, spacing, margin_mm=3.0) == pytest.approx([np.median(image)])


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 2.0), (1.0, 1.0, 4.0)])
def test_what_is_around_is_the_median_of_8_mm(spacing):
    shape = (48,) * len(spacing)
    mask = ball_mask(shape, [24] * len(spacing), 3)
    to_margin, to_end = (hole_around(mask, width, spacing)[0] for width in (3.01, 11.01))
    ring = to_end & ~to_margin
    for level in (-0.4, 0.4):
        image = np.where(ring, level, -level).astype(np.float32)[None]
        assert surroundings(image, mask, spacing, margin_mm=3.0) == pytest.approx([level])
        inner, _ = hole_around(mask, 6.0, spacing)
        image[:, ring & inner] = -1
        assert np.mean(image[:, ring] == -1) < 0.5
        assert surroundings(image, mask, spacing, margin_mm=3.0) == pytest.approx([level])


def test_a_lesions_contrast_is_carried_to_a_darker_place():
    """Counted from black, which is -1: half as bright surroundings have a lesion half as bright."""
    lesion, around = np.array([[0.2]], np.float32), np.array([0.0], np.float32)
    assert absolute(relative(lesion, around), around) == pytest.approx(lesion)
    assert absolute(relative(lesion, around), np.array([-0.5], np.float32)) == pytest.approx(np.array([[-0.4]]))
    assert absolute(np.array([[99.0]], np.float32), around) == 1
    black = np.array([-1.0], np.float32)
    assert absolute(relative(lesion, black), black) == pytest.approx(lesion)


def test_new_lesions_get_the_intensities_of_one_training_crop_with_their_classes():
    known = np.array([[[1.0], [2.0], [np.nan]], [[3.0], [np.nan], [np.nan]], [[5.0], [6.0], [np.nan]]], np.float32)
    rng = generator(0)
    only_first, both = np.array([0, 1], np.int16), np.array([1, 2], np.int16)
    drawn = {tuple(draw(known, only_first, CLASSES, rng).ravel()) for _ in range(50)}
    assert drawn == {(1.0, 2.0, 1.0), (3.0, 4.0, 1.0), (5.0, 6.0, 1.0)}
    assert {tuple(draw(known, both, CLASSES, rng).ravel()) for _ in range(50)} == {(1.0, 2.0, 1.0), (5.0, 6.0, 1.0)}
    assert draw(known, np.array([5], np.int16), CLASSES, rng)[2, 0] == 1.0


@DIMS
def test_three_quantiles_of_each_channel_are_measured_painted_and_carried_over(spatial_dims):
    mask = two_classes(spatial_dims)
    image = generator(0).uniform(-1, 1, (2, *mask.shape)).astype(np.float32)
    found = measure(image, mask, CLASSES, quantiles=True)
    assert found.shape == (3, 6)
    assert found[0, 3:] == pytest.approx(np.quantile(image[1][mask == 1], QUANTILES), abs=1e-6)
    assert np.isnan(found[2]).all()
    assert paint(found, mask, CLASSES).shape == (6, *mask.shape)
    around = np.array([-0.4, 0.3], np.float32)
    assert absolute(relative(found, around), around)[:2] == pytest.approx(found[:2], abs=1e-6)
    descending = relative(found, around)[:, [2, 1, 0, 5, 4, 3]]
    assert absolute(descending, around)[:2] == pytest.approx(found[:2], abs=1e-6), "quantiles ascend"


def normal_crops(n=400):
    """Two channels that vary together, the second also by itself; of the second class, which few crops show."""
    rng = generator(1)
    shared, own = rng.normal(0, 0.1, n), rng.normal(0, 0.05, n)
    known = np.full((n, 2, 2), np.nan)
    known[:, 0] = np.exp(np.stack([0.3 + shared, -0.2 + shared + own], 1))
    known[:40, 1] = known[:40, 0] * 2
    return known.astype(np.float32)


def test_contrasts_of_a_normal_distribution_are_wider_spread_about_the_same_mean():
    known, mask = normal_crops(), np.array([1], np.int16)
    logs = np.log(known[:, 0])
    drawn = np.log([draw_normal(known, mask, (1, 2), generator(seed))[0] for seed in range(400)])
    assert drawn.mean(0) == pytest.approx(logs.mean(0), abs=0.02)
    assert drawn.std(0) == pytest.approx(WIDER * logs.std(0), rel=0.1)
    assert np.corrcoef(drawn.T)[0, 1] == pytest.approx(np.corrcoef(logs.T)[0, 1], abs=0.05)
    assert (np.exp(drawn) >= (1 - BEYOND) * known[:, 0].min(0) - 1e-6).all()
    assert (np.exp(drawn) <= (1 + BEYOND) * known[:, 0].max(0) + 1e-6).all()


def test_mimics_have_less_contrast_than_nearly_all_crops_and_the_pattern_of_one():
    known, mask = normal_crops(), np.array([1], np.int16)
    logs = np.abs(np.log(known[:, 0])).mean(1)
    drawn = np.log([draw_faint(known[40:, :1], mask, (1,), generator(seed))[0] for seed in range(200)])
    contrast = np.abs(drawn).mean(1)
    assert contrast.max() <= np.percentile(logs, 5) * 1.05
    assert contrast.mean() == pytest.approx(np.percentile(logs, 5) / 2, rel=0.2)
    usual = np.sign(np.log(known[40:, 0]).mean(0))
    assert (np.sign(drawn) == usual).mean() > 0.8
    assert np.isfinite(draw_faint(known, np.array([1, 2], np.int16), (1, 2), generator(0))).all()


def test_crops_without_a_lesion_do_not_count_for_mimics():
    known, mask = normal_crops()[:40, :1], np.array([1], np.int16)
    nothing = np.full_like(known[:1], np.nan)
    of_shown, of_all = (
        np.log([draw_faint(crops, mask, (1,), generator(seed)) for seed in range(20)])
        for crops in (known, np.concatenate([known, nothing]))
    )
    assert np.abs(of_all).mean((1, 2)).max() <= 1.05 * np.percentile(np.abs(np.log(known)).mean((1, 2)), 5)
    assert np.isfinite(of_shown).all()
    assert (draw_faint(nothing, mask, (1,), generator(0)) == 1).all(), "no contrast"


def test_contrasts_are_cut_a_little_beyond_the_known_ones():
    known = np.array([1.0, 1.0, 1.0, 1.0, 2.0], np.float32).reshape(-1, 1, 1)
    drawn = [draw_normal(known, np.array([1], np.int16), (1,), generator(seed)).item() for seed in range(200)]
    assert (min(drawn), max(drawn)) == pytest.approx((0.8, 2.4))


def test_classes_of_one_mask_vary_together_and_a_single_crop_has_no_spread():
    known, both = normal_crops(), np.array([1, 2], np.int16)
    drawn = np.array([draw_normal(known, both, (1, 2), generator(seed)) for seed in range(50)])
    inside = (drawn > 1.01 * (1 - BEYOND) * known[:40].min(0)) & (drawn < 0.99 * (1 + BEYOND) * known[:40].max(0))
    assert (drawn[:, 1] / drawn[:, 0])[inside.all(1)] == pytest.approx(2, rel=0.01)
    one = known[:1]
    assert np.array_equal(draw_normal(one, both, (1, 2), generator(0)), one[0])
    unseen = draw_normal(known[100:], both, (1, 2), generator(0))
    assert np.isfinite(unseen).all()
    assert (unseen[1] == 1).all(), "a class that no crop shows"


@DIMS
@pytest.mark.parametrize("condition", ["scan", "inpaint"])
def test_a_model_knows_the_intensities_of_its_training_lesions(condition, spatial_dims, cohorts, tmp_path):
    model = train_pix2pix(cohorts[spatial_dims], tmp_path / "m", spatial_dims=spatial_dims, condition=condition)
    assert model.intensities.shape[1:] == (1, 1)
    assert len(np.unique(model.intensities)) > 1
    assert (model.intensities > 1).all(), "lesions of the simulated scans are bright"
    loaded = Pix2Pix.from_tensors(model.info, model.tensors())
    assert np.array_equal(loaded.intensities, model.intensities)


@DIMS
def test_the_intensity_asked_for_reaches_the_generator(spatial_dims, cohorts, tmp_path):
    images = []
    for multiple in (0.5, 2.0):
        model = train_pix2pix(cohorts[spatial_dims], tmp_path / f"{multiple}", spatial_dims=spatial_dims)
        model.intensities = np.full_like(model.intensities, multiple)
        sample = make_sample((24,) * spatial_dims)
        images.append(model.synthesize(sample, ball_mask((24,) * spatial_dims, [12] * spatial_dims, 4), generator(0)))
    assert not np.array_equal(images[0].image, images[1].image)
