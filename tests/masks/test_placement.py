from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from lesionforge.masks import DrawnMask, EditedMasks, allowed_region, place, with_region
from lesionforge.masks.base import MaskSource
from lesionforge.masks.placement import centroid, crop_to_lesion, left_right_axis, region_box
from tests.masks.scans import ball, make_scan

both = pytest.mark.parametrize("spatial_dims", [2, 3])


def drawn_ball(scan, diameter_mm, *, centre=None, **fields):
    size = [max(3, int(np.ceil(diameter_mm / s)) | 1) for s in scan.spacing]
    mask = ball(size, [(n - 1) / 2 for n in size], [n / 2 for n in size]).astype(np.int16)
    return DrawnMask(mask=mask, mask_id="ball", subjects=frozenset({"a"}), centre=centre, **fields)


@both
def test_a_mask_in_the_middle_keeps_every_voxel(spatial_dims):
    scan = make_scan(spatial_dims)
    drawn = drawn_ball(scan, 20, centre=(0.5,) * spatial_dims)
    for seed in range(20):
        placed = place(drawn, scan, np.random.default_rng(seed), jitter_mm=1)
        assert placed.shape == scan.spatial_shape
        assert np.count_nonzero(placed) == np.count_nonzero(drawn.mask)


@both
def test_what_lies_outside_the_region_is_cut_off_and_the_rest_is_large_enough(spatial_dims):
    scan = make_scan(spatial_dims)
    drawn = drawn_ball(scan, 24, centre=(0.05, *[0.5] * (spatial_dims - 1)))
    voxel = np.prod(scan.spacing)
    full = np.count_nonzero(drawn.mask) * voxel
    results = [
        place(drawn, scan, np.random.default_rng(seed), min_volume=0.6 * full, min_inside=0.3) for seed in range(60)
    ]
    kept = [placed for placed in results if placed is not None]
    assert 0 < len(kept) < len(results)
    assert any(np.count_nonzero(placed) * voxel < full for placed in kept)
    for placed in kept:
        assert not placed[~scan.region].any()
        assert np.count_nonzero(placed) * voxel >= 0.6 * full


@both
def test_at_least_the_wanted_share_stays_inside(spatial_dims):
    scan = make_scan(spatial_dims)
    drawn = drawn_ball(scan, 24, centre=(0.02, *[0.5] * (spatial_dims - 1)))
    shares = []
    for seed in range(60):
        placed = place(drawn, scan, np.random.default_rng(seed), min_volume=0, min_inside=0.7)
        if placed is not None:
            shares.append(np.count_nonzero(placed) / np.count_nonzero(drawn.mask))
    assert 0 < len(shares) < 60
    assert min(shares) >= 0.7


@both
def test_no_overlap_or_touch_with_a_lesion_that_is_there(spatial_dims):
    scan = make_scan(spatial_dims)
    middle = [n / 2 for n in scan.spatial_shape]
    lesion = ball(scan.spatial_shape, middle, [8 / s for s in scan.spacing])
    scan = replace(scan, label=lesion.astype(np.int16))
    around = ndimage.binary_dilation(lesion)
    drawn = drawn_ball(scan, 20, centre=(0.5,) * spatial_dims)
    placed = [place(drawn, scan, np.random.default_rng(seed)) for seed in range(60)]
    assert any(p is not None for p in placed)
    assert any(p is None for p in placed)
    assert not any(p[around].any() for p in placed if p is not None)


@both
def test_near_the_original_place_or_its_mirror_image(spatial_dims):
    scan = make_scan(spatial_dims)
    centre = np.full(spatial_dims, 0.5)
    axis = left_right_axis(scan)
    centre[axis] = 0.25
    low, high = region_box(scan.region)
    drawn = drawn_ball(scan, 14, centre=tuple(centre))
    found = [centroid(place(drawn, scan, np.random.default_rng(seed), min_volume=0, jitter_mm=2)) for seed in range(40)]
    relative = (np.array(found) - low) / (high - low)
    left = relative[:, axis] < 0.5
    assert 5 < left.sum() < 35
    relative[~left, axis] = 1 - relative[~left, axis]
    assert np.abs(relative.mean(axis=0) - centre).max() < 0.05


