import numpy as np
import pytest

from lesionforge.scores.cohorts.mask_shapes import compare_masks, nearest_dice, replays, shape_measures

SPACING = (2.0, 2.0, 3.0)


def ball_mm(radius, *, size=(30, 30, 20), spacing=SPACING, centre=None):
    middle = [n * s / 2 for n, s in zip(size, spacing, strict=True)] if centre is None else centre
    grid = np.indices(size) * np.array(spacing).reshape(3, 1, 1, 1)
    return (sum((g - c) ** 2 for g, c in zip(grid, middle, strict=True)) < radius**2).astype(np.int16)


def blobs(n, seed):
    rng = np.random.default_rng(seed)
    return np.stack([ball_mm(rng.uniform(6, 16), centre=rng.uniform([15, 15, 15], [45, 45, 45])) for _ in range(n)])


def value(scores, name, column="drawn"):
    return float(scores.set_index("score").loc[name, column])


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), SPACING])
def test_volume_and_sphericity_of_a_ball(spacing):
    size = tuple(int(40 / s) for s in spacing)
    row = shape_measures(ball_mm(15, size=size, spacing=spacing)[None], spacing).iloc[0]
    assert row["volume_ml"] == pytest.approx(4 / 3 * np.pi * 1.5**3, rel=0.05)
    assert 0.87 < row["sphericity"] <= 1.02
    assert row["components"] == 1


def test_a_rod_is_less_like_a_ball_than_a_cube():
    masks = np.zeros((2, 30, 30, 30), np.int16)
    masks[0, 10:20, 10:20, 10:20] = 1
    masks[1, 2:28, 13:16, 13:16] = 1
    cube, rod = shape_measures(masks, (1, 1, 1))["sphericity"]
    assert cube == pytest.approx((np.pi / 6) ** (1 / 3), abs=0.05)
    assert rod < 0.65


def test_components_touch_at_corners_and_an_empty_mask_has_none():
    masks = np.zeros((3, 8, 8, 8), np.int16)
    masks[0, 1:3, 1:3, 1:3] = masks[0, 3:5, 3:5, 3:5] = 1
    masks[1, 1, 1, 1] = masks[1, 5, 5, 5] = 2
    table = shape_measures(masks, (1, 1, 1))
    assert table["components"].tolist() == [1, 2, 0]
    assert np.isnan(table["sphericity"][2])


def test_the_nearest_mask_is_found():
    training = blobs(10, 0)
    assert nearest_dice(training[3:5], training) == pytest.approx([1, 1])
    half = training[:1].copy()
    half[:, :, :, : np.flatnonzero(half.any((0, 1, 2)))[0] + 1] = 0
    assert 0.5 < nearest_dice(half, training)[0] < 1
    assert nearest_dice(np.zeros_like(half), training)[0] == 0


def test_masks_from_the_same_source_are_alike_and_others_are_not():
    training, held_out = blobs(80, 1), blobs(60, 2)
    good = compare_masks(blobs(60, 3), held_out, training, spacing=SPACING)
    large = np.stack([ball_mm(25, centre=[20, 30, 30])] * 60)
    bad = compare_masks(large, held_out, training, spacing=SPACING)
    for name in ("volume_ml_ks", "volume_ml_wasserstein"):
        assert value(good, name) < 0.5 * value(bad, name)
    assert value(good, "location_correlation") > value(bad, "location_correlation")
    assert value(good, "location_correlation", "real") > 0.5
    assert value(good, "volume_ml_ks", "real") < 0.3


def test_a_source_that_replays_its_training_masks_is_noticed():
    training, held_out = blobs(80, 1), blobs(60, 2)
    rng = np.random.default_rng(0)
    fresh, copied = blobs(60, 3), training[rng.integers(80, size=60)]
    partly = np.concatenate([fresh[:36], copied[:24]])
    results = {
        name: compare_masks(masks, held_out, training, spacing=SPACING)
        for name, masks in {"fresh": fresh, "copied": copied, "partly": partly}.items()
    }
    assert not replays(results["fresh"])
    assert replays(results["copied"])
    assert replays(results["partly"])
    assert value(results["copied"], "nearest_training_dice_median") == pytest.approx(1)
    assert value(results["fresh"], "copies", "real") <= 0.07


def test_empty_masks_are_counted_and_leave_the_other_scores_defined():
    training, held_out = blobs(30, 1), blobs(30, 2)
    none = np.zeros_like(held_out)
    scores = compare_masks(none, held_out, training, spacing=SPACING)
    assert value(scores, "empty") == 1
    assert value(scores, "volume_ml_ks") == 1
    assert np.isnan(value(scores, "sphericity_ks"))
    assert np.isnan(value(scores, "location_correlation"))
