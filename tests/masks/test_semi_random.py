from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from lesionforge.config import parse_options
from lesionforge.errors import ConfigError, PlacementError
from lesionforge.masks.bank import CroppedMask, MaskBank
from lesionforge.masks.placement import crop_to_lesion
from lesionforge.masks.semi_random import SemiRandom, SemiRandomConfig, diameter, ellipsoid_like, eroded, scatter
from tests.masks.scans import ball, make_scan

SPACINGS = {2: (0.5, 0.8), 3: (1.0, 1.0, 1.2)}
anywhere = pytest.mark.parametrize("spacing", [*SPACINGS.values(), (1.0, 1.0, 5.0), (6.0, 1.0, 1.0)])


def full(spacing, size_mm=60):
    return np.ones([int(size_mm / s) for s in spacing], bool)


def lesion_of(spacing, diameters_mm):
    """Return an ellipsoid with a second class in its middle."""
    shape = [int(2 * d / s) | 1 for d, s in zip(diameters_mm, spacing, strict=False)]
    middle = [(n - 1) / 2 for n in shape]
    outer, inner = (
        ball(shape, middle, [f * d / 2 / s for d, s in zip(diameters_mm, spacing, strict=False)]) for f in (1, 0.5)
    )
    return outer.astype(np.int16) + inner


def separate(mask):
    """Return the lesions of a map; lesions that touch, also by a corner, are one."""
    numbers, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    return [np.where(numbers[box] == n, mask[box], 0) for n, box in enumerate(ndimage.find_objects(numbers), 1)][:count]


@anywhere
def test_as_many_lesions_as_asked_for_lie_apart_and_within_what_is_allowed(spacing):
    lesion, allowed = lesion_of(spacing, (9, 5, 6)), full(spacing)
    allowed[tuple(slice(n // 3) for n in allowed.shape)] = False
    for seed in range(5):
        drawn = scatter([lesion], allowed, np.random.default_rng(seed), count=6, spacing=spacing)
        assert drawn.shape == allowed.shape
        assert not drawn[~allowed].any()
        assert len(separate(drawn)) == 6


@anywhere
def test_the_same_generator_gives_the_same_map_and_another_one_another(spacing):
    lesions = [lesion_of(spacing, (9, 5, 6)), lesion_of(spacing, (4, 4, 4))]
    maps = [scatter(lesions, full(spacing), np.random.default_rng(s), count=4, spacing=spacing) for s in (0, 0, 1)]
    assert np.array_equal(maps[0], maps[1])
    assert not np.array_equal(maps[0], maps[2])


@pytest.mark.parametrize("limit", [2, 5, 10])
@anywhere
def test_no_lesion_is_wider_than_the_limit_and_none_vanishes(spacing, limit):
    """Measured between corners of voxels, as drawn; one voxel may be wider."""
    large, speck = lesion_of(spacing, (40, 15, 20)), np.full((1,) * len(spacing), 3, np.int16)
    few = np.full((2,) * len(spacing), 3, np.int16)
    for lesion, scale in ((large, (1, 1)), (large, (0.1, 1)), (speck, (0.1, 0.3)), (speck, (1, 9)), (few, (0.1, 2))):
        rng = np.random.default_rng(0)
        drawn = scatter([lesion], full(spacing, 45), rng, count=5, spacing=spacing, scale=scale, max_diameter_mm=limit)
        parts = separate(drawn)
        assert len(parts) == 5
        assert all(diameter(part, spacing) <= limit or np.count_nonzero(part) == 1 for part in parts)
        assert all(set(np.unique(part)) <= set(np.unique(lesion)) | {0} for part in parts)
        if lesion is large and scale == (1, 1):
            assert all(diameter(part, spacing) > limit / 2 for part in parts)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_scale_and_rotation_keep_what_they_should(spatial_dims):
    spacing = SPACINGS[spatial_dims]
    bar = np.zeros((21,) * spatial_dims, np.int16)
    bar[(slice(8, 12), *[10] * (spatial_dims - 1))] = [1, 1, 1, 2]
    bar = ndimage.grey_dilation(bar, (3,) * spatial_dims)
    volume = np.count_nonzero(bar)
    drawn = [
        scatter([bar], full(spacing), np.random.default_rng(s), count=1, spacing=spacing, scale=(f, f))
        for f in (0.8, 1.25)
        for s in range(8)
    ]
    assert len({part.tobytes() for mask in drawn for part in separate(mask)}) == 16
    for masks, factor in ((drawn[:8], 0.8), (drawn[8:], 1.25)):
        mean = np.mean([np.count_nonzero(mask) for mask in masks])
        assert mean == pytest.approx(volume * factor**spatial_dims, rel=0.15)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.0, 0.6), (1.0, 1.0, 1.0), (1.0, 1.2, 0.8), (1.0, 1.0, 5.0)])
