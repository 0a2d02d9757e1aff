import numpy as np
import pandas as pd
import pytest

from lesionforge.errors import ConfigError
from lesionforge.scores.registry import find_score
from lesionforge.scores.statistics.arm_statistics import (
    compare_arms,
    holm,
    seed_means,
    subject_means,
)


def make_results(gains, *, n_subjects=20, n_cases=2, n_seeds=3, noise=0.02, train_size=1.0, seed=0):
    """Dice per arm: a level of the subject, plus the arm's gain, plus noise."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(0.4, 0.7, n_subjects)
    rows = [
        {
            "arm": arm,
            "train_size": train_size,
            "seed": run,
            "case_id": f"s{subject}_{case}",
            "subject_id": f"s{subject}",
            "dice": level[subject] + gain + rng.normal(0, noise),
        }
        for arm, gain in gains.items()
        for run in range(n_seeds)
        for subject in range(n_subjects)
        for case in range(n_cases)
    ]
    return pd.DataFrame(rows)


def row_of(table, arm, train_size=1.0):
    return table[(table["arm"] == arm) & (table["train_size"] == train_size)].iloc[0]


class TestTests:
    def test_holm_known_example(self):
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])

    def test_holm_never_exceeds_one_and_passes_nan_by(self):
        assert holm([0.6, np.nan, 0.7]) == pytest.approx([1, np.nan, 1], nan_ok=True)
        assert np.isnan(holm([np.nan])).all()


class TestCompareArms:
    def test_finds_the_known_difference(self):
        table = compare_arms(make_results({"real": 0, "mixed": 0.05}), baseline="real", metric="dice")
        row = row_of(table, "mixed")
        assert row["diff_low"] < 0.05 < row["diff_high"]
        assert row["diff_low"] > 0
        assert row["p_holm"] < 0.01
        assert (row["n_subjects"], row["n_pairs"], row["n_seeds"]) == (20, 20, 3)
        assert np.isnan(row_of(table, "real")["difference"])

    def test_no_gain_has_an_interval_across_zero(self):
        row = row_of(compare_arms(make_results({"real": 0, "mixed": 0}), baseline="real", metric="dice"), "mixed")
        assert row["diff_low"] < 0 < row["diff_high"]

    def test_no_interval_holds_values_that_the_score_cannot_have(self):
        few = make_results({"real": 0.3, "mixed": 0.35}, n_subjects=3, n_seeds=2, noise=0.4)
        few["dice"] = few["dice"].clip(0, 1)
        table = compare_arms(few, baseline="real", metric=find_score("dice"))
        assert table["ci_high"].max() == 1
        assert table["ci_low"].min() >= 0
        assert table["diff_low"].min() >= -1
        column_alone = compare_arms(few, baseline="real", metric="dice")
        assert column_alone["ci_high"].max() > 1
        assert list(table["p"].dropna()) == list(column_alone["p"].dropna())

    def test_does_not_depend_on_the_other_arms(self):
        results = make_results({"real": 0, "a": 0.01, "b": 0.02})
        table = compare_arms(results, baseline="real", metric="dice")
        alone = compare_arms(results[results["arm"] != "b"], baseline="real", metric="dice")
        corrected = ["p_holm", "detectable"]
        assert row_of(alone, "a").drop(corrected).equals(row_of(table, "a").drop(corrected))
        assert row_of(alone, "a")["detectable"] < row_of(table, "a")["detectable"]

    def test_a_difference_that_only_one_training_shows_is_not_significant(self):
        """Twenty subjects agree, yet it may be the luck of one seed."""
        results = make_results({"real": 0, "a": 0})
        results.loc[(results["arm"] == "a") & (results["seed"] == 1), "dice"] += 0.1
        row = row_of(compare_arms(results, baseline="real", metric="dice"), "a")
        assert row["diff_low"] < 0 < row["diff_high"]
        one_seed = compare_arms(results[results["seed"] == 1], baseline="real", metric="dice")
        assert row_of(one_seed, "a")["diff_low"] > 0

    def test_seeds_that_share_their_training_subjects_are_no_repetitions(self):
        results = make_results({"real": 0, "a": 0}, n_seeds=6)
        lucky = (results["arm"] == "a") & (results["seed"] < 3)
        results.loc[lucky, "dice"] += 0.1
        apart, shared = (results.assign(training_set=results["seed"] // size) for size in (1, 3))
        p = [
            row_of(compare_arms(table, baseline="real", metric="dice"), "a")["p"] for table in (apart, shared, results)
        ]
        assert p[1] > 2 * p[0]
        assert p[0] == p[2]
        one_draw = compare_arms(results.assign(training_set=0), baseline="real", metric="dice")
        assert row_of(one_draw, "a")["p"] == p[2]

    def test_pairs_are_of_one_seed(self):
        """A seed trains all arms on the same subjects: what it does to all of them is no difference."""
        results = make_results({"real": 0, "a": 0.05}, noise=0.001)
        results["dice"] += 0.2 * results["seed"]
        row = row_of(compare_arms(results, baseline="real", metric="dice"), "a")
        assert row["diff_high"] - row["diff_low"] < 0.005
        assert row["ci_high"] - row["ci_low"] > 0.2

    def test_row_order_does_not_matter(self):
        results = make_results({"real": 0, "a": 0.01})
        shuffled = results.sample(frac=1, random_state=0)
        a = row_of(compare_arms(results, baseline="real", metric="dice"), "a")
        b = row_of(compare_arms(shuffled, baseline="real", metric="dice"), "a")
        assert a["difference"] == pytest.approx(b["difference"])
        assert (a["n_subjects"], a["n_pairs"]) == (b["n_subjects"], b["n_pairs"])

    def test_the_subject_is_the_unit(self):
        """More slices of the same subjects neither move nor narrow anything."""
        results = make_results({"real": 0, "a": 0.01})
        copies = [results.assign(case_id=results["case_id"] + suffix) for suffix in ("", "_b", "_c", "_d")]
        many = compare_arms(pd.concat(copies), baseline="real", metric="dice")
        pd.testing.assert_frame_equal(many, compare_arms(results, baseline="real", metric="dice"))

    def test_a_subject_with_many_slices_weighs_as_much_as_another(self):
        rows = [("a", "s1", f"x{i}", 1.0) for i in range(9)] + [("a", "s2", "y", 0.0)]
        results = pd.DataFrame(rows, columns=["arm", "subject_id", "case_id", "dice"]).assign(train_size=1.0, seed=0)
        assert subject_means(results, "dice").mean() == pytest.approx(0.5)
        assert seed_means(results, "dice").iloc[0] == pytest.approx(0.5)

    def test_each_fraction_has_its_own_baseline(self):
        small = make_results({"real": 0, "a": 0.2}, train_size=0.1)
        large = make_results({"real": 0.3, "a": 0.3}, train_size=1.0)
        table = compare_arms(pd.concat([small, large]), baseline="real", metric="dice")
        assert row_of(table, "a", 0.1)["difference"] == pytest.approx(0.2, abs=0.02)
        assert row_of(table, "a", 1.0)["difference"] == pytest.approx(0, abs=0.02)

    def test_a_case_that_one_arm_lacks_is_not_compared(self):
        results = make_results({"real": 0, "a": 0.05}, noise=0)
        results.loc[results["case_id"] == "s0_1", "dice"] = 0.99
        lacking = results[~((results["arm"] == "a") & (results["case_id"] == "s0_1"))]
        row = row_of(compare_arms(lacking, baseline="real", metric="dice"), "a")
        assert row["difference"] == pytest.approx(0.05)

    def test_reports_the_spread_over_seeds(self):
        results = make_results({"real": 0, "a": 0}, noise=0, n_seeds=2)
        results.loc[(results["arm"] == "a") & (results["seed"] == 1), "dice"] += 0.1
        row = row_of(compare_arms(results, baseline="real", metric="dice"), "a")
        assert row["seed_high"] - row["seed_low"] == pytest.approx(0.1)
        assert (row["diff_seed_low"], row["diff_seed_high"]) == pytest.approx((0, 0.1))

    def test_unknown_baseline_and_metric_are_named(self):
        results = make_results({"real": 0})
        with pytest.raises(ConfigError, match=r"nowhere.*choose from real"):
            compare_arms(results, baseline="nowhere", metric="dice")
        with pytest.raises(ConfigError, match="speed"):
            compare_arms(results, baseline="real", metric="speed")