def test_left_and_right():
    flipped = np.array([[0, 0, -2.0, 0], [2.0, 0, 0, 0], [0, 4.0, 0, 0], [0, 0, 0, 1]])
    assert left_right_axis(make_scan(2)) == 1
    assert left_right_axis(make_scan(3)) == 0
    assert left_right_axis(make_scan(3, affine=flipped)) == 2


@both
def test_classes_are_placed_as_they_are(spatial_dims):
    scan = make_scan(spatial_dims)
    drawn = drawn_ball(scan, 24, centre=(0.5,) * spatial_dims)
    core = ndimage.binary_erosion(drawn.mask > 0)
    drawn = replace(drawn, mask=drawn.mask + core.astype(np.int16))
    placed = place(drawn, scan, np.random.default_rng(0), jitter_mm=0)
    crop, _ = crop_to_lesion(placed)
    assert np.array_equal(np.sort(crop, axis=None), np.sort(drawn.mask, axis=None))


@both
def test_a_fixed_place_is_kept_clipped_or_not(spatial_dims):
    scan = make_scan(spatial_dims)
    drawn = drawn_ball(scan, 30, corner=(-2,) * spatial_dims)
    placed = place(replace(drawn, clip=False), scan, np.random.default_rng(0))
    inner = tuple(slice(2, None) for _ in range(spatial_dims))
    shown = tuple(slice(0, n - 2) for n in drawn.mask.shape)
    assert np.array_equal(placed[shown], drawn.mask[inner])
    assert np.count_nonzero(placed) == np.count_nonzero(drawn.mask[inner])
    assert place(drawn, scan, np.random.default_rng(0)) is None


@both
def test_a_mask_off_the_grid_or_empty_does_not_fit(spatial_dims):
    scan = make_scan(spatial_dims)
    far = drawn_ball(scan, 20, corner=(1000,) * spatial_dims)
    empty = replace(far, mask=np.zeros_like(far.mask), corner=None)
    rng = np.random.default_rng(0)
    assert place(far, scan, rng) is None
    assert place(replace(far, clip=False), scan, rng) is None
    assert place(empty, scan, rng) is None


@both
def test_region_from_the_parenchyma_of_the_anatomy(spatial_dims):
    scan = make_scan(spatial_dims)
    anatomy = scan.region.astype(np.int16)
    half = np.arange(scan.spatial_shape[0]) < scan.spatial_shape[0] // 2
    anatomy[half] *= 2
    scan = replace(scan, region=None, anatomy=anatomy)
    assert np.array_equal(with_region(scan).region, anatomy > 0)
    scan = replace(scan, case=replace(scan.case, parenchyma=(1,)))
    assert np.array_equal(allowed_region(scan), anatomy == 1)


@both
def test_the_region_is_worked_out_once_and_never_changed(spatial_dims):
    scan = with_region(make_scan(spatial_dims, region=False))
    assert scan.region.any()
    assert with_region(scan) is scan
    before = scan.region.copy()
    allowed_region(scan)[...] = False
    assert np.array_equal(scan.region, before)


def test_an_empty_region_has_no_box():
    with pytest.raises(ValueError, match="empty"):
        region_box(np.zeros((4, 4), bool))


class Same(MaskSource):
    """Draws one and the same mask."""

    digest = ""

    def __init__(self, drawn):
        self.drawn, self.subjects, self.digest = drawn, drawn.subjects, "same"

    def draw(self, scan, rng):
        return self.drawn


@pytest.mark.parametrize("thickness", [0.5, 1.0, 6.0])
@pytest.mark.parametrize("edited", [False, True])
def test_a_volume_of_one_slice_has_no_place_beside_it(thickness, edited):
    region = np.zeros((40, 50, 1), bool)
    region[2:38, 2:48] = True
    affine = np.diag([3.0, 3.0, thickness, 1])
    scan = replace(
        make_scan(3, affine=affine), image=region[None] * np.float32(9), label=np.zeros(region.shape), region=region
    )
    mask = np.ones((3, 4, 1), np.int16)
    drawn = DrawnMask(mask=mask, mask_id="a", subjects=frozenset({"a"}), centre=(0.5, 0.5, 0.5))
    source = EditedMasks(Same(drawn), scale=(1, 1), rotation_deg=0, elastic_mm=0) if edited else Same(drawn)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        placed = place(source.draw(scan, rng), scan, rng, min_volume=0)
        assert placed is not None
        assert np.count_nonzero(placed) == mask.size
