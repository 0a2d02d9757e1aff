from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.scan import load_scan
from lesionforge.errors import CohortError, ConfigError, LeakError
from lesionforge.scores.healed_scans.displacement import displacement, drawn_lesion
from lesionforge.scores.healed_scans.healed import REFERENCES, score_healed
from lesionforge.scores.healed_scans.healed_scores import HEALED_SCORES
from lesionforge.scores.healed_scans.healed_summary import summarize_healed
from lesionforge.scores.healed_scans.healthiness import healthiness, positive, segmentor
from lesionforge.scores.statistics.intervals import ratio_interval
from lesionforge.tasks.segmentation.segmentation_task import SegmentationConfig, SegmentationTask
from lesionforge.training.loop import TrainingConfig
from tests.helpers import tiny_cohort


def bright(scan, image):
    """The lesions of a tiny cohort are brighter than all else."""
    return image[0] > 118


def blind(scan, image):
    return np.zeros(image.shape[1:], np.int16)


def healed(cohort, share=1.0, noise=0.0, move=0):
    """Take a share of each lesion's brightness away, add noise everywhere, or draw the lesion beside its place."""
    images = {}
    for number, case in enumerate(cohort.annotated()):
        scan = load_scan(case, cohort.channels)
        halo = ndimage.binary_dilation(scan.label > 0, iterations=2)
        image = np.where(halo, scan.image * (1 - share) + share * np.minimum(scan.image, 80), scan.image)
        if move:
            image = np.where(np.roll(scan.label > 0, move, axis=0), 200, image)
        rng = np.random.default_rng(number)
        images[case.case_id] = (image + noise * rng.normal(size=image.shape)).astype(np.float32)
    return images


def value(summary, score, method, column="mean"):
    (found,) = summary.loc[(summary["score"] == score) & (summary["method"] == method), column]
    return found


@pytest.fixture(scope="module", params=[2, 3])
def cohort(request, tmp_path_factory):
    folder, shape = tmp_path_factory.mktemp("healed") / "Dataset001_Tiny", {2: (48, 48), 3: (32, 32, 6)}[request.param]
    return tiny_cohort(folder, spatial_dims=request.param, n_subjects=5, n_healthy=1, n_unknown=1, shape=shape)


class TestHealthiness:
    def test_is_a_ratio_of_means_not_a_mean_of_ratios(self):
        assert healthiness([10, 0], [10, 90]) == pytest.approx(0.9)

    def test_more_than_there_was_is_below_0(self):
        assert healthiness([30], [20]) == pytest.approx(-0.5)

    @pytest.mark.parametrize("true", [[], [0, 0]])
    def test_needs_a_lesion(self, true):
        with pytest.raises(ConfigError, match="no lesion"):
            healthiness([0] * len(true), true)

    def test_half_a_voxel_counts(self):
        assert positive(np.array([0.49, 0.5, 1.0])).tolist() == [False, True, True]
        assert positive(np.array([0, 1, 2], np.int16)).tolist() == [False, True, True]

    def test_the_interval_of_a_ratio_holds_it_and_narrows(self):
        rng = np.random.default_rng(0)
        true = rng.uniform(50, 150, 200)
        found = 0.3 * true * rng.uniform(0.5, 1.5, 200)
        few, many = (ratio_interval(found[:n], true[:n]) for n in (10, 200))
        for interval, n in ((few, 10), (many, 200)):
            assert interval.low < interval.mean < interval.high
            assert interval.mean == pytest.approx(found[:n].sum() / true[:n].sum())
        assert many.high - many.low < few.high - few.low
        assert np.isnan(ratio_interval([1], [2]).low)


class TestDisplacement:
    @pytest.mark.parametrize("shape", [(40, 40), (30, 30, 30)])
    def test_is_the_way_from_one_lesion_to_the_other(self, shape):
        healed = np.full((1, *shape), 0.4, np.float32)
        true = np.zeros(shape, bool)
        true[tuple(slice(8, 14) for _ in shape)] = True
        moved = np.roll(true, (5, 3), axis=(0, 1))
        drawn = drawn_lesion(np.where(moved, 0.9, healed), healed)
        assert displacement(true, drawn, (2.0, 1.0, 4.0)[: len(shape)]) == pytest.approx(np.hypot(10, 3), abs=0.2)
        assert displacement(true, true, (2.0, 1.0, 4.0)[: len(shape)]) == 0

    def test_nothing_drawn_is_nowhere(self):
        image = np.full((1, 20, 20), 0.4, np.float32)
        speckled = image.copy()
        speckled[0, 3, 3] += 0.2
        drawn = drawn_lesion(speckled, image)
        assert not drawn.any()
        assert np.isnan(displacement(np.ones((20, 20), bool), drawn, (1.0, 1.0)))


