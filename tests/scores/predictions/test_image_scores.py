"""Scores per image: 2D cases, and slices of volumes."""

import math

import numpy as np
import pandas as pd
import pytest

from lesionforge.scores.predictions.case_scores import score_case
from lesionforge.scores.predictions.image_scores import (
    NoiseFilter,
    class_average,
    image_detections,
    image_dice,
    precision_recall,
)

TYPES = {"background": 0, "IPH": 1, "IVH": 2}
ONE = {"background": 0, "lesion": 1}


def image(size=64, **places):
    """Return a slice; ``c1=(start, stop)`` is a square of class 1 along the diagonal."""
    label = np.zeros((size, size), np.int16)
    for name, (start, stop) in places.items():
        label[start:stop, start:stop] = int(name[1:])
    return label


def stacked(*images, axis=2):
    return np.stack(images, axis)


def random_pair(rng, shape):
    truth = rng.integers(0, 3, shape).astype(np.int16)
    return np.where(rng.random(shape) < 0.3, rng.integers(0, 3, shape), truth).astype(np.int16), truth


def per_image(prediction, truth, spacing, labels=TYPES):
    scores = score_case(prediction, truth, spacing, labels)
    return {name: value for name, value in scores.items() if name.startswith("image_dice")}


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_of_a_volume_count_as_its_images(axis):
    """Along the thickest axis; a slice without a lesion, or without a class, is not averaged over."""
    rng = np.random.default_rng(0)
    pairs = [random_pair(rng, (9, 7)) for _ in range(3)]
    pairs.append((image(9)[:, :7] + 1, image(9)[:, :7]))
    pairs.append((image(9)[:, :7] + 1, image(9)[:, :7] + 1))
    spacing = np.insert([1.0, 1.0], axis, 5.0)
    whole = per_image(*(stacked(*maps, axis=axis) for maps in zip(*pairs, strict=True)), spacing)
    alone = pd.DataFrame([per_image(*pair, (1.0, 1.0)) for pair in pairs])
    assert alone["image_dice"].isna().sum() == 1
    assert alone["image_dice_IVH"].isna().sum() == 2
    assert whole == pytest.approx(alone.mean().to_dict())


def test_a_wrong_class_is_wrong_in_dice_over_all_classes_together():
    truth, prediction = image(c1=(0, 10), c2=(10, 20)), image(c1=(0, 20))
    scores = per_image(prediction, truth, (1, 1))
    assert scores["image_dice"] == pytest.approx(2 * 100 / (400 + 200))
    assert scores["image_dice_IPH"] == pytest.approx(2 * 100 / (400 + 100))
    assert scores["image_dice_IVH"] == 0
    assert image_dice(np.where(truth > 0, 3 - truth, 0), truth, (1, 1)) == 0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_false_alarms_of_slices_are_counted_where_no_slice_has_a_lesion(axis):
    lesion, none = image(c1=(0, 10)), image()
    spacing = [5.0 if other == axis else 1.0 for other in range(3)]
    truth = stacked(lesion, none, none, none, none, axis=axis)
    for found, share in ((lesion, 1), (none, 0)):
        found = stacked(none, found, none, lesion, none, axis=axis)
        assert score_case(found, truth, spacing, ONE)["slice_false_alarm"] == (1 + share) / 4
    assert score_case(truth, stacked(*[none] * 5, axis=axis), spacing, ONE)["slice_false_alarm"] == 1 / 5
    assert math.isnan(score_case(truth, stacked(*[lesion] * 5, axis=axis), spacing, ONE)["slice_false_alarm"])
    assert "slice_false_alarm" not in score_case(lesion, lesion, (1.0, 1.0), ONE)


