import math

import numpy as np
import pytest

from lesionforge.scores.predictions.lesionwise import lesion_wise
from lesionforge.scores.predictions.overlap import dice, hd95, physical_size, volume_difference


def cube(spatial_dims, start, stop, size=20):
    mask = np.zeros((size,) * spatial_dims, bool)
    mask[(slice(start, stop),) * spatial_dims] = True
    return mask


def blobs(spatial_dims, seed, size=16):
    return np.random.default_rng(seed).random((size,) * spatial_dims) > 0.9


@pytest.mark.parametrize("spatial_dims", [2, 3])
class TestDice:
    def test_is_one_for_equal_masks_and_zero_for_disjoint_ones(self, spatial_dims):
        assert dice(cube(spatial_dims, 2, 6), cube(spatial_dims, 2, 6)) == 1
        assert dice(cube(spatial_dims, 2, 6), cube(spatial_dims, 10, 14)) == 0

    def test_hand_computed(self, spatial_dims):
        shared, each = 2**spatial_dims, 4**spatial_dims
        assert dice(cube(spatial_dims, 2, 6), cube(spatial_dims, 4, 8)) == pytest.approx(shared / each)

    def test_rule_for_empty_masks(self, spatial_dims):
        empty, full = cube(spatial_dims, 0, 0), cube(spatial_dims, 2, 6)
        assert dice(empty, empty) == 1
        assert math.isnan(dice(empty, empty, empty=math.nan))
        assert dice(empty, full) == dice(full, empty) == 0

    def test_is_symmetric(self, spatial_dims):
        a, b = blobs(spatial_dims, 1), blobs(spatial_dims, 2)
        assert dice(a, b) == dice(b, a)

    def test_falls_as_the_prediction_moves_away(self, spatial_dims):
        truth = cube(spatial_dims, 4, 9)
        values = [dice(cube(spatial_dims, 4 + shift, 9 + shift), truth) for shift in range(6)]
        assert values == sorted(values, reverse=True)
        assert len(set(values)) == 6


@pytest.mark.parametrize("spatial_dims", [2, 3])
class TestHd95:
    def test_two_voxels_are_their_distance_apart(self, spatial_dims):
        a, b = np.zeros((2, *(12,) * spatial_dims), bool)
        a[(2,) * spatial_dims] = True
        b[(2,) * (spatial_dims - 1) + (7,)] = True
        spacing = (1.0,) * (spatial_dims - 1) + (3.0,)
        assert hd95(a, b, spacing) == pytest.approx(15)

    def test_is_zero_for_equal_masks_and_symmetric(self, spatial_dims):
        a, b = blobs(spatial_dims, 1), blobs(spatial_dims, 2)
        spacing = (1.0, 2.0, 3.0)[:spatial_dims]
        assert hd95(a, a, spacing) == 0
        assert hd95(a, b, spacing) == pytest.approx(hd95(b, a, spacing))

    def test_scales_with_the_spacing(self, spatial_dims):
        a, b = cube(spatial_dims, 2, 6), cube(spatial_dims, 5, 12)
        spacing = np.array((1.0, 1.5, 4.0)[:spatial_dims])
        assert hd95(a, b, 2.5 * spacing) == pytest.approx(2.5 * hd95(a, b, spacing))

    def test_rule_for_empty_masks(self, spatial_dims):
        empty, full = cube(spatial_dims, 0, 0), cube(spatial_dims, 2, 6)
        spacing = (1.0, 2.0, 3.0)[:spatial_dims]
        for prediction, truth in ((empty, empty), (empty, full), (full, empty)):
            assert math.isnan(hd95(prediction, truth, spacing))

    def test_leaves_out_a_few_far_voxels(self, spatial_dims):
        truth = cube(spatial_dims, 2, 12, size=40)
        prediction = truth.copy()
        prediction[(39,) * spatial_dims] = True
        assert hd95(prediction, truth, (1.0,) * spatial_dims) == 0


