"""What nnU-Net v2's trainer executes as its augmentation."""

import numpy as np
import pytest
from monai.transforms import RandomizableTransform
from scipy import ndimage

from lesionforge.augmentation.classical import RandTurnedScaledd, classical_augmentation

DIMS = pytest.mark.parametrize("spatial_dims", [2, 3])
PROBABILITIES = {
    "noise": 0.1,
    "blur": 0.2,
    "brightness": 0.15,
    "contrast": 0.15,
    "low resolution": 0.25,
    "inverted gamma": 0.1,
    "gamma": 0.3,
}
PER_CHANNEL = {"blur": 0.5, "brightness": 1, "contrast": 1, "low resolution": 0.5, "inverted gamma": 1, "gamma": 1}
THIN = (40, 40, 8)


def parts(spatial_dims):
    """Return the transforms by name."""
    move, *found, mirror = classical_augmentation(spatial_dims, background=0.0).transforms[1:-1]
    assert all(isinstance(one, RandomizableTransform) for one in found)
    return {"move": move, **dict(zip(PROBABILITIES, found, strict=True)), "mirror": mirror}


def textured(spatial_dims, channels=3, side=24):
    """Return a smooth positive image whose channels differ."""
    rng = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(rng.normal(size=(channels, *[side] * spatial_dims)), (0, *[2] * spatial_dims))
    return (1 + noise / noise.std() / 4).astype(np.float32)


def varied(transform, image, n=30, **settings):
    """Apply one transform for certain, again and again."""
    for name, value in {"prob": 1.0, **settings}.items():
        setattr(transform, name, value)
    for seed in range(n):
        transform.set_random_state(seed)
        item = transform({"image": image.copy(), "label": image[:1].copy()})
        yield np.asarray(item["image"])


def moves(shape, n=60, **probabilities):
    """Return the matrix of each move, from what became of an image that holds its own coordinates."""
    grid = np.indices(shape).astype(np.float32) + 100
    move = RandTurnedScaledd(("image", "label"), **probabilities)
    middle = np.array(shape) // 2
    for seed in range(n):
        move.set_random_state(seed)
        item = move({"image": grid, "label": grid[:1]})
        found = np.asarray(item["image"])
        steps = np.eye(len(shape), dtype=int)
        columns = [found[(slice(None), *(middle + step))] - found[(slice(None), *(middle - step))] for step in steps]
        yield np.stack(columns, 1) / 2


@DIMS
def test_each_transform_is_as_frequent_as_stated(spatial_dims):
    found = parts(spatial_dims)
    move, mirror = found.pop("move"), found.pop("mirror")
    assert (move.rotation_prob, move.scaling_prob) == (0.2, 0.2)
    assert list(mirror.axes) == list(range(spatial_dims))
    assert {name: transform.prob for name, transform in found.items()} == PROBABILITIES
    assert {name: found[name].channel_prob for name in PER_CHANNEL} == PER_CHANNEL


@pytest.mark.parametrize("shape", [(32, 32), (24, 24, 24)])
def test_turns_and_scalings_come_alone_together_or_not_at_all(shape):
    kinds = set()
    for matrix in moves(shape, 120, rotation_prob=0.5, scaling_prob=0.5):
        scale = abs(np.linalg.det(matrix)) ** (1 / len(shape))
        kinds.add((bool(abs(scale - 1) > 1e-3), bool(np.abs(matrix / scale - np.eye(len(shape))).max() > 1e-3)))
    assert kinds == {(False, False), (False, True), (True, False), (True, True)}


@pytest.mark.parametrize("shape", [(32, 32), (24, 24, 24)])
def test_all_axes_are_scaled_alike_by_07_to_14(shape):
    found = list(moves(shape, rotation_prob=0, scaling_prob=1))
    for matrix in found:
        assert np.allclose(matrix, matrix[0, 0] * np.eye(len(shape)), atol=1e-3)
    scales = [matrix[0, 0] for matrix in found]
    assert 0.7 - 1e-3 < min(scales) < 0.75
    assert 1.35 < max(scales) < 1.4 + 1e-3


@pytest.mark.parametrize(("shape", "largest"), [((32, 32), 180), ((36, 24), 180), ((37, 24), 15)])
def test_slices_are_turned_by_any_angle_and_elongated_ones_by_15_degrees(shape, largest):
    found = np.array(list(moves(shape, rotation_prob=1, scaling_prob=0)))
    assert np.allclose(found @ found.transpose(0, 2, 1), np.eye(2), atol=1e-3), "a turn keeps the size"
    angles = np.abs(np.rad2deg(np.arctan2(found[:, 1, 0], found[:, 0, 0])))
    assert 0.9 * largest < angles.max() < largest + 0.1


