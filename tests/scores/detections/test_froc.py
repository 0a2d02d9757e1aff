"""Hits and FROC curves, with examples worked out by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from lesionforge.scores.detections.froc import froc, row_of
from lesionforge.scores.detections.hits import find_hits, hits_by_tolerance

DIMS = (2, 3)


def truth_of(spatial_dims, *centres, size=40):
    truth = np.zeros((size,) * spatial_dims, bool)
    for centre in centres:
        truth[(slice(centre - 1, centre + 2),) * spatial_dims] = True
    return truth


def at(spatial_dims, *places):
    return np.array([[place] * spatial_dims for place in places], float)


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_a_duplicate_is_neither_a_hit_nor_false(spatial_dims):
    """One lesion, detected twice, and one false detection far away."""
    spacing = (1.0,) * spatial_dims
    hits = find_hits(at(spatial_dims, 10, 11, 30), [0.6, 0.9, 0.4], truth_of(spatial_dims, 10), spacing)
    assert hits.of_lesions.tolist() == [0.9]
    assert hits.false.tolist() == [0.4]


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_one_detection_hits_one_lesion_the_nearer(spatial_dims):
    """Two lesions whose surroundings overlap: voxels 9 to 11 and 14 to 16; a point at 12.4 is nearer to the first."""
    truth, spacing = truth_of(spatial_dims, 10, 15), (1.0,) * spatial_dims
    point = np.array([[12.4] + [10.0] * (spatial_dims - 1)])
    truth = np.zeros((40,) * spatial_dims, bool)
    beside = (slice(9, 12),) * (spatial_dims - 1)
    truth[(slice(9, 12), *beside)] = truth[(slice(14, 17), *beside)] = True
    hits = find_hits(point, [0.7], truth, spacing)
    assert hits.of_lesions.tolist() == [0.7, -math.inf]
    assert hits.false.size == 0


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize(("second", "lesions"), [(13, 1), (14, 2)])
def test_lesions_that_touch_are_one(spatial_dims, second, lesions):
    """Also by a corner: two detections are a hit and a duplicate. With a voxel between them, they are two hits."""
    hits = find_hits(
        at(spatial_dims, 10, second), [0.6, 0.9], truth_of(spatial_dims, 10, second), (1.0,) * spatial_dims
    )
    assert hits.of_lesions.tolist() == {1: [0.9], 2: [0.6, 0.9]}[lesions]
    assert hits.false.size == 0


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize(("tolerance", "found"), [(0.0, False), (1.0, True), (2.0, True)])
def test_a_point_one_voxel_beside_the_mask_is_a_hit_within_the_tolerance(spatial_dims, tolerance, found):
    point = np.array([[12.0] + [10.0] * (spatial_dims - 1)])
    hits = find_hits(point, [0.5], truth_of(spatial_dims, 10), (1.0,) * spatial_dims, tolerance_mm=tolerance)
    assert hits.of_lesions.tolist() == [0.5 if found else -math.inf]
    assert (hits.false.size == 0) is found


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_several_tolerances_at_once_are_each_alone(spatial_dims):
    """A lesion of 9 to 11; detections in it, 2.5 mm and 4 mm beside it, and a second lesion without any."""
    truth, spacing = truth_of(spatial_dims, 10, 30), (1.0,) * spatial_dims
    places, confidences = np.full((3, spatial_dims), 10.0), [0.2, 0.4, 0.6]
    places[1:, 0] = 13.5, 15
    by_tolerance = hits_by_tolerance(places, confidences, truth, spacing, [0.0, 3.0, 5.0])
    assert {mm: hits.of_lesions[0] for mm, hits in by_tolerance.items()} == {0.0: 0.2, 3.0: 0.4, 5.0: 0.6}
    for mm, hits in by_tolerance.items():
        alone = find_hits(places, confidences, truth, spacing, tolerance_mm=mm)
        assert np.array_equal(hits.lesion, alone.lesion)
        assert np.array_equal(hits.false, alone.false)


def test_distances_are_in_mm():
    """Two voxels away is 1 mm along the first axis and 6 mm along the last."""
    truth = truth_of(3, 10)
    for axis, found in ((0, True), (2, False)):
        place = np.array([[10.0, 10.0, 10.0]])
        place[0, axis] = 13
        hits = find_hits(place, [0.5], truth, (0.5, 0.5, 3.0))
        assert (hits.false.size == 0) is found


def test_a_point_anywhere_in_a_voxel_of_the_lesion_hits_without_tolerance():
    for place, found in (((11.4, 8.6), True), ((11.6, 10.0), False)):
        hits = find_hits(np.array([place]), [0.5], truth_of(2, 10), (1.0, 1.0), tolerance_mm=0)
        assert np.isfinite(hits.of_lesions[0]) == found


def test_places_at_the_edge_and_beyond_it_are_measured():
    truth = np.zeros((6, 6), bool)
    truth[0, 0] = True
    hits = find_hits(np.array([[-0.4, 0.0], [-2.5, 0.0]]), [0.5, 0.4], truth, (1.0, 1.0))
    assert hits.of_lesions.tolist() == [0.5]
    assert hits.false.tolist() == [0.4]


def test_gaps_in_label_numbers_are_no_lesions():
    truth = np.zeros((20, 20), np.uint8)
    truth[2:4, 2:4], truth[10:12, 10:12] = 1, 7
    assert len(find_hits(np.empty((0, 2)), [], truth > 0, (1, 1)).of_lesions) == 2


def test_without_lesions_every_detection_is_false():
    hits = find_hits(at(2, 3, 4), [0.5, 0.25], np.zeros((9, 9), bool), (1, 1))
    assert hits.of_lesions.size == 0
    assert hits.false.tolist() == [0.5, 0.25]
    assert row_of(hits) == {"n_lesions": 0, "hit_confidences": "", "false_confidences": "0.5 0.25"}


def worked():
    """Two patients and a healthy scan.

    The first has two lesions, hit with 0.9 and 0.5, and a false detection of 0.7. The second has two, one hit with
    0.6, one missed by all, and false detections of 0.8 and 0.3. The healthy one has a false detection of 0.55.
    """
    return pd.DataFrame(
        [
            {"subject_id": "a", "n_lesions": 2, "hit_confidences": "0.9 0.5", "false_confidences": "0.7"},
            {"subject_id": "b", "n_lesions": 2, "hit_confidences": "0.6", "false_confidences": "0.8 0.3"},
            {"subject_id": "c", "n_lesions": 0, "hit_confidences": "", "false_confidences": "0.55"},
        ]
    )


def test_the_curve_is_the_one_worked_out_by_hand():
    curve = froc(worked())
    assert curve.thresholds.tolist() == [math.inf, 0.9, 0.8, 0.7, 0.6, 0.55, 0.5, 0.3]
    assert curve.sensitivity.tolist() == [0, 0.25, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75]
    assert curve.false_positives.tolist() == [0, 0, 0.5, 1, 1, 1, 1, 1.5]
    assert curve.false_positives_healthy.tolist() == [0, 0, 0, 0, 0, 1, 1, 1]
    assert curve.sensitivity_at(0.4) == 0.25
    assert curve.sensitivity_at(1) == curve.sensitivity_at(10) == 0.75
    assert curve.false_positives_at(0.5) == 1
    assert math.isnan(curve.false_positives_at(0.9)), "one lesion is missed by all"
    assert curve.mean_sensitivity() == pytest.approx((3 * 0.25 + 4 * 0.75) / 7)


def test_the_last_threshold_counts_when_every_lesion_is_hit():
    table = pd.DataFrame([{"subject_id": "a", "n_lesions": 1, "hit_confidences": "0.2", "false_confidences": "0.9"}])
    assert froc(table).sensitivity.tolist() == [0, 0, 1]
    assert froc(table).false_positives_at(1.0) == 1


def test_without_detections_the_curve_is_its_first_point():
    nothing = {"subject_id": "a", "n_lesions": 3, "hit_confidences": math.nan, "false_confidences": math.nan}
    table = pd.DataFrame([nothing])
    curve = froc(table)
    assert curve.sensitivity_at(10) == 0
    assert math.isnan(curve.false_positives_at(0.1))
    assert math.isnan(froc(table.assign(n_lesions=0)).sensitivity_at(10))


def test_a_curve_rises_and_does_not_depend_on_the_order_of_cases():
    rng = np.random.default_rng(0)
    rows = [
        {
            "subject_id": number,
            "n_lesions": 5,
            "hit_confidences": " ".join(map(str, rng.random(rng.integers(0, 6)).round(2))),
            "false_confidences": " ".join(map(str, rng.random(rng.integers(0, 30)).round(2))),
        }
        for number in range(10)
    ]
    curve, again = froc(pd.DataFrame(rows)), froc(pd.DataFrame(rows[::-1]))
    assert (np.diff(curve.sensitivity) >= 0).all()
    assert (np.diff(curve.false_positives) >= 0).all()
    assert np.array_equal(curve.sensitivity, again.sensitivity)
    total = sum(len(row["hit_confidences"].split()) for row in rows)
    assert curve.sensitivity[-1] == total / 50