class TestInPlaneHd95:
    def test_does_not_depend_on_the_distance_between_slices(self):
        a, b = cube(3, 2, 9), cube(3, 5, 14)
        assert hd95(a, b, (1, 1, 4), in_plane=True) == hd95(a, b, (1, 1, 9), in_plane=True)
        assert hd95(a, b, (1, 1, 4)) != hd95(a, b, (1, 1, 9))

    def test_is_the_mean_over_slices_that_both_have(self):
        a, b = np.zeros((2, 10, 10, 4), bool)
        a[2, 2, 0] = b[2, 5, 0] = True
        a[2, 2, 1] = b[7, 2, 1] = True
        a[0, 0, 3] = True
        assert hd95(a, b, (1, 2, 5), in_plane=True) == pytest.approx((3 * 2 + 5) / 2)

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_cuts_along_the_thickest_axis(self, axis):
        a, b = np.zeros((2, 10, 10, 4), bool)
        a[2, 2, 1] = b[2, 5, 1] = True
        spacing = np.roll((1, 1, 6), axis - 2)
        a, b = np.moveaxis(a, 2, axis), np.moveaxis(b, 2, axis)
        assert hd95(a, b, spacing, in_plane=True) == pytest.approx(3)

    def test_rule_for_empty_masks(self):
        empty = np.zeros((6, 8, 3), bool)
        first, last = empty.copy(), empty.copy()
        first[1, 1, 0] = last[1, 1, 2] = True
        for prediction, truth in ((empty, empty), (first, empty), (empty, first), (first, last)):
            assert math.isnan(hd95(prediction, truth, (1, 1, 5), in_plane=True))

    def test_changes_nothing_in_2d(self):
        a, b = blobs(2, 1), blobs(2, 2)
        assert hd95(a, b, (1, 3), in_plane=True) == hd95(a, b, (1, 3))


def test_sizes_are_ml_in_3d_and_mm2_in_2d():
    assert physical_size(cube(3, 0, 10), (1, 1, 1)) == pytest.approx(1)
    assert physical_size(cube(3, 0, 10), (1, 1, 5)) == pytest.approx(5)
    assert physical_size(cube(2, 0, 10), (0.5, 2)) == pytest.approx(100)


def test_volume_difference_is_signed():
    assert volume_difference(cube(2, 0, 10), cube(2, 0, 8), (1, 1)) == pytest.approx(36)
    assert volume_difference(cube(2, 0, 8), cube(2, 0, 10), (1, 1)) == pytest.approx(-36)


def points(spatial_dims, *corners, size=20, edge=2):
    mask = np.zeros((size,) * spatial_dims, bool)
    for corner in corners:
        mask[(slice(corner, corner + edge),) * spatial_dims] = True
    return mask


@pytest.mark.parametrize("spatial_dims", [2, 3])
class TestLesionWise:
    def test_hand_computed(self, spatial_dims):
        lesions = lesion_wise(points(spatial_dims, 1, 12, 16), points(spatial_dims, 0, 4, 8))
        assert (lesions.true, lesions.found, lesions.predicted, lesions.correct) == (3, 1, 3, 1)
        assert lesions.sensitivity == pytest.approx(1 / 3)
        assert lesions.precision == pytest.approx(1 / 3)
        assert lesions.f1 == pytest.approx(2 / (2 + 2 + 2))

    def test_one_shared_voxel_is_a_match(self, spatial_dims):
        assert lesion_wise(points(spatial_dims, 5), points(spatial_dims, 6)).f1 == 1

    def test_voxels_that_touch_at_a_corner_are_one_lesion(self, spatial_dims):
        assert lesion_wise(points(spatial_dims, 2, 3, edge=1), points(spatial_dims, 9)).predicted == 1
        assert lesion_wise(points(spatial_dims, 2, 4, edge=1), points(spatial_dims, 9)).predicted == 2

    def test_one_prediction_may_find_two_lesions(self, spatial_dims):
        lesions = lesion_wise(points(spatial_dims, 0, edge=20), points(spatial_dims, 2, 10))
        assert (lesions.sensitivity, lesions.precision, lesions.f1) == (1, 1, 1)

    def test_swapping_swaps_sensitivity_and_precision(self, spatial_dims):
        a, b = points(spatial_dims, 1, 12, 16), points(spatial_dims, 1, 8)
        assert lesion_wise(a, b).sensitivity == lesion_wise(b, a).precision
        assert lesion_wise(a, b).precision == lesion_wise(b, a).sensitivity

    def test_rule_for_empty_masks(self, spatial_dims):
        empty, full = points(spatial_dims), points(spatial_dims, 3)
        nothing, false, missed = lesion_wise(empty, empty), lesion_wise(full, empty), lesion_wise(empty, full)
        assert (nothing.f1, false.f1, missed.f1) == (1, 0, 0)
        assert math.isnan(nothing.sensitivity)
        assert math.isnan(nothing.precision)
        assert math.isnan(false.sensitivity)
        assert false.precision == 0
        assert missed.sensitivity == 0
        assert math.isnan(missed.precision)