def test_with_one_class_it_is_the_dice_of_images_with_a_lesion():
    truth, prediction = image(c1=(0, 10)), image(c1=(5, 15))
    for pair in ((prediction, truth), (truth * 0, truth), (truth, truth * 0)):
        scores = score_case(*pair, (1.0, 1.0), ONE)
        assert scores["image_dice"] == pytest.approx(scores["lesion_dice"], nan_ok=True)
        assert not [name for name in scores if name.startswith("image_dice_")]


def test_the_two_averagings_of_the_paper_differ():
    """Nine images of a class that is found, one of a class that is not: 90 by images, 50 by classes."""
    images = [(image(c1=(0, 9)),) * 2] * 9 + [(image(), image(c2=(0, 9)))]
    table = pd.DataFrame([score_case(*pair, (1.0, 1.0), TYPES) for pair in images])
    assert table["image_dice"].mean() == pytest.approx(0.9)
    assert class_average(table) == pytest.approx(0.5)
    assert math.isnan(class_average(table[["dice", "image_dice"]]))


def count(prediction, truth, *, spacing=(1, 1), labels=TYPES, **options):
    return list(image_detections(prediction, truth, spacing, labels, NoiseFilter(**options)).values())


def test_hits_false_alarms_and_misses_are_counted_for_each_class_of_an_image():
    truth = image(c1=(0, 20), c2=(30, 50))
    assert count(truth, truth) == [2, 0, 0]
    assert count(image(c1=(0, 20)), truth) == [1, 0, 1]
    assert count(truth, image(c1=(0, 20))) == [1, 1, 0]
    assert count(image(c1=(30, 50), c2=(0, 20)), truth) == [0, 2, 2], "in the wrong place it is both"
    assert count(image(), image()) == [0, 0, 0]


@pytest.mark.parametrize(("size", "side"), [(256, 15), (128, 8), (512, 29)])
def test_false_alarms_below_200_pixels_of_256_times_256_are_noise(size, side):
    """15² is the first square above 200; half the image's side has a quarter of the pixels."""
    large, small = (image(size, c1=(0, n)) for n in (side, side - 1))
    assert count(large, image(size)) == [0, 1, 0]
    assert count(small, image(size)) == [0, 0, 0]
    assert count(small, image(size), least_area=1) == [0, 1, 0]
    assert count(small, small) == [1, 0, 0], "true ones may be small"


def test_true_detections_below_a_quarter_of_dice_are_missed_or_ignored():
    truth, poor, enough = image(c1=(0, 20)), image(c1=(16, 36)), image(c1=(9, 29))
    assert image_dice(poor, truth, (1, 1)) < 0.25 < image_dice(enough, truth, (1, 1))
    assert count(enough, truth) == count(enough, truth, below_dice="ignored") == [1, 0, 0]
    assert count(poor, truth) == [0, 0, 1]
    assert count(poor, truth, below_dice="ignored") == [0, 0, 0]
    assert count(poor, truth, least_dice=0.01) == [1, 0, 0]
    assert count(image(), truth, below_dice="ignored") == [0, 0, 1]


def test_a_volume_counts_as_its_slices_and_subjects_add_up():
    rng = np.random.default_rng(1)
    pairs = [random_pair(rng, (40, 40)) for _ in range(4)]
    rows = pd.DataFrame([image_detections(*pair, (1, 1), TYPES, NoiseFilter(least_dice=0.8)) for pair in pairs])
    maps = (stacked(*one) for one in zip(*pairs, strict=True))
    whole = pd.DataFrame([image_detections(*maps, (1, 1, 5), TYPES, NoiseFilter(least_dice=0.8))])
    assert whole.iloc[0].tolist() == rows.sum().tolist()
    assert 0 < whole["image_hits"].item() < 8
    assert precision_recall(whole) == precision_recall(rows)


def test_precision_and_recall_are_of_all_images_together():
    table = pd.DataFrame({"image_hits": [6, 0], "image_false_alarms": [0, 2], "image_misses": [3, 3]})
    assert precision_recall(table) == (0.75, 0.5)
    assert all(map(math.isnan, precision_recall(table * 0)))