def test_lesions_are_drawn_with_either_hand(spacing):
    """Mirror images of blobs at the corners of a simplex do not turn into each other."""
    steps, dims = np.array(spacing), len(spacing)
    corners = [np.zeros(dims, int), *np.diag(np.rint(10 / steps).astype(int))]
    lesion = np.zeros(np.max(corners, axis=0) + 3, np.int16)
    for number, corner in enumerate(corners, 1):
        lesion[tuple(slice(c, c + 3) for c in corner)] = number
    options = {"count": 1, "spacing": spacing, "scale": (1, 1), "max_diameter_mm": 60}
    drawn = [scatter([lesion], full(spacing, 45), np.random.default_rng(seed), **options) for seed in range(16)]
    hands = [hand(mask, steps) for mask in drawn]
    assert 4 <= hands.count(1) == 16 - hands.count(-1) <= 12


def hand(mask, steps):
    """Return the sign of the volume that the middles of the classes span, in order."""
    middles = [np.argwhere(mask == number).mean(0) * steps for number in range(1, mask.ndim + 2)]
    return int(np.sign(np.linalg.det(np.subtract(middles[1:], middles[0]))))


def test_thick_slices_are_turned_in_their_plane_only():
    spacing = (1.0, 1.0, 5.0)
    flat = np.ones((7, 3, 1), np.int16)
    rng = np.random.default_rng(0)
    drawn = scatter([flat], full(spacing), rng, count=8, spacing=spacing, scale=(1, 1))
    assert {part.shape[2] for part in separate(drawn)} == {1}
    assert len({part.shape for part in separate(drawn)}) > 1


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_what_fits_nowhere_is_left_out(spatial_dims):
    lesion, spacing = np.ones((5,) * spatial_dims, np.int16), (1.0,) * spatial_dims
    narrow = np.zeros((30,) * spatial_dims, bool)
    narrow[:, 3] = True
    rng = np.random.default_rng(0)
    assert not scatter([lesion], narrow, rng, count=3, spacing=spacing).any()
    assert not scatter([lesion], np.zeros_like(narrow), rng, count=3, spacing=spacing).any()
    assert not scatter([lesion], np.ones_like(narrow), rng, count=0, spacing=spacing).any()
    crowded = scatter([lesion], np.ones((9,) * spatial_dims, bool), rng, count=50, spacing=spacing)
    assert 1 <= len(separate(crowded)) < 50


def test_the_diameter_is_that_of_the_voxels_and_does_not_depend_on_the_direction():
    assert diameter(np.ones((3, 4), np.int16), (1.0, 1.0)) == pytest.approx(5)
    assert diameter(np.ones((1, 1, 1), np.int16), (2.0, 3.0, 6.0)) == pytest.approx(7)
    diagonal = np.eye(10, dtype=np.int16)
    assert diameter(diagonal, (1.0, 1.0)) == pytest.approx(10 * np.sqrt(2))


