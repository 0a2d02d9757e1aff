"""The augmentation of patches moves image and label together, and only the image changes its intensities."""

from functools import cache

import numpy as np
import pytest

from lesionforge.augmentation.patches import FACTOR, OFFSET, SCALE, SHEAR, patch_augmentation
from lesionforge.augmentation.seeded import apply_seeded

BOTH = pytest.mark.parametrize("spatial_dims", [2, 3])


@BOTH
def test_a_spot_stays_under_its_label(spatial_dims):
    shape = (33,) * spatial_dims
    image, label = np.zeros((1, *shape), np.float32), np.zeros((1, *shape), np.float32)
    spot = (0, *[slice(9, 14)] * spatial_dims)
    image[spot], label[spot] = 10.0, 1.0
    moved = 0
    for seed in range(12):
        item = apply_seeded(patch_augmentation(spatial_dims), {"image": image, "label": label}, seed)
        found, marked = np.asarray(item["image"]), np.asarray(item["label"]) > 0.5
        background = float(np.median(found))
        if marked.any():
            assert found[marked].mean() > background + 4
            assert (found[~marked] > background + 6).sum() <= 0.5 * marked.sum()
        moved += not np.array_equal(marked, label > 0.5)
    assert moved > 6


@BOTH
def test_a_patch_alone_is_augmented_too_and_stays_in_its_slice(spatial_dims):
    rng = np.random.default_rng(0)
    image = rng.normal(0, 1, (2, *[12] * spatial_dims)).astype(np.float32)
    found = apply_seeded(patch_augmentation(spatial_dims), {"image": image}, 3)["image"]
    assert tuple(found.shape) == image.shape
    assert np.isfinite(np.asarray(found)).all()


@cache
def seen(spatial_dims):
    """Return what 64 seeds do to a patch: matrices ``(seed, x, y[, z], x, y[, z])``, gains, offsets, patches.

    The first channels of the patch are the places of its voxels, the last two are 0 and 1, which tell the intensities.
    """
    size, middle = 7, (slice(None), *[3] * spatial_dims)
    places = np.indices((size,) * spatial_dims) - size // 2
    patch = np.concatenate([places, 0 * places[:1], 0 * places[:1] + 1]).astype(np.float32)
    augment, matrices, gains, offsets, patches = patch_augmentation(spatial_dims), [], [], [], []
    for seed in range(64):
        found = np.asarray(apply_seeded(augment, {"image": patch}, seed)["image"])
        offset = found[-2][middle[1:]]
        gain = found[-1][middle[1:]] - offset
        moved = (found[:spatial_dims] - offset) / gain
        slopes = [np.gradient(moved, axis=axis)[middle] for axis in range(1, spatial_dims + 1)]
        matrices.append(np.stack(slopes, axis=1))
        gains.append(gain)
        offsets.append(offset)
        patches.append(found)
    return tuple(map(np.array, (matrices, gains, offsets, patches)))


def in_plane(spatial_dims):
    return seen(spatial_dims)[0][:, :2, :2]


def spreads(values, largest):
    """Return whether values reach most of the way to both limits, and not beyond."""
    near = 0.7 * largest
    return -largest - 1e-3 <= min(values) < -near and near < max(values) <= largest + 1e-3


@BOTH
def test_patches_are_mirrored_along_both_axes_of_a_slice(spatial_dims):
    matrices = in_plane(spatial_dims)
    assert 0.25 < np.mean(np.linalg.det(matrices) < 0) < 0.75
    upright = [m for m in matrices.round(3) if np.array_equal(abs(m), np.eye(2))]
    assert {tuple(np.diag(m)) for m in upright} == {(1, 1), (1, -1), (-1, 1), (-1, -1)}


@BOTH
def test_patches_are_turned_by_any_angle(spatial_dims):
    turned = [m @ np.diag([np.linalg.slogdet(m)[0], 1]) for m in in_plane(spatial_dims)]
    angles = [np.arctan2(m[1, 0] - m[0, 1], m[0, 0] + m[1, 1]) % np.pi for m in turned]
    assert np.histogram(angles, bins=6, range=(0, np.pi))[0].min() > 3


@BOTH
def test_patches_are_sheared(spatial_dims):
    along_x, along_y = np.moveaxis(in_plane(spatial_dims), -1, 0)
    cosines = (along_x * along_y).sum(1) / np.linalg.norm(along_x, axis=1) / np.linalg.norm(along_y, axis=1)
    assert spreads(cosines, 2 * SHEAR)


@BOTH
def test_patches_are_scaled_along_each_axis(spatial_dims):
    for axis in range(spatial_dims):
        sizes = np.linalg.norm(seen(spatial_dims)[0][:, :, axis], axis=1)
        sheared = np.hypot(1, SHEAR) if axis < 2 else 1
        assert 1 - SCALE - 1e-3 <= sizes.min() < 1 - 0.7 * SCALE
        assert 1 + 0.7 * SCALE < sizes.max() <= (1 + SCALE) * sheared + 1e-3
    areas = abs(np.linalg.det(in_plane(spatial_dims)))
    assert areas.min() < 0.9
    assert areas.max() > 1.1


def test_a_slice_stays_a_slice():
    """The third coordinate is scaled about the middle; it depends on the height alone, up to the border."""
    matrices, gains, offsets, patches = seen(3)
    assert np.abs(matrices[:, 2, :2]).max() < 1e-3
    assert np.abs(matrices[:, :2, 2]).max() < 1e-3
    assert matrices[:, 2, 2].min() > 0
    heights = (patches[:, 2] - offsets[:, None, None, None]) / gains[:, None, None, None]
    assert np.ptp(heights, axis=(1, 2)).max() < 1e-3
    assert np.abs(heights[:, :, :, 3]).max() < 1e-3


@BOTH
def test_intensities_change_in_gain_and_in_offset(spatial_dims):
    _, gains, offsets, patches = seen(spatial_dims)
    assert spreads(gains - 1, FACTOR)
    assert spreads(offsets, OFFSET)
    for constant in (patches[:, -2], patches[:, -1]):
        assert np.ptp(constant.reshape(len(constant), -1), axis=1).max() < 1e-5
