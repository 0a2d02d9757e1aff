"""The region in which lesions lie, and the fluid in it, of scans with and without an anatomy map."""

from dataclasses import replace

import numpy as np
import pytest

from lesionforge.cohort.structures import Structures
from lesionforge.masks import DrawnMask, allowed_region, place, with_region
from lesionforge.preprocessing.brain.region import find_region, fluid_of
from lesionforge.preprocessing.pipeline import Preprocessing
from tests.masks.scans import ball, make_scan

both = pytest.mark.parametrize("spatial_dims", [2, 3])


def with_ventricles(spatial_dims, **fields):
    """Return a scan of a round brain with dark ventricles in its middle, and the ventricles."""
    scan = replace(make_scan(spatial_dims, **fields), region=None)
    brain = scan.image[0] > 0
    ventricles = np.zeros(brain.shape, bool)
    for side in (-1, 1):
        middle = [(n - 1) / 2 for n in brain.shape]
        middle[0] += side * 0.08 * brain.shape[0]
        ventricles |= ball(brain.shape, middle, [0.05 * brain.shape[0], *(0.14 * n for n in brain.shape[1:])])
    noise = np.random.default_rng(0).normal(0, 2, brain.shape)
    image = np.where(brain, np.where(ventricles, 30, 100) + noise, 0).astype(np.float32)
    return replace(scan, image=image[None]), ventricles


@both
def test_new_lesions_stay_out_of_fluid_and_the_region_stays_whole(spatial_dims):
    scan, ventricles = with_ventricles(spatial_dims)
    found = with_region(scan)
    assert np.array_equal(found.region, find_region(scan))
    assert found.region[ventricles].all()
    assert found.fluid[ventricles].mean() > 0.8
    assert not allowed_region(scan)[found.fluid].any()
    mask = np.ones([max(1, round(30 / s)) for s in scan.spacing], np.int16)
    drawn = DrawnMask(mask=mask, mask_id="m", subjects=frozenset(), centre=(0.5,) * spatial_dims)
    placed = [place(drawn, found, np.random.default_rng(seed), min_inside=0.1) for seed in range(10)]
    assert all(mask is not None and not mask[found.fluid].any() for mask in placed)


@both
def test_a_lesion_of_the_scan_is_never_fluid(spatial_dims):
    scan, ventricles = with_ventricles(spatial_dims)
    half = ventricles & (np.indices(ventricles.shape)[0] < ventricles.shape[0] / 2)
    found = with_region(replace(scan, label=half.astype(np.int16)))
    assert found.region[half].all()
    assert not found.fluid[half].any()
    assert found.fluid[ventricles & ~half].mean() > 0.8


@both
def test_the_first_channel_that_shows_fluid_tells_where_it_is(spatial_dims):
    scan, ventricles = with_ventricles(spatial_dims)
    flat = np.where(scan.image > 0, np.float32(100), 0).astype(np.float32)
    found = with_region(replace(scan, channels=("A", "B"), image=np.concatenate([flat, scan.image])))
    assert found.fluid[ventricles].mean() > 0.8


@both
def test_an_anatomy_map_says_where_lesions_may_lie(spatial_dims):
    scan, ventricles = with_ventricles(spatial_dims)
    anatomy = np.where(ventricles, 1, 2).astype(np.int16) * (scan.image[0] > 0)
    mapped = replace(scan, anatomy=anatomy.astype(np.int16))
    assert with_region(mapped).fluid is None
    assert allowed_region(mapped)[ventricles].all()
    named = replace(mapped, case=replace(mapped.case, fluid=(1,)))
    assert np.array_equal(fluid_of(named), ventricles)
    assert fluid_of(mapped)[ventricles].mean() > 0.8


@both
def test_fluid_is_kept_on_the_way_to_the_model_and_through_an_item(spatial_dims):
    scan, _ = with_ventricles(spatial_dims)
    found = with_region(scan)
    sample = Preprocessing(spatial_dims=spatial_dims, channels=("FLAIR",)).forward(found)
    assert np.array_equal(sample.fluid, found.fluid)
    back = type(sample).from_item(sample.as_item())
    assert np.array_equal(back.as_scan().fluid, found.fluid)
    if spatial_dims == 3:
        assert np.array_equal(sample.slice(9).fluid, found.fluid[..., 9])


def test_structures_name_their_fluid():
    names = {"CSF": 1, "left lateral ventricle": 2, "ventral diencephalon": 3, "fluid": 4, "tissue 2": 5}
    assert Structures(names=names, parenchyma=(3, 5)).fluid == (1, 2, 4)
