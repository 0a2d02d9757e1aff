import numpy as np
import pytest
import torch
from monai.metrics import MultiScaleSSIMMetric
from scipy import ndimage
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from lesionforge.errors import ConfigError
from lesionforge.scores.healed_scans.identity import WEIGHTS, change_outside, identity, ms_ssim, ms_ssim_beside


def texture(n=3, shape=(192, 180), seed=0):
    """Smooth random slices from 0 to 1."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(n, *shape)), (0, 2, 2))
    return np.clip(0.5 + 0.15 * noise / noise.std(), 0, 1).astype(np.float32)


def noisy(image, amount=0.05, seed=1):
    noise = np.random.default_rng(seed).normal(0, amount, image.shape)
    return np.clip(image + noise, 0, 1).astype(np.float32)


def square(image, side):
    masks = np.zeros(image.shape, bool)
    masks[:, 20 : 20 + side, 20 : 20 + side] = True
    return masks


def monai_one_by_one(first, second, weights):
    metric = MultiScaleSSIMMetric(spatial_dims=2, weights=weights, reduction="none")
    pairs = zip(torch.from_numpy(first), torch.from_numpy(second), strict=True)
    return np.array([float(metric(one[None, None], other[None, None])) for one, other in pairs])


class TestMultiScale:
    @pytest.mark.parametrize("scales", [4, 5])
    def test_equals_monai_slice_by_slice(self, scales):
        first, second = noisy(texture(20)), texture(20)
        weights = np.array(WEIGHTS[:scales]) / (1 if scales == 5 else sum(WEIGHTS[:scales]))
        expected = monai_one_by_one(first, second, weights.tolist())
        np.testing.assert_allclose(ms_ssim(first, second, scales=scales), expected, atol=1e-5)

    def test_small_slices_are_padded_by_reflection_as_documented(self):
        first, second = (image[:, :128, :160] for image in (noisy(texture()), texture()))
        padded = [np.pad(image, ((0, 0), (24, 24), (8, 8)), mode="reflect") for image in (first, second)]
        np.testing.assert_allclose(ms_ssim(first, second), monai_one_by_one(*padded, WEIGHTS), atol=1e-5)
        whole = monai_one_by_one(first, second, (np.array(WEIGHTS[:4]) / sum(WEIGHTS[:4])).tolist())
        np.testing.assert_allclose(ms_ssim(first, second, scales=4), whole, atol=1e-5)

    def test_is_the_usual_ms_ssim(self):
        first, second = noisy(texture()), texture()
        images = [torch.from_numpy(image[:, None]) for image in (first, second)]
        usual = multiscale_structural_similarity_index_measure(*images, data_range=1.0, reduction="none")
        np.testing.assert_allclose(ms_ssim(first, second), usual.numpy(), atol=1e-3)

    def test_a_slice_may_be_smaller_than_its_padding_but_not_than_the_window(self):
        small = texture(1, (24, 30))
        np.testing.assert_allclose(ms_ssim(small, small), 1)
        with pytest.raises(ConfigError, match="window of 11 pixels, but a slice has 10 × 30"):
            ms_ssim(small[:, :10], small[:, :10])
        with pytest.raises(ConfigError, match="sizes"):
            ms_ssim(small, small[:, :20])


class TestIdentity:
    def test_equal_slices_have_1(self):
        image = texture()
        found = identity(image, image, square(image, 40))
        for values in (found.beside, found.masked, found.masked_4):
            np.testing.assert_allclose(values, 1)

    def test_changes_inside_the_mask_count_for_nothing(self):
        image = texture()
        masks = square(image, 40)
        found = identity(np.where(masks, 1 - image, image), image, masks)
        for values in (found.beside, found.masked, found.masked_4):
            np.testing.assert_allclose(values, 1)

    def test_falls_with_changes_outside(self):
        image = texture()
        masks = square(image, 40)
        slight, strong = (identity(np.where(masks, image, noisy(image, by)), image, masks) for by in (0.03, 0.1))
        for name in ("beside", "masked", "masked_4"):
            assert (getattr(slight, name) < 1).all()
            assert (getattr(strong, name) < getattr(slight, name) - 0.02).all()

    def test_the_masked_score_rises_with_the_lesion_and_that_beside_it_does_not(self):
        image = texture(8)
        found = [identity(noisy(image, 0.1), image, square(image, side)) for side in (10, 90)]
        means = [(part.beside.mean(), part.masked.mean()) for part in found]
        assert means[1][1] - means[0][1] > 0.01
        assert means[1][0] == pytest.approx(means[0][0], abs=0.005)

    @pytest.mark.parametrize("scales", [1, 2])
    def test_a_window_counts_as_soon_as_it_holds_no_mask(self, scales):
        image = texture(1, (120, 120))
        masks = np.zeros(image.shape, bool)
        masks[:, :, :60] = True
        under, beside = image.copy(), image.copy()
        under[:, :, 56:60] = 1 - under[:, :, 56:60]
        beside[:, :, 60:64] = 1 - beside[:, :, 60:64]
        assert ms_ssim_beside(under, image, masks, scales=scales)[0] == pytest.approx(1)
        assert ms_ssim_beside(beside, image, masks, scales=scales)[0] < 0.999

    def test_no_window_without_mask_is_no_value(self):
        image = texture(1, (60, 60))
        masks = np.zeros(image.shape, bool)
        masks[:, ::10, ::10] = True
        assert np.isnan(ms_ssim_beside(image, image, masks)).all()

    def test_air_makes_no_slice_better(self):
        image = texture(2)
        image[:, :96] = 0
        head = image > 0
        changed = np.where(head, noisy(image, 0.1), 0)
        masks = np.zeros(image.shape, bool)
        with_air, without = (ms_ssim_beside(changed, image, masks, head=region) for region in (None, head))
        assert (without < with_air - 0.02).all()


def test_change_is_the_mean_over_what_is_looked_at():
    original = np.zeros((2, 4, 4), np.float32)
    healed = original.copy()
    healed[0, 0, 0], healed[0, 1, 1] = 0.5, 1.0
    outside = np.zeros(original.shape, bool)
    outside[0, 0, :] = True
    values = change_outside(healed, original, outside)
    assert values[0] == pytest.approx(0.125)
    assert np.isnan(values[1])
