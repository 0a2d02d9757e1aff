"""What nnU-Net v2's trainer says of its augmentation."""

import numpy as np
import pytest
from monai.transforms import RandomizableTransform

from lesionforge.tasks.augmentation import classical_augmentation

DIMS = pytest.mark.parametrize("spatial_dims", [2, 3])
PROBABILITIES = {
    "rotation": 0.2,
    "scaling": 0.2,
    "noise": 0.1,
    "blur": 0.2,
    "brightness": 0.15,
    "contrast": 0.15,
    "low resolution": 0.25,
    "inverted gamma": 0.1,
    "gamma": 0.3,
}


def parts(spatial_dims):
    """Return the random transforms by name."""
    found = [
        transform
        for transform in classical_augmentation(spatial_dims, background=0.0).transforms
        if isinstance(transform, RandomizableTransform)
    ]
    mirrors = [f"mirror {axis}" for axis in range(spatial_dims)]
    return dict(zip([*PROBABILITIES, *mirrors], found, strict=True))


def ball(spatial_dims, radius):
    distance = np.square(np.indices([32 if spatial_dims == 2 else 24] * spatial_dims) - 11.5).sum(0)
    return (distance < radius**2).astype(np.float32)


def varied(transform, image, label, n=30):
    """Apply one transform for certain, again and again."""
    transform.prob = 1.0
    for seed in range(n):
        transform.set_random_state(seed)
        item = transform({"image": image.copy(), "label": label.copy()})
        yield np.asarray(item["image"]), np.asarray(item["label"])


@DIMS
def test_each_transform_is_as_frequent_as_stated(spatial_dims):
    mirrors = {f"mirror {axis}": 0.5 for axis in range(spatial_dims)}
    assert {name: transform.prob for name, transform in parts(spatial_dims).items()} == PROBABILITIES | mirrors


@DIMS
def test_scaling_is_from_70_to_140_percent_and_turns_keep_the_size(spatial_dims):
    transforms, label = parts(spatial_dims), 2 * ball(spatial_dims, 7)[None]
    scaled = {name: [] for name in ("rotation", "scaling")}
    for name, factors in scaled.items():
        for _, found in varied(transforms[name], label / 2, label):
            assert set(np.unique(found)) == {0, 2}, "classes are not mixed"
            factors.append((found.sum() / label.sum()) ** (1 / spatial_dims))
    assert 0.67 < min(scaled["scaling"]) < 0.8
    assert 1.2 < max(scaled["scaling"]) < 1.43
    assert scaled["rotation"] == pytest.approx([1] * 30, abs=0.05)


def test_volumes_are_turned_within_their_slices():
    slab = np.zeros((1, 24, 24, 24), np.float32)
    slab[..., 8:15] = 1
    disc = ball(3, 9)[None] * slab
    for _, found in varied(parts(3)["rotation"], disc, disc):
        assert np.array_equal(found.any((0, 1, 2)), disc.any((0, 1, 2)))


@DIMS
def test_the_ranges_of_intensity_are_those_stated(spatial_dims):
    transforms, label = parts(spatial_dims), ball(spatial_dims, 7)[None]
    image = np.random.default_rng(0).uniform(0.2, 2, label.shape).astype(np.float32)
    noise = [np.std(found - image) for found, _ in varied(transforms["noise"], image, label)]
    assert 0.08 < max(noise) < 0.105
    factors = [found / image for found, _ in varied(transforms["brightness"], image, label)]
    assert all(np.ptp(factor) < 1e-5 for factor in factors)
    assert 0.75 <= np.min(factors) < 0.85
    assert 1.15 < np.max(factors) <= 1.25
    for found, _ in varied(transforms["contrast"], image, label):
        assert found.min() >= image.min() - 1e-6
        assert found.max() <= image.max() + 1e-6
        assert found.mean() == pytest.approx(image.mean(), abs=0.02)
    for name in ("gamma", "inverted gamma"):
        for found, _ in varied(transforms[name], image, label):
            assert found.mean() == pytest.approx(image.mean(), abs=1e-3)
            assert found.std() == pytest.approx(image.std(), abs=1e-3)
            assert not np.array_equal(found, image)


@DIMS
def test_every_axis_is_mirrored(spatial_dims):
    corner = np.zeros((1, *[8] * spatial_dims), np.float32)
    corner[(0, *[1] * spatial_dims)] = 1
    for axis in range(spatial_dims):
        for image, label in varied(parts(spatial_dims)[f"mirror {axis}"], corner, corner, n=1):
            assert np.array_equal(image, label)
            assert np.array_equal(image, np.flip(corner, axis + 1))


@DIMS
@pytest.mark.parametrize("background", [-1.0, 0.0])
def test_air_stays_air_but_for_noise(background, spatial_dims):
    air = np.full((1, *[16] * spatial_dims), background, np.float32)
    augment = classical_augmentation(spatial_dims, background=background)
    for seed in range(30):
        augment.set_random_state(seed)
        found = np.asarray(augment({"image": air, "label": air * 0})["image"])
        assert np.abs(found - background).max() < 0.6