class TestCollecting:
    def test_the_untouched_input_and_a_blank_image_are_the_ends(self, cohort):
        summary = summarize_healed(score_healed(cohort, {}, bright))
        assert value(summary, "identity", "untouched") == pytest.approx(1)
        assert value(summary, "change_outside", "untouched") == 0
        assert value(summary, "healthiness", "untouched") == pytest.approx(0, abs=0.3)
        assert value(summary, "healthiness", "blank") == 1
        assert value(summary, "identity", "blank") < value(summary, "identity_4", "untouched") - 0.2
        assert set(summary["method"]) == set(REFERENCES)

    def test_a_perfect_f_pre_finds_all_of_the_input(self, cohort):
        table = score_healed(cohort, {}, lambda scan, image: scan.label * bool(image.any()))
        sick = table[table["slices"] > 0].set_index("method")
        assert (sick.loc["untouched", "healthiness"] == 0).all()
        assert (sick.loc["blank", "healthiness"] == 1).all()
        assert (sick["f_pre_dice"] == 1).all()

    def test_a_row_per_method_and_annotated_case(self, cohort):
        table = score_healed(cohort, {"mine": healed(cohort)}, bright, seed=3)
        assert len(table) == 3 * 4
        assert (table["seed"] == 3).all()
        assert set(HEALED_SCORES) <= set(table.columns)
        free = table[table["case_id"] == "case_003"]
        assert (free["slices"] == 0).all()
        assert free[["identity", "healthiness", "change_outside"]].isna().all(axis=None)
        assert free["change_lesion_free"].notna().all()

    def test_a_scan_that_is_darker_all_over_has_changed(self, cohort):
        darker = {case.case_id: load_scan(case, cohort.channels).image / 2 for case in cohort.annotated()}
        table = score_healed(cohort, {"darker": darker}, bright).set_index("method").loc["darker"]
        assert (table["change_lesion_free"].dropna() > 0.2).all()
        assert (table["change_outside"].dropna() > 0.2).all()
        assert (table["identity"].dropna() < 0.98).all()

    def test_only_slices_with_a_lesion_count_for_healthiness(self, tmp_path):
        cohort = tiny_cohort(tmp_path, spatial_dims=3, n_subjects=1)
        (case,) = cohort
        label = load_scan(case, cohort.channels).label
        free = ~(label > 0).any((0, 1))

        def finds_elsewhere(scan, image):
            return np.broadcast_to(free, label.shape)

        table = score_healed(cohort, {}, finds_elsewhere)
        assert (table["found"] == 0).all()
        assert (table["true"] == (label > 0).sum()).all()

    def test_a_cohort_is_as_good_as_its_arrays(self, cohort, tmp_path):
        again = read_cohort(next(iter(cohort)).images["FLAIR"].parents[1])
        arrays = {case.case_id: load_scan(case, cohort.channels).image for case in cohort.annotated()}
        table = score_healed(cohort, {"cohort": again, "arrays": arrays}, bright).set_index("method")
        columns = [*HEALED_SCORES, "found", "true"]
        for name in ("cohort", "arrays"):
            pd.testing.assert_frame_equal(
                table.loc[name, columns].reset_index(drop=True), table.loc["untouched", columns].reset_index(drop=True)
            )

    def test_cases_with_other_ids_are_found_by_their_source(self, cohort):
        drawn = [replace(case, case_id=f"{case.case_id}_new", source_case=case.case_id) for case in cohort.annotated()]
        table = score_healed(cohort, {"drawn": cohort.with_cases(drawn)}, bright).set_index("method")
        assert (table.loc["drawn", "change_lesion_free"].dropna() == 0).all()

    def test_the_lesions_that_a_method_finds_are_compared_with_the_true_ones(self, cohort, tmp_path):
        other = {case.case_id: case for case in cohort.annotated()}
        swapped = {"case_000": "case_001", "case_001": "case_000"}
        wrong = [replace(case, label=other[swapped.get(case.case_id, case.case_id)].label) for case in other.values()]
        images, maps = healed(cohort), {"right": cohort.annotated(), "wrong": cohort.with_cases(wrong)}
        table = score_healed(cohort, dict.fromkeys((*maps, "silent"), images), bright, maps=maps)
        dice = table.set_index(["method", "case_id"])["map_dice"]
        assert (dice["right"].drop("case_003") == 1).all()
        assert (dice["wrong"][["case_000", "case_001"]] < 0.9).all()
        assert dice["wrong", "case_002"] == 1
        assert dice["silent"].isna().all()
        assert np.isnan(dice["right", "case_003"])
        with pytest.raises(CohortError, match="mine: has no map of case case_000"):
            score_healed(cohort, {"mine": images}, bright, maps={"mine": cohort.with_cases(())})

    def test_the_middle_of_the_head_only(self, tmp_path):
        cohort = tiny_cohort(tmp_path, spatial_dims=3, n_subjects=2)
        counts = [score_healed(cohort, {}, bright, fraction=f)["slices"].sum() for f in (1.0, 0.3)]
        assert 0 < counts[1] < counts[0]

    @pytest.mark.parametrize("locate", ["difference", "f_pre"])
    def test_a_lesion_drawn_elsewhere_is_measured(self, cohort, locate):
        clean = healed(cohort)
        there = {case.case_id: load_scan(case, cohort.channels).image for case in cohort.annotated()}
        table = score_healed(
            cohort,
            {"right": clean, "wrong": clean},
            bright,
            reconstructions={"right": there, "wrong": healed(cohort, move=6)},
            locate=locate,
        )
        means = table.groupby("method")[["displacement_mm", "drawn"]].mean()
        in_plane = 1.0 if len(next(iter(clean.values())).shape) == 3 else 2.0
        assert means.loc["right", "displacement_mm"] < 2.5 * in_plane
        assert means.loc["wrong", "displacement_mm"] == pytest.approx(6 * in_plane, rel=0.35)
        assert means.loc["wrong", "drawn"] > 0.9
        assert np.isnan(means.loc["untouched", "displacement_mm"])

    def test_bad_input_is_said(self, cohort):
        images = healed(cohort)
        with pytest.raises(CohortError, match="mine: has no image of case case_000"):
            score_healed(cohort, {"mine": {}}, bright)
        with pytest.raises(CohortError, match="not on the grid"):
            score_healed(cohort, {"mine": {name: image[:, :-1] for name, image in images.items()}}, bright)
        with pytest.raises(CohortError, match="shows no lesion"):
            score_healed(cohort.healthy(), {}, bright)
        with pytest.raises(LeakError, match="f_pre: was fitted on the test subject sub_00"):
            score_healed(cohort, {}, bright, f_pre_subjects={"sub_00"})


