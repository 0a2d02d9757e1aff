import numpy as np
import pytest
from scipy import ndimage

from lesionforge.masks.semi_random import diameter, scatter
from tests.masks.scans import ball

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


@anywhere
def test_no_lesion_is_wider_than_the_limit_and_none_vanishes(spacing):
    large, speck = lesion_of(spacing, (40, 15, 20)), np.full((1,) * len(spacing), 3, np.int16)
    for lesion, scale in (
        (large, (1, 1)),
        (speck, (0.1, 0.3)),
        (np.full((2,) * len(spacing), 3, np.int16), (0.1, 0.1)),
    ):
        rng = np.random.default_rng(0)
        drawn = scatter([lesion], full(spacing, 90), rng, count=5, spacing=spacing, scale=scale, max_diameter_mm=8)
        assert len(separate(drawn)) == 5
        for part in separate(drawn):
            points = np.argwhere(part) * np.array(spacing)
            assert np.linalg.norm(points[:, None] - points, axis=-1).max() <= 8
            assert set(np.unique(part)) <= set(np.unique(lesion)) | {0}


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_scale_rotation_and_mirror_keep_what_they_should(spatial_dims):
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
