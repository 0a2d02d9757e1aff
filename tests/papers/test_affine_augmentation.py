"""What the stroke system says of its augmentation, and its authors' code of the ranges."""

import numpy as np
import pytest
from scipy import ndimage

from lesionforge.augmentation.affine import RandSmallAffined, affine_augmentation
from lesionforge.augmentation.seeded import apply_seeded
from lesionforge.synthesizers.translation.conditions import Condition
from lesionforge.synthesizers.translation.pix2pix_config import Pix2PixConfig
from lesionforge.synthesizers.translation.training_crops import TrainingCrops
from lesionforge.tasks.segmentation.training_cases import augmentation
from tests.synthesizers.models import make_sample

DIMS = pytest.mark.parametrize("spatial_dims", [2, 3])
SHAPES = {2: (48, 40), 3: (32, 28, 24)}


def moves(spatial_dims, n=150):
    """Return matrix and shift of each move, in shares of the size, from an image that holds its own coordinates."""
    shape = np.array(SHAPES[spatial_dims])
    grid = np.indices(shape).astype(np.float32) + 100
    middle, steps = shape // 2, np.eye(spatial_dims, dtype=int) * 4
    move = RandSmallAffined(("image", "label"))
    for seed in range(n):
        move.set_random_state(seed)
        item = move({"image": grid, "label": grid[:1]})
        found = np.asarray(item["image"]) - 100
        columns = [found[(slice(None), *(middle + step))] - found[(slice(None), *(middle - step))] for step in steps]
        matrix = np.stack(columns, 1) / 8
        shift = found[(slice(None), *middle)] - (shape - 1) / 2 - matrix @ (middle - (shape - 1) / 2)
        yield matrix, shift / shape


@DIMS
def test_moves_are_small_and_left_and_right_are_exchanged_in_some(spatial_dims):
    found, flipped, still = [], 0, 0
    for matrix, shift in moves(spatial_dims):
        flipped += bool(matrix[0, 0] < 0)
        unflipped = matrix * [-1, *[1] * (spatial_dims - 1)] if matrix[0, 0] < 0 else matrix
        still += np.allclose(matrix, np.eye(spatial_dims), atol=1e-3) and np.allclose(shift, 0, atol=1e-3)
        found.append((unflipped - np.eye(spatial_dims), shift))
    changes, shifts = (np.abs(np.stack(part)) for part in zip(*found, strict=True))
    diagonal = changes[:, np.arange(spatial_dims), np.arange(spatial_dims)]
    assert 0.04 < diagonal.max() < 0.05 + 0.05 + 0.05 * 0.05 + 0.02, "a stretch, a zoom, and what turns and shears add"
    off = changes[:, ~np.eye(spatial_dims, dtype=bool)]
    assert 0.06 < off.max() < (np.sin(np.deg2rad(5)) + 0.03) * 1.2 + 0.01
    assert 0.015 < shifts.max() < 0.02 * 1.25
    assert 0.02 < flipped / len(found) < 0.4
    assert 0.02 < still / len(found) < 0.35


@pytest.mark.parametrize("sizes", [(1, 2, 2, 2, 1, 1), (3, 3, 3, 3, 1, 1)])
def test_at_most_six_numbers_are_drawn(sizes):
    move, counts = RandSmallAffined(("image",)), set()
    for seed in range(200):
        move.set_random_state(seed)
        groups = move._draw(*sizes)
        assert [len(group) for group in groups] == list(sizes)
        assert np.abs(np.concatenate(groups)).max() <= 1
        counts.add(int(np.count_nonzero(np.concatenate(groups))))
    assert counts == set(range(7))


@DIMS
@pytest.mark.parametrize("background", [-1.0, 0.0])
def test_labels_follow_classes_are_not_mixed_and_air_comes_in(background, spatial_dims):
    rng = np.random.default_rng(0)
    texture = ndimage.gaussian_filter(rng.normal(size=SHAPES[spatial_dims]), 3)
    label = np.select([texture > 0.05, texture > 0.0], [4, 2], 0)[None].astype(np.float32)
    augment = affine_augmentation(background=background)
    changed = 0
    for seed in range(12):
        item = apply_seeded(augment, {"image": label + background, "label": label}, seed)
        image, moved = np.asarray(item["image"]) - background, np.asarray(item["label"])
        assert moved.shape == image.shape == label.shape
        assert set(np.unique(moved)) <= {0, 2, 4}
        assert np.abs(image - moved).mean() < 0.35
        changed += not np.array_equal(moved, label)
    assert changed > 6
    air = np.full_like(label, background)
    assert np.allclose(apply_seeded(augment, {"image": air, "label": 0 * air}, 3)["image"], background, atol=1e-5)


@DIMS
def test_the_image_is_interpolated_by_cubic_splines(spatial_dims):
    """They keep a fine texture that linear interpolation blurs."""
    image = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=SHAPES[spatial_dims]), 1)[None]
    image = image.astype(np.float32)
    spreads = []
    for seed in range(12):
        item = apply_seeded(affine_augmentation(background=0.0), {"image": image, "label": image}, seed)
        inner = tuple(slice(6, -6) for _ in SHAPES[spatial_dims])
        spreads.append(np.asarray(item["image"])[0][inner].std() / image[0][inner].std())
    assert np.mean(spreads) > 0.95


@DIMS
def test_it_can_be_chosen_for_segmentation_and_for_generators(spatial_dims):
    vary = augmentation("affine", spatial_dims, background=-1.0, spacing=None)
    assert any(isinstance(one, RandSmallAffined) for one in vary.transforms)
    sample = make_sample((32,) * spatial_dims)
    options = Pix2PixConfig(
        condition="label", augment="affine", roi_size=(32,) * spatial_dims, spatial_dims=spatial_dims
    )
    crops = TrainingCrops(
        [sample], options, Condition(name="label", image_channels=1, classes=(1,), noise_channels=0), seed=0
    )
    items = [crops[draw] for draw in range(4)]
    assert all(-1 <= item["image"].min() <= item["image"].max() <= 1 for item in items)
    assert not np.array_equal(items[0]["image"], items[1]["image"])
