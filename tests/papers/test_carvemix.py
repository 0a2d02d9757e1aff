"""What Zhang et al. 2021 say of CarveMix, and what carving in crops must not change about it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from lesionforge.errors import ConfigError
from lesionforge.preprocessing.lesions.lesion_library import cut_lesion, signed_distance
from lesionforge.seeding import generator
from lesionforge.synthesizers.training_free.carvemix import carve, paste_region
from tests.helpers import tiny_cohort
from tests.synthesizers.models import ball_mask, fit_library, make_sample, read_samples

CASES = {2: ((40, 36), (1.0, 1.0)), 3: ((24, 22, 14), (1.0, 1.5, 3.0))}
DIMS = [2, 3]


def lesion_sample(spatial_dims, *, place=None, radius=4, seed=1):
    shape, spacing = CASES[spatial_dims]
    label = ball_mask(shape, place or [n // 2 for n in shape], radius)
    label[label > 0] += (np.indices(shape)[0] > shape[0] // 2)[label > 0].astype(np.int16)
    sample = make_sample(shape, channels=2, spacing=spacing, label=label, seed=seed)
    return replace(sample, case_id="source")


class FixedDraws:
    """Stands in for a generator: a coin, and a place within the range that is asked for."""

    def __init__(self, coin, place):
        self.coin, self.place, self.ranges = coin, place, []

    def random(self):
        return self.coin

    def uniform(self, low, high):
        self.ranges.append((low, high))
        return low + self.place * (high - low)


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_lambda_is_below_0_half_of_the_time(spatial_dims):
    """A mixture of two uniform distributions, not one on [−m/2, m]: that would be below 0 a third of the time."""
    lesion = cut_lesion(lesion_sample(spatial_dims), 0, context_mm=0)
    coins = generator(0)
    draws = [FixedDraws(coins.random(), 0.5) for _ in range(500)]
    for draw in draws:
        carve(lesion, draw)
    ranges = [draw.ranges[0] for draw in draws]
    m = lesion.depth
    assert set(ranges) == {(-m / 2, 0), (0, m)}
    assert 0.45 < np.mean([low < 0 for low, _ in ranges]) < 0.55


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_the_region_is_where_the_distance_is_below_lambda(spatial_dims):
    lesion = cut_lesion(lesion_sample(spatial_dims), 0, context_mm=0)
    m = lesion.depth
    for coin, expected in ((0.49, (-m / 2, 0)), (0.51, (0, m))):
        draws = FixedDraws(coin, 0.05 if coin < 0.5 else 0.6)
        region = carve(lesion, draws)
        assert draws.ranges == [expected]
        level = expected[0] + draws.place * (expected[1] - expected[0])
        assert np.array_equal(region, lesion.distance < level)
        assert region.any()
        grown = coin > 0.5
        assert region[lesion.label > 0].all() == grown
        assert region[lesion.label == 0].any() == grown


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_image_and_label_are_mixed_by_the_same_region(spatial_dims):
    """X = X_A (1 − M) + X_B M and Y = Y_A (1 − M) + Y_B M; Y changes exactly where M holds and the labels differ."""
    source = lesion_sample(spatial_dims)
    shape, spacing = CASES[spatial_dims]
    target = make_sample(shape, channels=2, spacing=spacing, label=ball_mask(shape, [n // 3 for n in shape], 4), seed=2)
    lesion = cut_lesion(source, 0, context_mm=0)
    distance = signed_distance(source.label > 0, spacing)
    for coin, place in ((0.4, 0.1), (0.4, 0.9), (0.6, 0.1), (0.6, 0.95)):
        level = FixedDraws(coin, place).uniform(*((-lesion.depth / 2, 0) if coin < 0.5 else (0, lesion.depth)))
        region = distance < level
        mixed = paste_region(target, lesion, carve(lesion, FixedDraws(coin, place)))
        assert np.array_equal(mixed.image, np.where(region, source.image, target.image))
        assert np.array_equal(mixed.label, np.where(region, source.label, target.label))
        assert np.array_equal(mixed.label != target.label, region & (source.label != target.label))


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_scans_are_mixed_at_the_tissue_level_of_the_one_that_is_mixed_into(spatial_dims):
    """A region carved back into its own scan, darkened, leaves it as it is."""
    source = replace(lesion_sample(spatial_dims), level=(0.6, 0.4))
    dark = replace(source, image=(source.image + 1) / 2 - 1, level=(0.3, 0.2))
    lesion = cut_lesion(source, 0, context_mm=0)
    mixed = paste_region(dark, lesion, lesion.distance < lesion.depth)
    np.testing.assert_allclose(mixed.image, dark.image, atol=1e-6)
    assert np.array_equal(mixed.label, dark.label)


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize("context_mm", [0.0, 6.0])
def test_distances_in_the_crop_are_those_of_the_whole_volume(spatial_dims, context_mm):
    shape, spacing = CASES[spatial_dims]
    corner = [0] * spatial_dims
    far = [n - 3 for n in shape]
    labels = {
        "middle": ball_mask(shape, [n // 2 for n in shape], 4),
        "corner": ball_mask(shape, corner, 6),
        "two": ball_mask(shape, [4] * spatial_dims, 3) + ball_mask(shape, far, 2),
        "one voxel": ball_mask(shape, far, 0.5),
        "half of the image": (np.indices(shape)[0] < shape[0] // 3).astype(np.int16),
    }
    for name, label in labels.items():
        sample = make_sample(shape, spacing=spacing, label=label)
        lesion = cut_lesion(sample, 0, context_mm=context_mm)
        whole = signed_distance(label > 0, spacing)
        box = tuple(slice(a, a + n) for a, n in zip(lesion.start, lesion.label.shape, strict=True))
        np.testing.assert_allclose(lesion.distance, whole[box], atol=1e-5, err_msg=name)
        reachable = whole < max(lesion.depth, context_mm)
        outside = np.ones(shape, bool)
        outside[box] = False
        assert not (reachable & outside).any(), f"{name}: the crop cuts off what can be carved"
        assert lesion.depth == pytest.approx(-whole.min(), abs=1e-5)


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_a_grid_of_another_size_is_met_corner_to_corner(spatial_dims):
    source = lesion_sample(spatial_dims)
    shape, spacing = CASES[spatial_dims]
    source.label[source.label == 2] = 7
    lesion = cut_lesion(source, 0, context_mm=0)
    double = make_sample(tuple(2 * n for n in shape), channels=2, spacing=tuple(s / 2 for s in spacing))
    mixed = paste_region(double, lesion, lesion.label > 0)
    assert set(np.unique(mixed.label)) == {0, 1, 7}
    middle = ndimage.center_of_mass(mixed.label > 0)
    expected = [2 * c + 0.5 for c in ndimage.center_of_mass(source.label > 0)]
    np.testing.assert_allclose(middle, expected, atol=1.1)
    volume = np.count_nonzero(mixed.label) / 2**spatial_dims
    assert volume == pytest.approx(np.count_nonzero(source.label), rel=0.1)


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_a_case_is_never_paired_with_itself(spatial_dims, tmp_path):
    """The published script may pair a case with itself; then nothing would change."""
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims, n_subjects=2)
    model = fit_library("carvemix", cohort, tmp_path / "m")
    samples = read_samples(cohort, model.info.preprocessing)
    for seed in range(10):
        for own, other in ((0, 1), (1, 0)):
            mixed = model.synthesize(samples[own], np.zeros_like(samples[own].label), generator(seed))
            changed = (mixed.image != samples[own].image).any(0)
            assert changed.any()
            assert np.array_equal(mixed.label[changed], samples[other].label[changed])


def test_one_case_alone_is_refused(tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=1)
    model = fit_library("carvemix", cohort, tmp_path / "m")
    (sample,) = read_samples(cohort, model.info.preprocessing)
    with pytest.raises(ConfigError, match="two cases"):
        model.synthesize(sample, np.zeros_like(sample.label), generator(0))


def test_slices_take_from_slices_of_about_the_same_height(tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=3, n_subjects=3)
    model = fit_library("carvemix", cohort, tmp_path / "m", spatial_dims=2)
    heights = np.array([lesion.height for lesion in model.lesions])
    assert len(np.unique(heights)) > 3
    for height in (0.3, 0.5, 0.7):
        sample = replace(make_sample((32, 32)), height=height)
        partners = [model._partner(sample, generator(seed)) for seed in range(20)]
        nearest = np.abs(heights - height).min()
        assert all(abs(lesion.height - height) <= max(0.1, nearest) + 1e-9 for lesion in partners)
        assert len({id(lesion) for lesion in partners}) > 1 or height != 0.5
