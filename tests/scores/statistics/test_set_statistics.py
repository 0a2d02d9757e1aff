"""A made-up score of a set, the sensitivity over all lesions of all subjects: none of them has it alone."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lesionforge.errors import ConfigError
from lesionforge.scores.score import Score
from lesionforge.scores.statistics.arm_statistics import (
    compare_arms,
    interval_of,
    seed_differences,
    seed_means,
    subject_means,
    value_of,
)
from lesionforge.scores.statistics.intervals import Interval
from lesionforge.scores.statistics.resampling import TOUCHES, Resampled, Resampling
from tests.scores.statistics.test_intervals import at_most


def sensitivity(rows):
    lesions = rows["lesions"].sum()
    return float(rows["found"].sum() / lesions) if lesions else math.nan


def set_score(function, *made_of, **options):
    return Score(
        name="pooled",
        title="Pooled",
        unit="points",
        better="higher",
        level="set",
        description="over all",
        function=function,
        made_of=made_of,
        **options,
    )


POOLED = set_score(sensitivity, "found", "lesions")


def make_results(chances, *, n_subjects=20, n_cases=2, n_seeds=3, luck=0.0, seed=0, train_size=1.0):
    """Lesions of subjects, some hard to find and some not, which each arm finds with its own chance.

    The luck of a training is the standard deviation of what all of its subjects' chances have in common.
    """
    rng = np.random.default_rng(seed)
    lesions = 1 + rng.poisson(3, (n_subjects, n_cases))
    ease = rng.uniform(-0.25, 0.25, n_subjects)
    rows = []
    for arm, chance in chances.items():
        for run in range(n_seeds):
            common = luck * rng.normal()
            for subject, case in np.ndindex(lesions.shape):
                found = rng.binomial(lesions[subject, case], np.clip(chance + ease[subject] + common, 0, 1))
                ids = {"case_id": f"s{subject}_{case}", "subject_id": f"s{subject}"}
                counts = {"found": found, "lesions": lesions[subject, case]}
                rows.append({"arm": arm, "train_size": train_size, "seed": run, **ids, **counts})
    return pd.DataFrame(rows)


def simulated(rng, n_subjects, *, chances, n_seeds=1, luck=0.0):
    """The pooled sensitivity of an arm, or of one arm minus another, with a case per subject, much faster."""
    lesions, ease = 1 + rng.poisson(3, n_subjects), rng.uniform(-0.25, 0.25, n_subjects)
    draws = Resampling(range(n_subjects), seed=int(rng.integers(1000)), n_resamples=500).resamples
    values, replicates = np.zeros(n_seeds), np.zeros((n_seeds, len(draws)))
    for sign, chance in zip((1, -1), chances, strict=False):
        for run in range(n_seeds):
            found = rng.binomial(lesions, np.clip(chance + ease + luck * rng.normal(), 0, 1))
            values[run] += sign * found.sum() / lesions.sum()
            replicates[run] += sign * found[draws].sum(1) / lesions[draws].sum(1)
    return Resampled.of(values, replicates, n=n_subjects)


def compare(results, score=POOLED, **options):
    return compare_arms(results, baseline="real", metric=score, n_resamples=200, **options)


def row_of(table, arm):
    return table[table["arm"] == arm].iloc[0]


class TestMeans:
    def test_the_mean_is_the_score_of_all_cases_in_the_mean_over_trainings(self):
        results = make_results({"real": 0.5, "mixed": 0.7})
        row = row_of(compare(results), "mixed")
        of_seeds = [sensitivity(rows) for _, rows in results[results["arm"] == "mixed"].groupby("seed")]
        assert row["mean"] == pytest.approx(np.mean(of_seeds))
        assert (row["seed_low"], row["seed_high"]) == (min(of_seeds), max(of_seeds))
        assert seed_means(results, POOLED).loc["mixed", 1.0].tolist() == of_seeds
        assert row["mean"] != pytest.approx(subject_means(results, POOLED).loc["mixed"].mean(), abs=1e-4)
        assert row["ci_low"] < row["mean"] < row["ci_high"]
        assert row["metric"] == "pooled"

    def test_seeds_that_share_their_training_subjects_are_one_training(self):
        results = make_results({"real": 0.5}, n_seeds=4, luck=0.1)
        shared = results.assign(training_set=results["seed"] // 3)
        means = seed_means(results, POOLED).to_numpy()
        expected = np.mean([means[:3].mean(), means[3]])
        assert row_of(compare(shared), "real")["mean"] == pytest.approx(expected)

    def test_a_subject_has_the_score_of_its_own_cases_if_it_has_one(self):
        results = make_results({"real": 0.5}, n_seeds=1)
        results.loc[results["subject_id"] == "s3", ["found", "lesions"]] = 0
        values = subject_means(results, POOLED).loc["real", 1.0]
        assert len(values) == 19
        assert values["s0"] == sensitivity(results[results["subject_id"] == "s0"])
        assert row_of(compare(results), "real")["n_subjects"] == 19

    def test_one_training_has_a_value(self):
        results = make_results({"real": 0.5}, n_seeds=1)
        assert value_of(results, POOLED) == sensitivity(results)
        assert interval_of(results, POOLED, n_resamples=10).mean == sensitivity(results)

    def test_columns_and_scores_of_cases_are_one_way_to_say_it(self):
        results = make_results({"real": 0.5, "mixed": 0.6}).assign(dice=lambda rows: rows["found"] / rows["lesions"])
        of_case = Score(
            name="dice", title="", unit="", better="higher", level="case", description="", function=lambda case: 0.0
        )
        pd.testing.assert_frame_equal(compare(results, of_case), compare(results, "dice"))


class TestIntervals:
    @pytest.mark.parametrize("n_subjects", [8, 20])
    def test_the_truth_is_covered_about_as_often_as_it_says(self, n_subjects):
        count, rng = 1000, np.random.default_rng(n_subjects)
        missed = 0
        for _ in range(count):
            low, high = simulated(rng, n_subjects, chances=[0.5]).limits()
            missed += not low <= 0.5 <= high
        assert 0.01 <= missed / count <= at_most(0.05, count)

    @pytest.mark.parametrize(("n_seeds", "luck"), [(1, 0.0), (3, 0.0), (3, 0.2)])
    def test_equal_arms_are_rarely_called_different(self, n_seeds, luck):
        count, rng = 300, np.random.default_rng(n_seeds)
        called = {"interval": 0, "without trainings": 0}
        for _ in range(count):
            found = simulated(rng, 12, chances=[0.5, 0.5], n_seeds=n_seeds, luck=luck)
            low, high = found.limits()
            called["interval"] += not low <= 0 <= high
            low, high = replace(found, of_trainings=0.0).limits()
            called["without trainings"] += not low <= 0 <= high
        assert called["interval"] <= count * at_most(0.05, count)
        if luck:
            assert called["without trainings"] > 2 * count * at_most(0.05, count), "the simulation tells the difference"

    @pytest.mark.parametrize("chance", [0.5, 0.9])
    @pytest.mark.parametrize("n_subjects", [6, 10, 40])
    @pytest.mark.slow
    def test_of_any_number_of_subjects_and_near_the_end_of_the_scale(self, n_subjects, chance):
        count, rng, found = 1000, np.random.default_rng(n_subjects), {}
        for n_seeds, luck in ((1, 0.0), (2, 0.0), (2, 0.05), (2, 0.1), (2, 0.2), (3, 0.05), (3, 0.1)):
            limits = [
                simulated(rng, n_subjects, chances=[chance, chance], n_seeds=n_seeds, luck=luck).limits()
                for _ in range(count)
            ]
            found[n_seeds, luck] = np.mean([low > TOUCHES or high < -TOUCHES for low, high in limits])
        assert {key: share for key, share in found.items() if share > at_most(0.05, count)} == {}

    def test_p_is_below_5_percent_where_the_interval_excludes_0(self):
        rng, seen = np.random.default_rng(0), set()
        for _ in range(60):
            found = simulated(rng, 20, chances=[0.6, 0.5], n_seeds=2)
            low, high = found.limits()
            different = low > 1e-9 or high < -1e-9
            assert (found.p_value() < 0.05) == different
            seen.add(different)
        assert seen == {True, False}

    def test_the_plain_percentile_interval_did_not_hold(self):
        """What the wider ends are for."""
        count, rng = 600, np.random.default_rng(0)
        missed = 0
        for _ in range(count):
            low, high = np.quantile(simulated(rng, 6, chances=[0.5]).replicates, (0.025, 0.975))
            missed += not low <= 0.5 <= high
        assert missed / count > at_most(0.05, count)

    def test_the_luck_of_trainings_widens_the_interval(self):
        """Seen over subjects alone, a training that is lucky looks like a better arm."""
        results = make_results({"real": 0.5, "lucky": 0.5}, n_subjects=40)
        lucky = (results["arm"] == "lucky") & (results["seed"] == 0)
        results.loc[lucky, "found"] = results.loc[lucky, "lesions"]
        assert row_of(compare(results), "lucky")["diff_low"] < 0
        assert row_of(compare(results[results["seed"] == 0]), "lucky")["diff_low"] > 0

    def test_a_real_difference_is_found_and_p_agrees_with_the_interval(self):
        table = compare(make_results({"real": 0.4, "mixed": 0.7, "same": 0.4}, n_subjects=40))
        found, none = row_of(table, "mixed"), row_of(table, "same")
        assert found["diff_low"] > 0
        assert found["p"] < found["p_holm"] < 0.05
        assert none["diff_low"] < 0 < none["diff_high"]
        assert none["p"] > 0.05
        assert 0 < found["detectable"] < found["difference"]
        assert np.isnan(row_of(table, "real")[["difference", "p", "detectable"]].astype(float)).all()

    def test_the_subject_is_the_unit(self):
        """More rows of the same subjects neither move nor narrow anything."""
        results = make_results({"real": 0.5, "mixed": 0.6})
        copies = pd.concat([results.assign(case_id=results["case_id"] + end) for end in ("", "_b", "_c")])
        pd.testing.assert_frame_equal(compare(copies), compare(results))

    def test_pairs_are_of_the_same_subjects(self):
        """Subjects differ far more than arms do, and a difference knows nothing of it."""
        results = make_results({"real": 0.5, "copy": 0.5}, n_seeds=1)
        results.loc[results["arm"] == "copy", "found"] = results.loc[results["arm"] == "real", "found"].to_numpy()
        row = row_of(compare(results), "copy")
        assert (row["difference"], row["diff_low"], row["diff_high"], row["p"]) == (0, 0, 0, 1)
        assert row["ci_high"] - row["ci_low"] > 0.1

    def test_a_case_that_one_arm_lacks_is_not_compared(self):
        results = make_results({"real": 0.5, "copy": 0.5}, n_seeds=1)
        results.loc[results["arm"] == "copy", "found"] = results.loc[results["arm"] == "real", "found"].to_numpy()
        lacking = results[~((results["arm"] == "copy") & (results["case_id"] == "s0_1"))]
        assert row_of(compare(lacking), "copy")["difference"] == 0
        assert seed_differences(lacking, POOLED, baseline="real").tolist() == [0]

    def test_draws_are_of_subjects_with_all_their_rows(self):
        results = make_results({"real": 0.5}, n_subjects=5, n_seeds=1)
        resampling = Resampling(results["subject_id"].tolist(), n_resamples=20)
        sums = results.groupby("subject_id")[["found", "lesions"]].sum().to_numpy()
        expected = [found / lesions for found, lesions in sums[resampling.resamples].sum(1)]
        assert resampling.replicates(sensitivity, results) == pytest.approx(expected)

    def test_a_subject_that_is_drawn_twice_counts_as_two(self):
        """So what is said per patient, such as false positives, has as many patients in every draw."""
        results = make_results({"real": 0.5}, n_subjects=9, n_seeds=1)
        counts = Resampling(results["subject_id"].tolist(), n_resamples=50).replicates(
            lambda rows: rows["subject_id"].nunique(), results
        )
        assert (counts == 9).all()

    def test_the_same_seed_gives_the_same_numbers_whatever_the_order_and_the_other_arms(self):
        results = make_results({"real": 0.5, "a": 0.6, "b": 0.7})
        table, corrected = compare(results), ["p_holm", "detectable"]
        pd.testing.assert_frame_equal(compare(results), table)
        shuffled = compare(results.sample(frac=1, random_state=0))
        for arm in ("real", "a", "b"):
            assert row_of(shuffled, arm).equals(row_of(table, arm))
        alone = compare(results[results["arm"] != "b"])
        assert row_of(alone, "a").drop(corrected).equals(row_of(table, "a").drop(corrected))
        assert row_of(compare(results, seed=1), "a")["ci_low"] != row_of(table, "a")["ci_low"]

    def test_too_few_subjects_have_no_interval(self):
        results = make_results({"real": 0.5, "mixed": 0.7}, n_subjects=1)
        row = row_of(compare(results), "mixed")
        assert row["mean"] > 0
        assert (row["n_subjects"], row["n_pairs"]) == (1, 1)
        assert np.isnan(row[["ci_low", "ci_high", "diff_low", "p", "detectable"]].astype(float)).all()

    def test_a_score_without_a_value_is_none(self):
        results = make_results({"real": 0.5, "mixed": 0.7}).assign(lesions=0)
        row = row_of(compare(results), "mixed")
        assert np.isnan(row[["mean", "ci_low", "difference"]].astype(float)).all()
        assert row["n_subjects"] == 0

    def test_a_score_may_name_its_own_interval(self):
        own = Interval(mean=0.1, low=0.0, high=0.2, n=3)
        score = set_score(sensitivity, "found", "lesions", interval=lambda rows: own)
        results = make_results({"real": 0.5, "mixed": 0.7})
        row = row_of(compare(results, score), "mixed")
        assert (row["mean"], row["ci_low"], row["ci_high"]) == (0.1, 0.0, 0.2)
        assert row["difference"] == row_of(compare(results), "mixed")["difference"]
        assert interval_of(results, score) == own

    def test_a_missing_column_is_named(self):
        with pytest.raises(ConfigError, match="found: is not a column of the results"):
            compare(make_results({"real": 0.5}).drop(columns="found"))
