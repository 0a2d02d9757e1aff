import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lesionforge.cohort.case import Annotation, Case
from lesionforge.cohort.inspection.levels import (
    MOST_AUC,
    central_slices,
    describe_levels,
    level_auc,
    match_levels,
    scan_heights,
    slice_heights,
)
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.scan import Scan, load_scan
from lesionforge.cohort.splits import of_role, read_roles
from lesionforge.errors import CohortError

DATA = Path(os.environ.get("LESIONFORGE_DATA", "unset"))


def ball(affine, *, shape=(24, 20, 16), low=3, high=13):
    """A scan of noise-free tissue that fills the slices ``low`` to ``high`` along the last axis."""
    image = np.zeros((1, *shape), np.float32)
    image[:, 4:-4, 4:-4, low:high] = 100
    case = Case(case_id="ball", subject_id="ball", images={}, annotation=Annotation.LESION_FREE)
    return Scan(case=case, channels=("FLAIR",), image=image, label=np.zeros(shape, np.int16), affine=affine)


def tilted(affine, degrees):
    angle = np.deg2rad(degrees)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn @ affine


def skewed(n, rng):
    """Pathological slices in the middle of the head, healthy ones mostly above and below, as with tumours."""
    pathological = rng.beta(8, 8, n)
    healthy = np.where(
        rng.random(3 * n) < 0.06, rng.random(3 * n), np.abs((rng.random(3 * n) < 0.5) - rng.beta(1, 9, 3 * n))
    )
    return pathological, healthy


class TestHeights:
    def test_the_head_reaches_from_0_to_1(self):
        heights = slice_heights(np.pad(np.ones((4, 4, 10), bool), ((0, 0), (0, 0), (3, 2))))
        np.testing.assert_allclose(heights[3:13], np.linspace(0.05, 0.95, 10))
        assert (heights[:3] < 0).all()
        assert (heights[13:] > 1).all()

    @pytest.mark.parametrize("degrees", [0, 20, -35])
    @pytest.mark.parametrize("upside_down", [False, True])
    def test_up_is_superior_whatever_the_file_says(self, degrees, upside_down):
        upright = np.diag([1.0, 1.0, -5.0 if upside_down else 5.0, 1.0])
        axis, heights = scan_heights(ball(tilted(upright, degrees)))
        assert axis == 2
        assert heights[3] == pytest.approx(0.95 if upside_down else 0.05)
        assert heights[12] == pytest.approx(0.05 if upside_down else 0.95)

    def test_thick_slices_lie_along_the_first_axis_of_the_file(self):
        scan = ball(np.diag([1.0, 1.0, 5.0, 1.0]))
        turned = replace(
            scan,
            image=np.moveaxis(scan.image, -1, 1),
            label=np.moveaxis(scan.label, -1, 0),
            affine=scan.affine[:, [2, 0, 1, 3]],
        )
        axis, heights = scan_heights(turned)
        assert axis == 0
        np.testing.assert_allclose(heights, scan_heights(scan)[1])

    def test_thickness_changes_no_height(self):
        thin = scan_heights(ball(np.diag([1.0, 1.0, 1.0, 1.0]), shape=(24, 20, 40), low=6, high=36))[1]
        thick = scan_heights(ball(np.diag([1.0, 1.0, 3.0, 1.0]), shape=(24, 20, 14), low=2, high=12))[1]
        np.testing.assert_allclose(thin[6:36].reshape(10, 3).mean(1), thick[2:12])

    def test_a_region_that_is_known_is_the_head(self):
        scan = ball(np.diag([1.0, 1.0, 5.0, 1.0]))
        brain = np.zeros(scan.spatial_shape, bool)
        brain[8:12, 8:12, 6:10] = True
        heights = scan_heights(replace(scan, region=brain))[1]
        assert heights[6] == pytest.approx(1 / 8)
        assert heights[3] < 0

    def test_a_slice_and_an_empty_head_have_none(self):
        flat = replace(ball(np.eye(4)), image=np.ones((1, 8, 8), np.float32))
        with pytest.raises(CohortError, match="is a slice"):
            scan_heights(flat)
        with pytest.raises(ValueError, match="at least one voxel"):
            slice_heights(np.zeros((2, 2, 2), bool))

    def test_the_middle_is_a_fraction_of_the_head_not_a_number_of_slices(self):
        thick, thin = (slice_heights(np.ones((2, 2, n), bool)) for n in (20, 150))
        assert central_slices(thick, 0.4).sum() == 8
        assert central_slices(thin, 0.4).sum() == 60
        assert central_slices(thin, 1.0).all()
        with pytest.raises(ValueError, match="fraction"):
            central_slices(thin, 60)