def test_volumes_are_turned_about_every_axis_by_up_to_30_degrees():
    """Of R = Rx Ry Rz, as MONAI composes it, the angles can be read from its last column and its first row."""
    found = np.array(list(moves((24, 24, 24), rotation_prob=1, scaling_prob=0)))
    assert np.allclose(found @ found.transpose(0, 2, 1), np.eye(3), atol=1e-3)
    y = np.arcsin(found[:, 0, 2])
    x = np.arctan2(-found[:, 1, 2], found[:, 2, 2])
    z = np.arctan2(-found[:, 0, 1], found[:, 0, 0])
    for angles in np.abs(np.rad2deg([x, y, z])):
        assert 25 < angles.max() < 30.1


def test_thin_volumes_are_turned_and_scaled_within_their_slices_by_any_angle():
    found = np.array(list(moves(THIN, rotation_prob=1, scaling_prob=1)))
    assert np.allclose(found[:, 2], [0, 0, 1], atol=1e-3)
    assert np.allclose(found[:, :2, 2], 0, atol=1e-3)
    angles = np.abs(np.rad2deg(np.arctan2(found[:, 1, 0], found[:, 0, 0])))
    assert angles.max() > 160


@DIMS
def test_labels_move_with_the_image_classes_are_not_mixed_and_what_comes_in_is_background(spatial_dims):
    texture = textured(spatial_dims, 1)
    label = np.select([texture > 1.2, texture > 1.05], [4, 2], 1).astype(np.float32)
    move, outside = RandTurnedScaledd(("image", "label"), rotation_prob=1, scaling_prob=1), []
    for seed in range(10):
        move.set_random_state(seed)
        item = move({"image": label.copy(), "label": label.copy()})
        image, moved = np.asarray(item["image"]), np.asarray(item["label"])
        assert set(np.unique(moved)) <= {0, 1, 2, 4}
        assert np.abs(image - moved).mean() < 0.35
        outside.append((moved == 0).any())
    assert any(outside)


@DIMS
def test_noise_has_one_strength_of_up_to_a_tenth_for_all_channels(spatial_dims):
    image, strengths = textured(spatial_dims), []
    for found in varied(parts(spatial_dims)["noise"], image):
        noise = (found - image).reshape(len(image), -1)
        assert noise.std(1) == pytest.approx(noise.std(), rel=0.15)
        assert np.abs(np.corrcoef(noise) - np.eye(len(image))).max() < 0.2, "channels have noise of their own"
        strengths.append(noise.std())
    assert 0.09 < max(strengths) < 0.102
    assert min(strengths) < 0.02


@DIMS
@pytest.mark.parametrize("name", ["blur", "low resolution"])
def test_blur_and_low_resolution_take_half_of_the_channels(name, spatial_dims):
    image = textured(spatial_dims)
    after = varied(parts(spatial_dims)[name], image, 100)
    changed = [[not np.array_equal(*pair) for pair in zip(found, image, strict=True)] for found in after]
    assert 0.4 < np.mean(changed) < 0.6
    assert {sum(channels) for channels in changed} == {0, 1, 2, 3}


@DIMS
def test_blur_is_half_to_one_voxel_along_each_axis_of_its_own(spatial_dims):
    point = np.zeros((2, *[15] * spatial_dims), np.float32)
    point[(slice(None), *[7] * spatial_dims)] = 1
    place, sigmas = np.arange(15) - 7, []
    for found in varied(parts(spatial_dims)["blur"], point, channel_prob=1.0):
        for channel in found:
            profiles = [channel.sum(tuple(set(range(spatial_dims)) - {axis})) for axis in range(spatial_dims)]
            sigmas.append([np.sqrt((profile * place**2).sum() / profile.sum()) for profile in profiles])
    sigmas = np.array(sigmas)
    assert 0.45 < sigmas.min() < 0.65
    assert 0.95 < sigmas.max() < 1.1
    assert np.ptp(sigmas, 1).max() > 0.2, "axes differ"


