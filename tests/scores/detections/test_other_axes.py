"""Detections in LPS, which lie inside the scans but elsewhere."""

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from lesionforge.cohort.scan import load_scan
from lesionforge.scores.detections import other_axes
from lesionforge.scores.detections.case_detections import evaluate_detections
from lesionforge.scores.detections.detection_file import write_detections
from lesionforge.scores.detections.other_axes import looks_like_lps
from tests.helpers import tiny_cohort

SHAPE = (40, 40, 20)
CENTRED = np.array([[2.0, 0, 0, -39], [0, 2, 0, -39], [0, 0, 2, 0], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return tiny_cohort(tmp_path_factory.mktemp("c"), spatial_dims=3, n_healthy=1, shape=SHAPE, affine=CENTRED)


def detections(cohort, folder, *, negated, beside=0):
    """Write a detection in each lesion, further ones beside them, with x and y negated or not."""
    for case in cohort:
        scan = load_scan(case, cohort.channels)
        parts, count = ndimage.label(scan.label > 0, np.ones((3, 3, 3)))
        places = [np.argwhere(parts == number)[0] for number in range(1, count + 1)]
        places += [np.full(3, 1.0)] * beside
        write_detections(folder / f"{case.case_id}.csv", np.reshape(places, (-1, 3)), np.full(len(places), 0.9), scan)
        table = pd.read_csv(folder / f"{case.case_id}.csv")
        table[["x", "y"]] *= -1 if negated else 1
        table.to_csv(folder / f"{case.case_id}.csv", index=False)


def test_they_are_recognised(cohort, tmp_path):
    detections(cohort, tmp_path, negated=True, beside=3)
    given = evaluate_detections(tmp_path, cohort)["candidate_sensitivity"].mean()
    assert given <= 0.5
    assert looks_like_lps(tmp_path, cohort, given) == 1


@pytest.mark.parametrize("kept", [4, 0])
def test_others_are_not(cohort, tmp_path, kept):
    detections(cohort, tmp_path, negated=False)
    for case in cohort.cases[kept:]:
        (tmp_path / f"{case.case_id}.csv").unlink()
    assert looks_like_lps(tmp_path, cohort, 0.4) is None


def test_no_scan_is_read_where_enough_is_found(cohort, tmp_path, monkeypatch):
    detections(cohort, tmp_path, negated=True)
    monkeypatch.setattr(other_axes, "load_scan", lambda case, channels: pytest.fail("a scan was read"))
    assert looks_like_lps(tmp_path, cohort, 0.6) is None


def test_detections_that_find_nothing_either_way_are_not(cohort, tmp_path):
    for case in cohort:
        write_detections(tmp_path / f"{case.case_id}.csv", np.empty((0, 3)), np.empty(0), load_scan(case, ("FLAIR",)))
    assert looks_like_lps(tmp_path, cohort, 0.0) is None