class TestSummary:
    @pytest.fixture(scope="class")
    def scores(self, tmp_path_factory):
        cohort = tiny_cohort(tmp_path_factory.mktemp("summary"), spatial_dims=2, n_subjects=8, shape=(48, 48))
        methods = {
            "good": healed(cohort, noise=1.0),
            "fair": healed(cohort, 0.5, noise=6.0),
            "poor": healed(cohort, 0.2, noise=12.0),
        }
        return score_healed(cohort, methods, bright)

    def test_the_better_baseline_is_what_a_star_is_against(self, scores):
        summary = summarize_healed(scores, baselines=["fair", "poor"])
        for score in ("identity", "identity_4", "change_outside"):
            assert value(summary, score, "good", "baseline") == "fair"
            assert value(summary, score, "good", "star")
            assert not value(summary, score, "poor", "star")
            assert not value(summary, score, "untouched", "star")
            assert value(summary, score, "good", "p_holm") < 0.05

    def test_being_worse_earns_no_star(self, scores):
        summary = summarize_healed(scores, baselines=["good"])
        assert value(summary, "change_outside", "poor", "p_holm") < 0.05
        assert value(summary, "change_outside", "poor", "difference") > 0
        assert not summary["star"].any()

    def test_healthiness_is_of_all_voxels_together(self, scores):
        summary = summarize_healed(scores)
        of_method = scores[scores["method"] == "poor"]
        expected = 1 - of_method["found"].sum() / of_method["true"].sum()
        assert value(summary, "healthiness", "poor") == pytest.approx(expected)
        assert value(summary, "healthiness", "poor", "ci_low") <= expected
        assert value(summary, "healthiness", "poor", "ci_high") >= expected
        assert value(summary, "healthiness", "poor", "sd") == pytest.approx(of_method["healthiness"].std())

    @pytest.mark.parametrize("seeds", [1, 3])
    def test_a_difference_in_healthiness_is_that_of_the_means(self, scores, seeds):
        """Small lesions, of which all or nothing is found, do not count as much as large ones."""
        rng, parts = np.random.default_rng(0), []
        for seed in range(seeds):
            part = scores.assign(seed=seed)
            part["true"] = part["subject_id"].map(lambda name: 10 ** (1 + int(name[-1]) % 3))
            part["found"] = (part["true"] * rng.uniform(0, 1, len(part))).round()
            parts.append(part)
        summary = summarize_healed(pd.concat(parts), baselines=["fair", "poor"])
        rows = summary[summary["score"] == "healthiness"].set_index("method")
        better = rows.loc["good", "baseline"]
        expected = rows.loc["good", "mean"] - rows.loc[better, "mean"]
        assert rows.loc["good", "difference"] == pytest.approx(expected)
        assert rows.loc["good", "diff_low"] < expected < rows.loc["good", "diff_high"]

    def test_several_seeds_are_averaged_before_subjects_are(self, scores):
        both = pd.concat([scores, scores.assign(seed=1)])
        once, twice = (summarize_healed(table, baselines=["fair"]) for table in (scores, both))
        pd.testing.assert_frame_equal(once, twice)

    @pytest.mark.parametrize("score", ["healthiness", "identity"])
    def test_the_range_over_seeds_is_that_of_the_means_of_each(self, scores, score):
        worse = scores.assign(seed=1, found=scores["found"] + 5, identity=scores["identity"] - 0.1)
        alone = [value(summarize_healed(table), score, "poor") for table in (worse, scores)]
        both = summarize_healed(pd.concat([scores, worse]))
        assert [value(both, score, "poor", name) for name in ("seed_low", "seed_high")] == pytest.approx(alone)
        assert alone[0] < value(both, score, "poor") < alone[1]

    def test_a_blind_f_pre_makes_healthiness_invalid_and_nothing_else(self, cohort):
        summary = summarize_healed(score_healed(cohort, {}, blind))
        assert (summary["f_pre_dice"] == 0).all()
        assert (summary["valid"] == (summary["score"] != "healthiness")).all()
        assert value(summary, "healthiness", "untouched") == 1
        assert summarize_healed(score_healed(cohort, {}, lambda scan, image: scan.label))["valid"].all()

    def test_a_baseline_is_a_method(self, scores):
        for name in ("nobody", "blank"):
            with pytest.raises(ConfigError, match=name):
                summarize_healed(scores, baselines=[name])


