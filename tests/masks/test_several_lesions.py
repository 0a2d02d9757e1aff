"""Maps with several lesions: each is edited and placed by itself."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from lesionforge.masks import DrawnMask, EditedMasks, place
from lesionforge.masks.placement import brain_mm, centroid, left_right_axis, region_box
from tests.masks.scans import ball, make_scan
from tests.masks.test_placement import Same

both = pytest.mark.parametrize("spatial_dims", [2, 3])


def balls(scan, offsets_mm, *, diameter_mm=8, axis=None, **fields):
    """Return a mask of balls of class 1, 2, … at these places along an axis, by default not that of left and right."""
    axis = 1 - left_right_axis(scan) if axis is None else axis
    radii = [max(diameter_mm / 2 / s, 0.5) for s in scan.spacing]
    steps = [round((offset - min(offsets_mm)) / scan.spacing[axis]) for offset in offsets_mm]
    shape = [2 * int(r) + 1 for r in radii]
    first = [int(r) for r in radii]
    shape[axis] += max(steps)
    mask = np.zeros(shape, np.int16)
    for value, step in enumerate(steps, start=1):
        mask[ball(shape, [c + step * (a == axis) for a, c in enumerate(first)], radii)] = value
    return DrawnMask(mask=mask, mask_id="balls", subjects=frozenset({"a"}), **fields)


def middle(spatial_dims):
    return (0.5,) * spatial_dims


def distance_mm(mask, spacing, first=1, second=2):
    steps = [(centroid(mask == a) * np.array(spacing)) for a in (first, second)]
    return float(np.linalg.norm(steps[0] - steps[1]))


@both
@pytest.mark.parametrize("factor", [0.69, 1.4])
def test_lesions_that_are_scaled_and_turned_stay_where_they_were(spatial_dims, factor):
    scan = make_scan(spatial_dims)
    drawn = balls(scan, (-24, 24), diameter_mm=14, centre=middle(spatial_dims))
    before = np.bincount(drawn.mask.ravel())[1:]
    edited = EditedMasks(Same(drawn), scale=(factor, factor), rotation_deg=90, elastic_mm=0.5)
    for seed in range(5):
        mask = edited.draw(scan, np.random.default_rng(seed)).mask
        assert distance_mm(mask, scan.spacing) == pytest.approx(48, abs=max(scan.spacing) + 1)
        assert np.bincount(mask.ravel())[1:] == pytest.approx(before * factor**spatial_dims, rel=0.6)


@both
def test_edited_lesions_keep_their_places_in_the_brain(spatial_dims):
    """Also if one grows and another shrinks, which moves the centroid of the map."""
    scan = make_scan(spatial_dims)
    drawn = balls(scan, (-24, 0, 20), centre=middle(spatial_dims))
    edited = EditedMasks(Same(drawn), shift_mm=(0, 0), scale=(0.5, 1.6), mirror=False, elastic_mm=0)
    box = np.array(brain_mm(scan.region, scan.spacing))
    homes = [centroid(drawn.mask == value) - centroid(drawn.mask) for value in (1, 2, 3)]
    for seed in range(5):
        again = edited.draw(scan, np.random.default_rng(seed))
        moved = (np.array(again.centre) - 0.5) * box
        for value, home in zip((1, 2, 3), homes, strict=True):
            now = centroid(again.mask == value) - centroid(again.mask)
            assert np.abs(moved + (now - home) * scan.spacing).max() <= max(scan.spacing)


@both
def test_specks_do_not_vanish_when_they_are_scaled_down(spatial_dims):
    scan = make_scan(spatial_dims)
    drawn = balls(scan, (-24, 0, 24), diameter_mm=0.1, centre=middle(spatial_dims))
    for seed in range(10):
        mask = EditedMasks(Same(drawn), scale=(0.5, 0.6)).draw(scan, np.random.default_rng(seed)).mask
        assert set(np.unique(mask)) == {0, 1, 2, 3}


@both
def test_each_lesion_has_its_own_jitter_around_its_own_place(spatial_dims):
    scan = make_scan(spatial_dims)
    drawn = balls(scan, (-12, 12), diameter_mm=5, centre=middle(spatial_dims))
    exact = place(drawn, scan, np.random.default_rng(0), jitter_mm=0)
    assert distance_mm(exact, scan.spacing) == pytest.approx(24, abs=max(scan.spacing))
    placed = [place(drawn, scan, np.random.default_rng(seed), jitter_mm=3) for seed in range(60)]
    apart = np.array([distance_mm(mask, scan.spacing) for mask in placed if len(np.unique(mask)) == 3])
    assert len(apart) > 50
    assert np.std(apart) > 2
    for value in (1, 2):
        mean = np.mean([centroid(mask == value) for mask in placed if (mask == value).any()], axis=0)
        assert np.abs((mean - centroid(exact == value)) * scan.spacing).max() < 3


@both
def test_one_that_leaves_the_brain_takes_none_along(spatial_dims):
    scan = make_scan(spatial_dims)
    drawn = balls(scan, (-10, 10, 200), diameter_mm=6)
    size = np.array(brain_mm(scan.region, scan.spacing))
    place_of_first = centroid(drawn.mask) - centroid(drawn.mask == 1)
    centre = 0.5 + place_of_first * scan.spacing / size
    drawn = replace(drawn, centre=tuple(centre))
    for seed in range(5):
        placed = place(drawn, scan, np.random.default_rng(seed), jitter_mm=2)
        assert set(np.unique(placed)) == {0, 1, 2}
        whole = np.bincount(drawn.mask.ravel())
        assert np.array_equal(np.bincount(placed.ravel())[1:], whole[1:3])
    volume = np.count_nonzero(placed) * float(np.prod(scan.spacing))
    assert place(drawn, scan, np.random.default_rng(0), jitter_mm=2, min_volume=1.5 * volume) is None


@both
def test_satellites_stay_beside_their_lesion(spatial_dims):
    scan = make_scan(spatial_dims, affine=np.eye(4))
    drawn = balls(scan, (-3, 3), diameter_mm=3, centre=middle(spatial_dims))
    assert ndimage.label(drawn.mask)[1] == 2
    for seed in range(10):
        placed = place(drawn, scan, np.random.default_rng(seed), jitter_mm=4)
        if placed is not None and len(np.unique(placed)) == 3:
            assert distance_mm(placed, scan.spacing) == pytest.approx(6)


@both
def test_lesions_stay_apart_from_each_other_and_from_those_that_are_there(spatial_dims):
    scan = make_scan(spatial_dims)
    there = ball(scan.spatial_shape, [n / 2 for n in scan.spatial_shape], [6 / s for s in scan.spacing])
    scan = replace(scan, label=there.astype(np.int16))
    drawn = balls(scan, range(-30, 31, 10), diameter_mm=5, centre=middle(spatial_dims))
    for seed in range(10):
        placed = place(drawn, scan, np.random.default_rng(seed), jitter_mm=6, min_inside=1)
        parts, count = ndimage.label(placed, np.ones((3,) * spatial_dims))
        assert count == len(np.unique(placed)) - 1
        assert not placed[ndimage.binary_dilation(there)].any()
        assert all(len(np.unique(placed[parts == number])) == 1 for number in range(1, count + 1))


@both
def test_both_sides_are_mirrored_together(spatial_dims):
    scan = make_scan(spatial_dims)
    axis = left_right_axis(scan)
    drawn = balls(scan, (-20, 20), diameter_mm=6, axis=axis, centre=middle(spatial_dims))
    low, high = region_box(scan.region)
    sides = set()
    for seed in range(20):
        placed = place(drawn, scan, np.random.default_rng(seed), jitter_mm=2)
        sides.add(tuple(centroid(placed == value)[axis] < (low + high)[axis] / 2 for value in (1, 2)))
    assert sides == {(True, False), (False, True)}


@both
def test_lesions_of_a_smaller_brain_lie_further_apart(spatial_dims):
    """Relative to the brain they lie where they were."""
    scan = make_scan(spatial_dims)
    size = np.array(brain_mm(scan.region, scan.spacing))
    drawn = balls(scan, (-8, 8), diameter_mm=4, centre=middle(spatial_dims))
    for share in (0.5, 1.0):
        of_child = replace(drawn, brain_mm=tuple(share * size))
        placed = place(of_child, scan, np.random.default_rng(0), jitter_mm=0)
        assert distance_mm(placed, scan.spacing) == pytest.approx(16 / share, abs=2 * max(scan.spacing))


@both
def test_lesions_without_a_known_place_lie_anywhere(spatial_dims):
    scan = make_scan(spatial_dims)
    drawn = balls(scan, (-6, 6), diameter_mm=4)
    placed = [place(drawn, scan, np.random.default_rng(seed)) for seed in range(30)]
    apart = [distance_mm(mask, scan.spacing) for mask in placed if len(np.unique(mask)) == 3]
    assert max(apart) - min(apart) > 20
