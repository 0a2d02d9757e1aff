"""Lesions between two real lesions."""

from dataclasses import replace

import numpy as np
import pytest

from lesionforge.cohort.scan import load_scan, save_label
from lesionforge.errors import ConfigError
from lesionforge.masks import InterpolatedMasks, MaskBank, make_mask_source
from lesionforge.masks.interpolated import InterpolationConfig, interpolate
from lesionforge.masks.placement import crop_to_lesion
from lesionforge.masks.slice_masks import SliceBank
from tests.helpers import NESTED, tiny_cohort
from tests.masks.scans import ball, make_scan
from tests.masks.test_slice_masks import target_at, volume

BOTH = pytest.mark.parametrize("spatial_dims", [2, 3])
SPACING = {2: (1.0, 1.5), 3: (1.0, 1.5, 2.0)}


def lesion_of(radii_mm, spatial_dims, *, shape=(45, 34, 27)):
    """Return a lesion of concentric balls, the outermost first."""
    shape, spacing = shape[:spatial_dims], SPACING[spatial_dims]
    label = np.zeros(shape, np.int16)
    for depth, radius in enumerate(radii_mm, 1):
        label[ball(shape, [n // 2 for n in shape], [radius / s for s in spacing])] = depth
    return crop_to_lesion(label)[0]


def radius_of(mask, spatial_dims):
    """Return the radius in mm of a ball of the volume of a mask."""
    size = np.count_nonzero(mask) * np.prod(SPACING[spatial_dims])
    return np.sqrt(size / np.pi) if spatial_dims == 2 else np.cbrt(size * 3 / 4 / np.pi)


def blob(spatial_dims, seed):
    """Return a lesion of no simple shape and of odd or even sides."""
    rng = np.random.default_rng(seed)
    label = np.ones(tuple(rng.integers(3, 9, spatial_dims)), np.int16)
    label[(slice(0, 2),) * spatial_dims] = 0
    label[(slice(2, 4),) * spatial_dims] = 2
    return crop_to_lesion(label)[0]


@BOTH
@pytest.mark.parametrize("seed", range(4))
def test_the_ends_are_the_two_lesions_themselves(spatial_dims, seed):
    pair, spacing = [blob(spatial_dims, 2 * seed), blob(spatial_dims, 2 * seed + 1)], SPACING[spatial_dims]
    for weight, lesion in enumerate(pair):
        assert np.array_equal(crop_to_lesion(interpolate(*pair, spacing, weight))[0], lesion)
    there = interpolate(*pair, spacing, 0.25)
    assert np.array_equal(there, interpolate(*pair[::-1], spacing, 0.75))


@BOTH
@pytest.mark.parametrize("weight", [-0.2, 0.3, 0.5, 1.2])
def test_each_class_lies_between_those_of_two_balls_or_beyond(spatial_dims, weight):
    radii = [(8.0, 5.0), (14.0, 9.0)]
    pair = [lesion_of(of, spatial_dims) for of in radii]
    found = interpolate(*pair, SPACING[spatial_dims], weight)
    assert not np.concatenate([found.take([0, -1], axis).ravel() for axis in range(spatial_dims)]).any()
    for depth in (1, 2):
        first, second = (radius_of(lesion >= depth, spatial_dims) for lesion in pair)
        expected = (1 - weight) * first + weight * second
        assert radius_of(found >= depth, spatial_dims) == pytest.approx(expected, abs=0.5)


@BOTH
def test_a_core_that_one_of_the_two_lacks_vanishes_on_the_way(spatial_dims):
    pair = lesion_of((12.0, 8.0), spatial_dims), lesion_of((12.0,), spatial_dims)
    cores = [radius_of(interpolate(*pair, SPACING[spatial_dims], weight) == 2, spatial_dims) for weight in (0, 0.3, 1)]
    assert cores[0] > cores[1] > cores[2] == 0


@BOTH
def test_both_lesions_are_parents_and_classes_stay_nested(tmp_path, spatial_dims):
    cohort = tiny_cohort(tmp_path, spatial_dims=spatial_dims, labels=NESTED)
    source, scan = make_mask_source("interpolated", cohort), make_scan(spatial_dims)
    for seed in range(5):
        placed = source.sample(scan, np.random.default_rng(seed), min_volume=1)
        first, second, _ = placed.mask_id.split("+")
        assert first != second
        assert placed.subjects == {cohort[first].subject_id, cohort[second].subject_id}
        assert set(np.unique(placed.mask)) <= {0, *NESTED.values()}


@BOTH
def test_a_case_keeps_the_number_of_its_lesions(tmp_path, spatial_dims):
    cohort = tiny_cohort(tmp_path, spatial_dims=spatial_dims, n_subjects=2)
    few, many = (load_scan(case, cohort.channels) for case in cohort)
    label = np.zeros_like(many.label)
    for corner in ((2,) * spatial_dims, tuple(n - 8 for n in label.shape)):
        label[tuple(slice(c, c + 4) for c in corner)] = 1
    save_label(cohort.cases[1].label, label, cohort.cases[1].label)
    source = InterpolatedMasks(MaskBank(cohort))
    shown = {}
    for seed in range(6):
        drawn = source.draw(replace(few, label=None), np.random.default_rng(seed))
        blank = np.pad(drawn.mask > 0, 1)
        shown.setdefault(drawn.mask_id.split("+")[0], []).append(blank.shape)
    assert min(max(shape) for shape in shown["case_001"]) > max(max(shape) for shape in shown["case_000"])


def test_slices_of_about_one_height_are_interpolated():
    bank = SliceBank([volume(), volume(subject="s2", lesion_slices=[5, 6])])
    drawn = [InterpolatedMasks(bank).draw(target_at(0.5), np.random.default_rng(seed)) for seed in range(5)]
    assert all(one.subjects == {"s1", "s2"} and one.mask.ndim == 2 for one in drawn)


def test_what_cannot_be_interpolated_is_refused(tmp_path):
    one = tiny_cohort(tmp_path / "one", spatial_dims=2, n_subjects=1)
    with pytest.raises(ConfigError, match="needs the lesions of two cases to interpolate between"):
        make_mask_source("interpolated", one)
    cohort = tiny_cohort(tmp_path / "two", spatial_dims=2, labels=NESTED)
    with pytest.raises(ConfigError, match="nested: lacks the lesion class"):
        make_mask_source("interpolated", cohort, options={"nested": [1]})
    for options in ({"weight": [0.8, 0.2]}, {"weight": [-2, 1]}, {"nested": [1, 1]}):
        with pytest.raises(ValueError, match=next(iter(options))):
            InterpolationConfig(**options)
    assert InterpolationConfig(weight=(0, 1)).nested == ()
    of_brats = replace(cohort, labels={"background": 0, "NCR": 1, "ED": 2})
    assert make_mask_source("interpolated", of_brats).nested == (2, 1)