def test_a_segmentation_task_is_f_pre_and_keeps_the_scale_of_the_original(tmp_path):
    cohort = tiny_cohort(tmp_path / "cohort", spatial_dims=2, n_subjects=3)
    task = SegmentationTask.fit(
        cohort,
        channels=("FLAIR",),
        config=SegmentationConfig(filters=(4, 8), roi_size=(32, 32), augment="none"),
        training=TrainingConfig(steps=1, batch_size=2, seed=0, device="cpu"),
        out=tmp_path / "model",
    )
    find = segmentor(task)
    scan = load_scan(cohort.cases[0], ("FLAIR",))
    np.testing.assert_array_equal(find(scan, scan.image), task.predict(scan))
    darker = replace(scan, image=scan.image / 2)
    forward = task.info.preprocessing.forward
    usual, own, other = forward(scan), forward(scan, image=darker.image), forward(darker)
    np.testing.assert_allclose(own.image + 1, (usual.image + 1) / 2, atol=1e-5)
    np.testing.assert_allclose(other.image, usual.image, atol=1e-5)
    assert own.level == usual.level
    assert find(scan, np.zeros_like(scan.image)).shape == scan.spatial_shape
    with pytest.raises(ConfigError, match="was trained on FLAIR, but the scans have T1"):
        find(replace(scan, channels=("T1",)), scan.image)