class Known(MaskBank):
    """A bank of lesion maps that were never on disk."""

    def __init__(self, maps, spacing):
        self.lesions = tuple(
            CroppedMask(mask=mask, spacing=spacing, centre=None, mask_id=f"m{n}", subject=f"s{n}")
            for n, mask in enumerate(maps)
        )
        self.subjects = frozenset(lesion.subject for lesion in self.lesions)


def map_of(count, spacing, diameter_mm=6):
    """Return a map of so many balls in a row."""
    lesion = lesion_of(spacing, (diameter_mm,) * 3)
    gap = np.zeros((int(np.ceil(6 / spacing[0])) + 1, *lesion.shape[1:]), np.int16)
    return np.concatenate([part for _ in range(count) for part in (lesion, gap)])


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_mask_has_as_many_lesions_as_a_random_training_scan(spatial_dims):
    scan = make_scan(spatial_dims)
    bank = Known([map_of(count, scan.spacing) for count in (1, 1, 1, 4)], scan.spacing)
    source = SemiRandom(bank)
    drawn = [len(separate(source.draw(scan, np.random.default_rng(seed)).mask)) for seed in range(40)]
    assert set(drawn) == {1, 4}
    assert 4 <= drawn.count(4) <= 18


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("shapes", ["real", "ellipsoids"])
def test_lesions_lie_deep_in_the_brain_and_beside_those_that_are_there(spatial_dims, shapes):
    scan = make_scan(spatial_dims)
    there = ball(scan.spatial_shape, [n / 2 for n in scan.spatial_shape], [12 / s for s in scan.spacing])
    scan = replace(scan, label=there.astype(np.int16))
    deep = ndimage.distance_transform_edt(scan.region, sampling=scan.spacing) > 7
    source = SemiRandom(Known([map_of(3, scan.spacing)], scan.spacing), SemiRandomConfig(erode_mm=7, shapes=shapes))
    for seed in range(5):
        placed = source.sample(scan, np.random.default_rng(seed)).mask
        assert placed.any()
        assert not placed[~deep].any()
        assert not placed[ndimage.binary_dilation(there)].any()
    with pytest.raises(PlacementError, match="500 mm below"):
        SemiRandom(source.bank, SemiRandomConfig(erode_mm=500)).sample(scan, np.random.default_rng(0))


@anywhere
def test_a_region_is_eroded_from_its_surface_but_not_from_the_end_of_the_grid(spacing):
    region = full(spacing)
    assert eroded(region, spacing, 100).all()
    assert not eroded(~region, spacing, 1).any()
    region[:4] = False
    deep = eroded(region, spacing, 7)
    inner = np.argmax(deep.reshape(len(deep), -1).any(1))
    assert (inner - 3) * spacing[0] > 7 >= (inner - 4) * spacing[0]
    assert deep[inner:].all()
    assert not deep[:inner].any()


@anywhere
def test_an_ellipsoid_has_the_size_and_the_direction_of_its_lesion(spacing):
    lesion = lesion_of(spacing, (24, 12, 16))
    like = ellipsoid_like(lesion, spacing)
    assert np.count_nonzero(like) == pytest.approx(np.count_nonzero(lesion), rel=0.1)
    assert np.abs(np.subtract(like.shape, crop_to_lesion(lesion)[0].shape)).max() <= 2
    assert set(np.unique(like)) == {0, 1}
    assert ellipsoid_like(np.full((1,) * len(spacing), 2), spacing).max() == 2


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_lesion_too_small_for_the_grid_is_a_voxel(spatial_dims):
    fine = (0.3,) * spatial_dims
    source = SemiRandom(Known([map_of(2, fine, diameter_mm=1)], fine))
    assert source.sample(make_scan(spatial_dims), np.random.default_rng(0)).mask.any()


@pytest.mark.parametrize(
    "options", [{"scale": (1.2, 0.8)}, {"scale": (0, 1)}, {"max_diameter_mm": 0}, {"erode_mm": -1}, {"shapes": "cubes"}]
)
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        parse_options(SemiRandomConfig, options)