class TestMatching:
    def test_the_level_gives_slices_away_before_and_not_after(self):
        pathological, healthy = skewed(400, np.random.default_rng(0))
        match = match_levels(pathological, healthy)
        assert level_auc(pathological, healthy) > 0.9
        assert level_auc(pathological[match.matched], healthy, match.weights) <= MOST_AUC

    def test_the_weighted_histogram_is_the_pathological_one(self):
        pathological, healthy = skewed(300, np.random.default_rng(1))
        match = match_levels(pathological, healthy, bins=10)
        wanted = np.histogram(pathological[match.matched], 10, (0, 1))[0] / match.matched.sum()
        got = np.histogram(healthy, 10, (0, 1), weights=match.weights)[0]
        np.testing.assert_allclose(got, wanted)

    def test_equal_distributions_are_left_alone(self):
        heights = np.random.default_rng(0).random(500)
        match = match_levels(heights, heights)
        np.testing.assert_allclose(match.weights, 1 / 500)
        assert match.matched.all()
        assert match.effective == pytest.approx(500)
        assert level_auc(heights, heights, match.weights) == pytest.approx(level_auc(heights, heights))

    def test_what_has_no_counterpart_is_left_out_and_reported(self):
        match = match_levels([0.12, 0.55, 0.57], [0.51, 0.58, 0.95, -0.3, 1.2], bins=10)
        np.testing.assert_allclose(match.weights, [0.5, 0.5, 0, 0, 0])
        assert match.matched.tolist() == [False, True, True]
        assert match.kept == 2
        assert "2 of 5 healthy" in match.describe()
        assert "1 of 3 pathological slices have no counterpart" in match.describe()

    def test_ends_of_the_head_belong_to_it(self):
        match = match_levels([0.0, 1.0], [0.0, 1.0])
        np.testing.assert_allclose(match.weights, 0.5)

    @pytest.mark.parametrize(("pathological", "healthy"), [([], [0.5]), ([0.5], []), ([0.1], [0.9])])
    def test_nothing_in_common_is_an_error(self, pathological, healthy):
        with pytest.raises(CohortError, match="none of them at the same level"):
            match_levels(pathological, healthy)

    def test_a_lone_slice_is_not_compared(self):
        with pytest.raises(CohortError, match="two slices or more"):
            level_auc([0.5], [0.1, 0.2])


@pytest.mark.skipif(not (DATA / "lgg-tumour-mri").is_dir(), reason="LESIONFORGE_DATA names no folder with real scans")
def test_tumours_of_real_patients_are_matched():
    folder = DATA / "lgg-tumour-mri"
    cohort = of_role(read_cohort(folder), read_roles(folder / "roles.json"), "pool")
    heights = {True: [], False: []}
    for case in cohort:
        scan = load_scan(case, ["FLAIR"])
        axis, of_slices = scan_heights(scan)
        lesion = (scan.label > 0).any(axis=tuple(other for other in range(3) if other != axis))
        for height, shown in zip(of_slices, lesion, strict=True):
            heights[bool(shown)].append(height)
    pathological, healthy = (np.array(heights[kind]) for kind in (True, False))
    match = match_levels(pathological, healthy)
    assert level_auc(pathological, healthy) > 0.8
    assert level_auc(pathological[match.matched], healthy, match.weights) <= MOST_AUC
    assert match.kept > 300
    assert match.matched.mean() > 0.95


def test_levels_are_described():
    levels = {"bins": 20, "what": "5 of 9 healthy slices", "auc": 0.861, "auc_matched": 0.512}
    assert describe_levels(levels).endswith("AUC 0.86 before, 0.51 after")
    assert describe_levels({**levels, "auc": None}) == "5 of 9 healthy slices"