@DIMS
def test_brightness_is_a_factor_of_each_channel(spatial_dims):
    image, factors = textured(spatial_dims), []
    for found in varied(parts(spatial_dims)["brightness"], image):
        ratios = (found / image).reshape(len(image), -1)
        assert np.ptp(ratios, 1).max() < 1e-4
        factors.append(ratios.mean(1))
    assert 0.75 <= np.min(factors) < 0.78
    assert 1.22 < np.max(factors) <= 1.2501
    assert np.ptp(factors, 1).max() > 0.2, "channels differ"


@DIMS
def test_contrast_is_about_each_channels_mean_within_its_range(spatial_dims):
    image = textured(spatial_dims) * np.array([1, 2, 3]).reshape(3, *[1] * spatial_dims).astype(np.float32)
    factors = []
    for found in varied(parts(spatial_dims)["contrast"], image):
        for before, after in zip(image, found, strict=True):
            assert before.min() - 1e-5 <= after.min() <= after.max() <= before.max() + 1e-5
            inner = (np.abs(before - before.mean()) < before.std()) & (before != before.mean())
            factors.append(np.median((after - before.mean())[inner] / (before - before.mean())[inner]))
    assert 0.75 <= min(factors) + 1e-3 < 0.79
    assert 1.21 < max(factors) <= 1.251


@DIMS
def test_low_resolution_loses_what_a_grid_of_half_to_full_size_cannot_hold(spatial_dims):
    coarse = parts(spatial_dims)["low resolution"]
    assert coarse.transform.zoom_range == (0.5, 1.0)
    image, kept = textured(spatial_dims), {}
    for zoom in (0.5, 0.75, 1.0):
        coarse.transform.zoom_range = (zoom, zoom)
        (found,) = varied(coarse, image, n=1, channel_prob=1.0)
        assert found.shape == image.shape
        assert found.mean() == pytest.approx(image.mean(), abs=0.01)
        kept[zoom] = np.abs(found - image).mean()
    assert kept[0.5] > 1.2 * kept[0.75] > 0
    assert kept[1.0] == pytest.approx(0, abs=1e-6)


def test_low_resolution_leaves_the_slices_of_a_thin_volume_apart():
    image = np.zeros((1, *THIN), np.float32)
    image[..., 3] = 1
    for found in varied(parts(3)["low resolution"], image, channel_prob=1.0):
        assert np.allclose(found, image, atol=1e-6)
    cube = np.zeros((1, 16, 16, 16), np.float32)
    cube[..., 7] = 1
    assert any(not np.array_equal(found, cube) for found in varied(parts(3)["low resolution"], cube, channel_prob=1.0))


@DIMS
@pytest.mark.parametrize("name", ["gamma", "inverted gamma"])
def test_gamma_is_07_to_15_as_often_below_1_as_above_and_keeps_mean_and_spread(name, spatial_dims):
    image, gammas = textured(spatial_dims, 2), []
    sign = -1 if name == "inverted gamma" else 1
    for found in varied(parts(spatial_dims)[name], image, 100):
        for before, after in zip(sign * image, sign * found, strict=True):
            assert after.mean() == pytest.approx(before.mean(), abs=1e-3)
            assert after.std() == pytest.approx(before.std(), abs=1e-3)
            share = (before - before.min()) / np.ptp(before)
            curve = [np.corrcoef((share**gamma).ravel(), after.ravel())[0, 1] for gamma in GAMMAS]
            gammas.append(GAMMAS[int(np.argmax(curve))])
    assert min(gammas) < 0.73
    assert max(gammas) > 1.45
    assert 0.4 < np.mean(np.array(gammas) < 1) < 0.6


GAMMAS = np.arange(0.66, 1.55, 0.04)


@DIMS
@pytest.mark.parametrize("background", [-1.0, 0.0])
def test_air_stays_air_but_for_noise(background, spatial_dims):
    air = np.full((2, *[16] * spatial_dims), background, np.float32)
    augment = classical_augmentation(spatial_dims, background=background)
    for seed in range(30):
        augment.set_random_state(seed)
        found = np.asarray(augment({"image": air, "label": air[:1] * 0})["image"])
        assert np.abs(found - background).max() < 0.6


@DIMS
def test_the_same_seed_gives_the_same_bytes(spatial_dims):
    image = textured(spatial_dims, 2)
    augment = classical_augmentation(spatial_dims, background=0.0)
    for seed in range(10):
        found = []
        for _ in range(2):
            augment.set_random_state(seed)
            found.append(np.asarray(augment({"image": image.copy(), "label": image[:1].copy()})["image"]).tobytes())
        assert found[0] == found[1]
