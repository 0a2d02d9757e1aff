"""Semi-random masks, and the items that ``mask_cyclegan`` is trained on."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from lesionforge.cohort.scan import load_scan
from lesionforge.errors import CohortError
from lesionforge.healers.semi_random_masks import (
    EDGE_MM,
    SemiRandomItems,
    SemiRandomMasks,
    connected_lesions,
    with_inner_region,
)
from lesionforge.masks.semi_random import diameter
from lesionforge.preprocessing.brain.region import with_region
from lesionforge.seeding import generator
from tests.healers.test_healing_items import mixed, subject
from tests.synthesizers.models import ball_mask

BOTH = pytest.mark.parametrize("spatial_dims", [2, 3])


def parts_of(mask):
    return ndimage.label(mask, np.ones([3] * mask.ndim))


def with_room(sample, *, edge=3):
    """Return the sample with a region that leaves out the outermost voxels."""
    region = np.zeros(sample.label.shape, bool)
    region[(slice(edge, -edge),) * region.ndim] = True
    return replace(sample, region=region)


def items_of(samples, spatial_dims, *, edge=3, **options):
    defaults = {"output": (-1.0, 1.0), "classes": (1,), "pairing": "paired", "augment": False, "seed": 0}
    defaults |= {"roi_size": (16,) * spatial_dims, "max_diameter_mm": None}
    return SemiRandomItems(
        [with_room(s, edge=edge) for s in samples], spatial_dims=spatial_dims, **{**defaults, **options}
    )


@BOTH
def test_the_inner_region_keeps_its_distance_from_the_edge_of_the_brain(spatial_dims, cohorts):
    scan = load_scan(cohorts[spatial_dims].cases[0], cohorts[spatial_dims].channels)
    brain, inner = with_region(scan).region, with_inner_region(scan).region
    depth = ndimage.distance_transform_edt(brain, sampling=scan.spacing)
    assert inner.any()
    assert np.array_equal(inner, depth > EDGE_MM)


@BOTH
def test_the_inner_region_leaves_out_fluid(spatial_dims, cohorts):
    scan = with_region(load_scan(cohorts[spatial_dims].cases[0], cohorts[spatial_dims].channels))
    dry = with_inner_region(scan).region
    fluid = np.zeros(scan.spatial_shape, bool)
    fluid[: scan.spatial_shape[0] // 2] = True
    inner = with_inner_region(replace(scan, fluid=fluid)).region
    assert inner.any()
    assert (dry & fluid).any()
    assert np.array_equal(inner, dry & ~fluid)


@BOTH
def test_lesions_are_connected_at_corners_and_keep_their_classes(spatial_dims):
    label = np.zeros((9,) * spatial_dims, np.int16)
    label[(1,) * spatial_dims] = 1
    label[(2,) * spatial_dims] = 2
    label[(6,) * spatial_dims] = 3
    first, second = connected_lesions(label)
    assert first.shape == (2,) * spatial_dims
    assert sorted(first[first > 0]) == [1, 2]
    assert second.shape == (1,) * spatial_dims
    assert second.max() == 3


@BOTH
def test_masks_are_like_those_of_training(spatial_dims):
    """A crop that shows all of an image has as many lesions as an image; a small one seldom has more than one."""
    shape = (40,) * spatial_dims
    images = []
    for count in (1, 3):
        sample = subject(spatial_dims, count, shape=shape)
        for number in range(count):
            sample.label[(slice(2 + 8 * number, 5 + 8 * number),) * spatial_dims] = 1
        images.append(with_room(sample))
    masks = SemiRandomMasks.of(images, max_diameter_mm=None)
    allowed, little = images[0].region, np.zeros(shape, bool)
    little[(slice(10, 22),) * spatial_dims] = True
    counts = {"whole": set(), "little": []}
    for draw in range(12):
        whole = masks.draw(allowed, images[0].spacing, generator(draw))
        assert not whole[~allowed].any()
        counts["whole"].add(parts_of(whole)[1])
        counts["little"].append(parts_of(masks.draw(little, images[0].spacing, generator(draw)))[1])
    assert counts["whole"] == {1, 3}
    assert np.mean(counts["little"]) < 1.7


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 1.0, 2.0)])
@pytest.mark.parametrize("limit", [None, 5.0, 10.0])
@BOTH
def test_no_lesion_is_larger_than_wanted(spatial_dims, limit, spacing):
    """Nor larger than the largest of training, if nothing is wanted; measured between corners of voxels."""
    sample = with_room(
        replace(subject(spatial_dims, 0, radius=6, shape=(40,) * spatial_dims), spacing=spacing[:spatial_dims])
    )
    masks = SemiRandomMasks.of([sample], max_diameter_mm=limit)
    largest = limit or diameter(connected_lesions(sample.label)[0], sample.spacing)
    for seed in range(5):
        drawn = masks.draw(sample.region, sample.spacing, generator(seed))
        assert all(largest / 3 < diameter(lesion, sample.spacing) <= largest for lesion in connected_lesions(drawn))


@BOTH
def test_a_lesion_larger_than_the_room_is_drawn_smaller_and_no_room_leaves_none(spatial_dims):
    sample = with_room(subject(spatial_dims, 0, radius=12, shape=(40,) * spatial_dims))
    masks = SemiRandomMasks.of([sample], max_diameter_mm=None)
    allowed = np.zeros((16,) * spatial_dims, bool)
    assert not masks.draw(allowed, sample.spacing, generator(0)).any()
    allowed[(slice(6, 9),) * spatial_dims] = True
    drawn = masks.draw(allowed, sample.spacing, generator(0))
    assert drawn.any()
    assert not drawn[~allowed].any()


@BOTH
@pytest.mark.parametrize("augment", [False, True])
def test_healthy_items_have_a_random_mask_and_pathological_ones_their_own(augment, spatial_dims):
    items = items_of(mixed(spatial_dims), spatial_dims, augment=augment)
    seen = set()
    for draw in range(8):
        item = items[draw]
        assert set(item) == {"pathological", "healthy", "mask", "semi_random"}
        assert all(tensor.shape == (1, *(16,) * spatial_dims) for tensor in item.values())
        assert set(np.unique(item["semi_random"])) == {0, 1}
        assert item["healthy"].max() < 0.8
        seen.add(item["semi_random"].numpy().tobytes())
        again = items[draw]
        assert all(np.array_equal(item[name], again[name]) for name in item)
    assert len(seen) == 8


@BOTH
def test_random_lesions_lie_in_the_region_of_the_healthy_crop(spatial_dims):
    """Whole images, so that the place of the crop is known; smaller ones are filled up."""
    samples = [subject(spatial_dims, n, radius=r, shape=(14,) * spatial_dims) for n, r in enumerate([2, 0])]
    items = items_of(samples, spatial_dims)
    region = np.pad(items.samples[1].region, [(0, 2)] * spatial_dims)
    for draw in range(8):
        drawn = items[draw]["semi_random"].numpy()[0] > 0
        assert drawn.any()
        assert not drawn[~region].any()


@BOTH
def test_healthy_crops_lie_where_lesions_may_lie_as_often_as_lesions_would(spatial_dims):
    """A lesion at a random voxel of the region, at a random place in its crop, gives each crop this chance."""
    samples = [subject(spatial_dims, n, radius=r, shape=(40,) * spatial_dims) for n, r in enumerate([3, 0])]
    items = items_of(samples, spatial_dims, edge=18)
    (plane,) = (plane for plane in items.healthy if plane.sample == 1)
    region = items.samples[1].region
    room = [np.count_nonzero(region[tuple(slice(at, at + 16) for at in place)]) for place in plane.places]
    sides = np.convolve(np.ones(16), np.ones(4))
    assert min(room) > 0
    assert np.mean(room) == pytest.approx((np.sum(sides**2) / np.sum(sides)) ** spatial_dims, rel=0.08)


@BOTH
def test_scans_without_room_for_lesions_are_refused_or_left_out(spatial_dims):
    samples = [with_room(sample) for sample in [*mixed(spatial_dims), subject(spatial_dims, 4)]]
    samples[1] = replace(samples[1], region=np.zeros_like(samples[1].region))
    options = {"output": (-1.0, 1.0), "classes": (1,), "pairing": "paired", "augment": False, "seed": 0}
    options |= {"spatial_dims": spatial_dims, "roi_size": (16,) * spatial_dims, "max_diameter_mm": None}
    assert {plane.sample for plane in SemiRandomItems(samples, **options).healthy} == {4}
    none = [replace(sample, region=np.zeros_like(sample.region)) for sample in samples]
    with pytest.raises(CohortError, match="room for a lesion inside the brain") as caught:
        SemiRandomItems(none, **options)
    assert "\n" not in str(caught.value)


def test_slices_of_thick_volumes_have_lesions_of_slices():
    """Anisotropic voxels: a 2D model counts the lesions of a slice, each as large as in plane."""
    sample = replace(subject(3, 0, shape=(24, 24, 12)), spacing=(1.0, 1.0, 6.0))
    sample.label[...] = ball_mask(sample.label.shape, (12, 12, 5), 2)
    items = items_of([sample], 2)
    assert {lesion.ndim for lesion in items.masks.lesions} == {2}
    assert set(items.masks.counts) == {1}
    assert items[0]["semi_random"].shape == (1, 16, 16)
