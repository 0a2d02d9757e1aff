import json
import math
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from lesionforge.benchmark.report.collapse import collapsed_trainings
from lesionforge.benchmark.report.figures.charts import Illustration, box_plot, forest_plot
from lesionforge.benchmark.report.figures.pictures import PREDICTION_COLOUR, TRUTH_COLOUR, Example, example_sheet
from lesionforge.benchmark.report.headline import headline
from lesionforge.benchmark.report.page import read_results, summarize, write_report
from lesionforge.benchmark.report.tables import lacking_distance
from lesionforge.benchmark.report.verdict import Difference, Outcome, comparisons, difference_of, outcome, verdict
from lesionforge.benchmark.report.wording import size_names
from lesionforge.errors import CohortError, ConfigError

BLUE, ORANGE = "#0072B2", "#D55E00"


def make_results(gains, *, n_subjects=12, n_seeds=3, noise=0.02, train_sizes=(1.0,)):
    rng = np.random.default_rng(0)
    level = rng.uniform(0.4, 0.7, n_subjects)
    rows = [
        {
            "arm": arm,
            "train_size": train_size,
            "seed": seed,
            "case_id": f"case{subject}_{case}",
            "subject_id": f"subject{subject}",
            "dice": level[subject] + gain + rng.normal(0, noise),
            "hd95": 20 - 40 * gain + rng.normal(0, 1),
            "volume_difference_ml": rng.normal(0, 1),
            "steps": 100,
        }
        for train_size in train_sizes
        for arm, gain in gains.items()
        for seed in range(n_seeds)
        for subject in range(n_subjects)
        for case in range(2)
    ]
    return pd.DataFrame(rows)


def report(folder, results, **options):
    folder.mkdir(parents=True, exist_ok=True)
    results.to_csv(folder / "results.csv", index=False)
    sentence = write_report(folder, baseline="real", **{"primary": "dice", **options})
    return sentence, (folder / "report.html").read_text(encoding="utf-8")


def headline_of(results, metric="dice", **options):
    summary = summarize(results, baseline="real")
    return headline(results, summary, baseline="real", metric=metric, **options)


def interval(low, high, n=20, p=0.01, detectable=math.nan):
    return Difference(mean=(low + high) / 2, low=low, high=high, n=n, p=p, detectable=detectable)


class TestVerdict:
    def test_a_gain(self):
        sentence = verdict(interval(0.01, 0.03), "synthetic", "real", "dice", n_seeds=3)
        assert sentence == (
            "synthetic did better than real: Dice was 2.0 points higher "
            "(95 % interval +1.0 to +3.0, p = 0.010, 20 subjects, 3 seeds)."
        )

    def test_a_loss(self):
        sentence = verdict(interval(-0.03, -0.01), "synthetic", "real", "dice", n_seeds=1)
        assert sentence == (
            "synthetic did worse than real: Dice was 2.0 points lower "
            "(95 % interval −3.0 to −1.0, p = 0.010, 20 subjects, 1 seed)."
        )

    def test_a_null_result(self):
        sentence = verdict(interval(-0.012, 0.02, p=0.6, detectable=0.023), "synthetic", "real", "dice")
        assert sentence == (
            "No difference in Dice could be shown between synthetic and real: "
            "it lies between −1.2 and +2.0 points (95 % interval; mean +0.4, p = 0.600, 20 subjects). "
            "The smallest difference that would have been seen with 80 % power is 2.3 points."
        )

    @pytest.mark.parametrize("p", [0.05, 0.2, math.nan])
    def test_an_interval_without_p_is_no_gain(self, p):
        assert outcome(interval(0.01, 0.03, p=p), "dice") is Outcome.NULL
        told = verdict(interval(0.01, 0.03, p=p), "a", "b", "dice")
        assert "could be shown" in told
        assert "p, corrected for the number of comparisons, does not confirm it" in told

    def test_seeds_in_which_it_was_not_so_are_named(self):
        sentence = verdict(interval(0.01, 0.03), "a", "b", "dice", n_seeds=3, against=("1", "2"))
        assert sentence.endswith("3 seeds). Not so in seed 1, 2.")

    def test_no_gain_over_a_baseline_that_may_be_undertrained(self):
        options = {"undertrained": "no control was made"}
        gain, loss, null = (
            verdict(interval(*ends), "a", "b", "dice", **options) for ends in ((0.01, 0.03), (-0.03, -0.01), (-1, 1))
        )
        assert "better" not in gain
        assert gain.endswith("but the baseline may be undertrained: no control was made.")
        assert "did worse" in loss
        assert "could be shown" in null
        assert outcome(interval(-3, -1), "hd95", undertrained=True) is Outcome.UNCONTROLLED

    def test_less_is_better_for_distances(self):
        assert "better" in verdict(interval(-3, -1), "a", "b", "hd95")
        assert "worse" in verdict(interval(1, 3), "a", "b", "hd95")

    def test_a_score_without_direction_is_neither_gain_nor_loss(self):
        assert outcome(interval(1, 3), "volume_difference_ml") is Outcome.CHANGE
        assert not re.search("better|worse", verdict(interval(1, 3), "a", "b", "volume_difference_ml"))

    @pytest.mark.parametrize("metric", ["dice", "hd95", "lesion_f1", "volume_difference_ml", "dice_core"])
    def test_an_interval_that_crosses_zero_is_never_a_gain(self, metric):
        rng = np.random.default_rng(0)
        for low, high in zip(-rng.exponential(1, 200), rng.exponential(1, 200), strict=True):
            difference = Difference(mean=rng.uniform(low, high), low=low, high=high, n=30, p=rng.uniform())
            assert outcome(difference, metric) is Outcome.NULL
            assert "No difference" in verdict(difference, "a", "b", metric)
        assert outcome(interval(0, 1), metric) is Outcome.NULL
        assert outcome(interval(-1, 0), metric) is Outcome.NULL

    def test_too_few_subjects_claim_nothing(self):
        for difference in (interval(0.1, 0.2, n=5), Difference(mean=0.1, low=math.nan, high=math.nan, n=1, p=math.nan)):
            assert outcome(difference, "dice") is Outcome.TOO_FEW
            assert verdict(difference, "a", "b", "dice").startswith("Nothing can be said")
        assert outcome(interval(0.1, 0.2, n=6), "dice") is Outcome.GAIN
        nothing = Difference(mean=math.nan, low=math.nan, high=math.nan, n=0, p=math.nan)
        assert "nan" not in verdict(nothing, "a", "b", "dice")

    def test_small_differences_are_not_rounded_to_nothing(self):
        assert "mean +0.04," in verdict(interval(-0.01, 0.0108), "a", "b", "dice")
        assert "mean +0.0," in verdict(interval(-0.01, 0.01), "a", "b", "dice")


class TestSummary:
    def test_has_a_row_per_arm_fraction_and_score(self):
        results = make_results({"real": 0, "mixed": 0.05}, train_sizes=(0.5, 1.0))
        summary = summarize(results, baseline="real")
        assert len(summary) == 2 * 2 * 3
        assert set(summary["metric"]) == {"dice", "hd95", "volume_difference_ml"}
        promised = "arm train_size metric mean ci_low ci_high n_subjects n_seeds difference diff_low diff_high"
        assert {*promised.split(), "detectable", "p", "p_holm"} <= set(summary.columns)

    def test_headline_sorts_all_arms_by_outcome(self):
        results = make_results({"real": 0, "good": 0.1, "same": 0, "bad": -0.1})
        (sentence,) = headline_of(results)
        assert re.search(r"better with good; worse with bad; no difference could be shown for same \(\d", sentence)

    @pytest.mark.parametrize("metric", ["dice", "hd95"])
    def test_the_best_arm_comes_first(self, metric):
        results = make_results({"real": 0, "good": 0.1, "best": 0.2, "worst": -0.2, "bad": -0.1})
        (sentence,) = headline_of(results, metric)
        assert "better with best, good; worse with bad, worst" in sentence

    def test_headline_names_the_fractions(self):
        low = make_results({"real": 0, "mixed": 0.1}, train_sizes=(0.1,))
        high = make_results({"real": 0, "mixed": 0}, train_sizes=(1.0,))
        (sentence,) = headline_of(pd.concat([low, high]))
        assert "better with mixed (10 %)" in sentence
        assert re.search(r"no difference could be shown for mixed \(100 % [\d.]+ points would", sentence)

    def test_one_subject_is_not_all_of_them(self):
        """1 is a number where others are, and a share where others are."""
        assert size_names([5.0, 1.0, 5.0]) == {1: "n = 1", 5: "n = 5"}
        assert size_names([1.0, 0.1]) == {0.1: "10 %", 1: "100 %"}

    def test_nothing_but_the_baseline(self):
        assert "nothing to compare" in headline_of(make_results({"real": 0}))[0]


class TestReport:
    @pytest.mark.parametrize(
        ("gain", "words", "style"),
        [(0.08, "did better than", "gain"), (-0.08, "did worse than", "loss"), (0, "No difference", "neither")],
    )
    def test_says_what_the_interval_says(self, tmp_path, gain, words, style):
        sentence, page = report(tmp_path, make_results({"real": 0, "mixed": gain}))
        assert words in sentence
        assert sentence in page
        assert page.count(sentence) == 1
        assert f'class="verdict {style}"' in page
        row = pd.read_csv(tmp_path / "summary.csv").query("arm == 'mixed' and metric == 'dice'").iloc[0]
        assert outcome(difference_of(row), "dice").value in page

    def test_is_self_contained(self, tmp_path):
        _, page = report(tmp_path, make_results({"real": 0, "mixed": 0.05}, train_sizes=(0.5, 1.0)))
        assert "http://" not in page
        assert "https://" not in page
        sources = re.findall(r'(?:src|href)\s*=\s*"([^"]{0,30})', page)
        assert len(sources) == 3
        assert all(source.startswith("data:image/svg+xml;base64") for source in sources)
        assert re.findall("<script[^>]*>", page) == ["<script>"]
        assert "url(" not in page

    def test_leaves_the_figures_and_no_temporary_file(self, tmp_path):
        example = Example(
            image=np.random.default_rng(0).random((20, 24)),
            truth=np.eye(20, 24, dtype=np.int16),
            predictions={"real": np.zeros((20, 24), np.int16), "mixed": np.ones((20, 24), np.int16)},
            title="case0, slice 3",
        )
        report(tmp_path, make_results({"real": 0, "mixed": 0}, train_sizes=(4, 8)), examples=[example, example])
        names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
        figures = {f"figures/{name}.svg" for name in ("arms", "differences", "data_regime")} | {"figures/examples.png"}
        assert names == {"results.csv", "summary.csv", "report.html"} | figures

    def test_same_results_same_bytes(self, tmp_path):
        results = make_results({"real": 0, "mixed": 0.02})
        assert report(tmp_path / "a", results) == report(tmp_path / "b", results)
        for figure in ("arms.svg", "differences.svg"):
            contents = [(tmp_path / folder / "figures" / figure).read_bytes() for folder in "ab"]
            assert contents[0] == contents[1]
        assert (tmp_path / "a" / "summary.csv").read_bytes() == (tmp_path / "b" / "summary.csv").read_bytes()

    def test_states_rules_counts_notes_and_warnings(self, tmp_path):
        notes, warnings = {"Steps": "1200 in every arm"}, ["Simulated data."]
        _, page = report(tmp_path, make_results({"real": 0, "mixed": 0}), notes=notes, warnings=warnings)
        for text in ("12 subjects, 24 cases", "1200 in every arm", "Simulated data.", "found nothing if"):
            assert text in page
        assert "One training seed" not in page
        assert "missing" not in page

    def test_escapes_what_the_caller_gives(self, tmp_path):
        _, page = report(tmp_path, make_results({"real": 0, "<b>": 0}), title="a < b", notes={"x": "<script>alert"})
        assert "<script>alert" not in page
        assert "<b>" not in page
        assert "a &lt; b" in page

    def test_warns_of_one_seed_few_subjects_and_missing_cases(self, tmp_path):
        results = make_results({"real": 0, "mixed": 0.1}, n_seeds=1, n_subjects=4)
        lacking = results[~((results["arm"] == "mixed") & (results["case_id"] == "case2_1"))]
        sentence, page = report(tmp_path, lacking)
        assert "Nothing can be said" in sentence
        assert "One training seed" in page
        assert "at least 6 are needed" in page
        assert "mixed, seed 0: 1 of 8 test cases are missing (case2_1)" in page

    def test_names_the_seeds_that_disagree(self, tmp_path):
        results = make_results({"real": 0, "mixed": 0}, noise=0, n_seeds=6)
        gains = results["seed"].map(dict(enumerate((0.1, 0.11, 0.09, 0.1, 0.12, -0.001))))
        results["dice"] += gains.where(results["arm"] == "mixed", 0)
        sentence, _ = report(tmp_path, results)
        assert "did better" in sentence
        assert sentence.endswith("Not so in seed 5.")
        assert (
            "better with mixed (not in seed 5)"
            in headline_of(pd.concat([results, results[results["arm"] == "real"].assign(arm="other")]))[0]
        )
        _, page = report(tmp_path, pd.concat([results, results.assign(train_size=0.5, dice=0.5)]))
        assert "<li>50 %: No difference" in page

    def test_holm_decides_among_many_comparisons(self, tmp_path):
        arms = {"real": 0, "a": 0.02} | {f"same{number}": 0 for number in range(9)}
        results = make_results(arms, n_seeds=5, noise=0.04).drop(columns=["hd95", "volume_difference_ml"])
        row = summarize(results, baseline="real").query("arm == 'a' and metric == 'dice'").iloc[0]
        assert row["diff_low"] > 0
        assert row["p"] < 0.05 < row["p_holm"]
        assert outcome(difference_of(row), "dice") is Outcome.NULL
        assert "did better" in report(tmp_path, results[results["arm"].isin(["real", "a"])])[0]

    def test_a_baseline_without_control_is_said_to_be_undertrained(self, tmp_path):
        results = make_results({"real": 0, "mixed": 0.1})
        sentence, page = report(tmp_path, results, undertrained="it was stopped early")
        assert "but the baseline may be undertrained: it was stopped early" in sentence
        assert "did better" not in page
        assert 'class="verdict neither"' in page
        assert '<td class="outcome">gain' not in page
        loss, _ = report(tmp_path, results.assign(dice=1 - results["dice"]), undertrained="it was stopped early")
        assert "did worse" in loss
        assert loss.endswith("The baseline may be undertrained: it was stopped early.")

    def test_warns_of_values_and_cases_that_are_missing(self, tmp_path):
        results = make_results({"real": 0, "mixed": 0.1})
        results.loc[:2, "dice"] = np.nan
        few = (results["arm"] == "real") | (results["subject_id"] > "subject2")
        _, page = report(tmp_path, results[few])
        assert f"Dice has no value in 3 of {few.sum()} rows" in page
        assert "mixed, seed 0: 10 of 24 test cases are missing" in page
        assert re.search(r"missing \((\w+, ){5}…\)", page)

    def test_the_declared_arm_gives_the_verdict(self, tmp_path):
        results = make_results({"real": 0, "good": 0.1, "bad": -0.1})
        sentence, page = report(tmp_path, results, arm="bad")
        assert sentence.startswith("bad did worse than real")
        assert "good did better than real" in page
        assert 'class="verdict loss"' in page
        assert 'class="verdict mixed"' in report(tmp_path, results)[1]

    def test_another_primary_score(self, tmp_path):
        sentence, page = report(tmp_path, make_results({"real": 0, "mixed": 0.1}), primary="hd95")
        assert "did better" in sentence
        assert re.search(r"HD95 was \d\.\d mm lower", sentence)
        assert "left is better" not in page

    def test_a_score_without_values_does_no_harm(self, tmp_path):
        results = make_results({"real": 0, "mixed": 0.1}).assign(lesion_f1=np.nan)
        _, page = report(tmp_path, results)
        assert "nan" not in re.sub(r'src="[^"]+"', "", page).lower()

    def test_tables_give_directions_ranges_and_p_values(self, tmp_path):
        _, page = report(tmp_path, make_results({"real": 0, "mixed": 0.1}, n_seeds=1))
        assert "Dice <small>(points ↑)</small>" in page
        assert "HD95 <small>(mm ↓)</small>" in page
        assert "<td>&lt; 0.001</td>" in page
        ranges = re.findall(r"\[([+−\d.]+), ([+−\d.]+)\]", page)
        assert len(ranges) > 5
        assert all(float(low.replace("−", "-")) < float(high.replace("−", "-")) for low, high in ranges)
        means = re.findall(r"<td>([\d.]+) \[[^<]*\]</td><td>([\d.]+) to ([\d.]+)</td>", page)
        assert len(means) == 2
        assert all(mean == low == high for mean, low, high in means)

    def test_can_be_written_again(self, tmp_path):
        results = make_results({"real": 0, "mixed": 0.1})
        assert report(tmp_path, results) == report(tmp_path, results)


def with_lesion_free(results, alarms):
    """Make every second subject lesion-free: ``alarms`` says of which arms the network predicts something there."""
    free = results["subject_id"].str.removeprefix("subject").astype(int) % 2 == 1
    alarm = results["arm"].map(alarms).astype(float)
    return results.assign(
        dice=results["dice"].where(~free, 1 - alarm),
        lesion_dice=results["dice"].where(~free),
        lesion_sensitivity=(results["dice"] > 0).astype(float).where(~free),
        false_alarm=alarm.where(free),
        false_positive_ml=(2.5 * alarm).where(free),
        hd95=results["hd95"].where(~free),
    )


class TestLesionFreeCases:
    def test_a_line_on_all_classes_does_not_stand_beside_the_score_of_one(self):
        results = with_lesion_free(make_results({"real": 0, "mixed": 0.1}, n_subjects=24), {"real": 0, "mixed": 1})
        results["dice_core"] = results["dice"]
        titles = [line for line in headline_of(results, "dice_core") if "Dice of cases with lesions" in line]
        assert not titles
        assert any("Dice of cases with lesions" in line for line in headline_of(results, "dice"))

    def test_the_headline_has_a_line_on_them(self):
        results = with_lesion_free(make_results({"real": 0, "mixed": 0.1}, n_subjects=24), {"real": 0, "mixed": 1})
        lines = headline_of(results, "lesion_dice")
        assert len(lines) == 2
        assert lines[0].startswith("mixed did better than real: Dice of cases with lesions was")
        assert lines[1].startswith("mixed did worse than real: False-alarm rate was 100.0 points higher")
        assert lines[1].endswith("False-positive volume in ml: real 0.0; mixed 2.5.")
        mixed_up = headline_of(results, "dice")
        assert len(mixed_up) == 3
        assert mixed_up[1:] == lines

    def test_without_them_there_is_one_line(self):
        results = make_results({"real": 0, "mixed": 0.1}).assign(false_alarm=np.nan)
        assert len(headline_of(results)) == 1


class TestCollapsedTrainings:
    def collapsed(self, arm, seed, **options):
        results = make_results({"real": 0, "mixed": 0.1}, n_seeds=4, n_subjects=24, **options)
        failed = (results["arm"] == arm) & (results["seed"] == seed)
        results.loc[failed, "dice"] = 0.001
        return with_lesion_free(results, {"real": 0, "mixed": 0})

    @pytest.mark.parametrize("metric", ["dice", "lesion_dice", "hd95"])
    def test_are_found_whatever_they_score_without_lesions(self, metric, tmp_path):
        results = self.collapsed("real", 2)
        of_training = results.query("arm == 'real' and seed == 2")
        assert of_training["dice"].mean() > 0.4
        sentence, page = report(tmp_path, results, primary=metric)
        assert "1 of 4 trainings of real found nothing (seed 2)." in sentence
        assert "1 of 4 trainings of real found nothing" in page

    def test_no_gain_is_claimed_over_a_baseline_that_found_nothing(self, tmp_path):
        results = make_results({"real": 0, "mixed": 0.1}, n_seeds=2, n_subjects=24)
        gain, _ = report(tmp_path, results)
        assert "did better" in gain
        results.loc[(results["arm"] == "real") & (results["seed"] == 1), "dice"] = 0.0
        results.loc[(results["arm"] == "real") & (results["seed"] == 0), "dice"] = 0.001
        sentence, page = report(tmp_path, with_lesion_free(results, {"real": 0, "mixed": 0}), primary="lesion_dice")
        assert "but the baseline may be undertrained: 2 of its 2 trainings found nothing" in sentence
        assert "did better" not in page
        assert 'class="verdict neither"' in page

    def test_the_difference_without_them_is_named(self):
        lines = headline_of(self.collapsed("real", 2), "lesion_dice")
        left_out = re.search(r"Without them the difference in (.+) is \+(\d+\.\d) points", " ".join(lines))
        assert left_out[1] == "Dice of cases with lesions between mixed and real"
        assert float(left_out[2]) == pytest.approx(10, abs=1.5)
        assert any("3 seeds)" in line for line in lines)

    def test_a_poor_training_is_none(self):
        results = make_results({"real": 0, "mixed": 0.1})
        assert collapsed_trainings(results.assign(lesion_dice=0.02)).empty
        assert len(collapsed_trainings(results.assign(lesion_dice=0.009))) == 6
        assert collapsed_trainings(results.drop(columns="dice")).empty

    def test_one_fold_of_a_cross_validation_is_enough(self, tmp_path):
        gains, folds = {"real": 0, "mixed": 0.1}, ("fold0", "fold1", "fold2")
        results = make_results(gains, n_subjects=36).assign(training_set=0)
        results["fold"] = results["subject_id"].str.removeprefix("subject").astype(int).map(lambda n: folds[n % 3])
        gain, _ = report(tmp_path, results)
        assert "did better" in gain
        results.loc[(results["arm"] == "real") & (results["seed"] == 2) & (results["fold"] == "fold1"), "dice"] = 0.0
        assert results.query("arm == 'real' and seed == 2")["dice"].mean() > 0.3
        sentence, page = report(tmp_path, results)
        assert "1 of 9 trainings of real found nothing (fold1, seed 2)." in sentence
        assert "The baseline may be undertrained: 1 of its 9 trainings found nothing." in sentence
        assert "did better" not in page
        left_out = re.search(r"Without them the difference .+ is \+(\d+\.\d) points .+, 3 seeds\)", sentence)
        assert float(left_out[1]) == pytest.approx(10, abs=1.5)

    @pytest.mark.parametrize("score", ["dice", "image_dice"])
    def test_a_class_that_is_never_found_is_named(self, score, tmp_path):
        results = make_results({"real": 0, "mixed": 0.1}).assign(**{f"{score}_core": 0.5, f"{score}_oedema": 0.4})
        assert "found no" not in " ".join(headline_of(results))
        first = results.groupby(["arm", "seed", "subject_id"]).cumcount() == 0
        missed = (results["arm"] == "mixed") & results["seed"].isin([0, 2])
        results[f"{score}_oedema"] = results[f"{score}_oedema"].where(first).mask(missed & first, 0.0)
        sentence, page = report(tmp_path, results)
        assert "Of 3 trainings of mixed, 2 found no oedema (seeds 0, 2)." in sentence
        assert "found no core" not in page

    def test_a_class_is_not_named_where_nothing_at_all_was_found(self):
        results = self.collapsed("real", 2)
        failed = results["dice"] == 0.001
        results["dice_core"] = results["dice"].where(~failed, 0.0)
        text = " ".join(headline_of(results, "lesion_dice"))
        assert "found nothing (seed 2)" in text
        assert "found no core" not in text

    def test_any_share_of_what_is_found_in_cases_with_lesions_shows_it(self):
        results = self.collapsed("mixed", 0).drop(columns=["lesion_dice", "dice"])
        assert collapsed_trainings(results).empty
        failed = (results["arm"] == "mixed") & (results["seed"] == 0) & results["lesion_sensitivity"].notna()
        results.loc[failed, "lesion_sensitivity"] = 0.0
        assert collapsed_trainings(results).to_dict("records") == [{"arm": "mixed", "train_size": 1.0, "seed": 0}]

    def test_of_every_size_and_where_nothing_is_left(self):
        few, many = self.collapsed("mixed", 0, train_sizes=(1,)), self.collapsed("mixed", 1, train_sizes=(5,))
        few = few.assign(dice=few["dice"].where(few["arm"] != "real", 0), lesion_dice=0.0)
        text = " ".join(headline_of(pd.concat([few, many]), "lesion_dice"))
        assert "4 of 8 trainings of real found nothing (n = 1, seeds 0, 1, 2, 3)." in text
        assert "5 of 8 trainings of mixed found nothing (n = 1, seeds 0, 1, 2, 3; n = 5, seed 1)." in text
        assert "between mixed and real (n = 1): in no seed did both find something." in text


class TestDistances:
    def test_cases_in_which_nothing_was_found_are_counted_apart(self, tmp_path):
        results = with_lesion_free(make_results({"real": 0, "mixed": 0.1}), {"real": 0, "mixed": 0})
        missed = results.index[(results["arm"] == "real") & results["hd95"].notna()][:5]
        results.loc[missed, "hd95"] = np.nan
        _, page = report(tmp_path, results, primary="lesion_dice")
        assert "HD95 has no value where nothing was found: real in 5 of 36 cases, all seeds together." in page
        assert "HD95 has no value" not in report(tmp_path, make_results({"real": 0, "mixed": 0.1}))[1]

    def test_cases_without_a_distance_are_counted_for_every_class(self):
        results = make_results({"real": 0, "mixed": 0.1}).assign(hd95_core=3.0, image_dice_core=0.5)
        of_mixed = results.index[results["arm"] == "mixed"]
        results.loc[of_mixed[:30], ["hd95_core", "image_dice_core"]] = np.nan
        results.loc[of_mixed[30:37], "hd95_core"] = np.nan
        told = "HD95 of core has no value where nothing was found: mixed in 7 of 42 cases, all seeds together."
        assert lacking_distance(results) == [told]


class TestSubjects:
    def test_every_subject_has_a_row_with_the_score_of_each_arm(self, tmp_path):
        results = make_results({"real": 0, "mixed": 0.1})
        results.loc[(results["arm"] == "mixed") & (results["subject_id"] == "subject3"), "dice"] = np.nan
        _, page = report(tmp_path, results)
        table = re.search(r'<table class="sortable">(.*?)</table>', page, re.DOTALL)[1]
        assert re.findall(r'<button type="button">(\w+)</button>', table) == ["Subject", "real", "mixed"]
        rows = re.findall(r'<tr><td>(\w+)</td><td data-value="(.*?)">.*?</td><td data-value="(.*?)">(.*?)</td>', table)
        assert {row[0] for row in rows} == set(results["subject_id"])
        means = results.groupby(["arm", "subject_id"])["dice"].mean()
        for subject, real, mixed, shown in rows:
            assert float(real) == pytest.approx(means["real", subject])
            assert (mixed, shown) == ("", "–") if subject == "subject3" else f"{100 * float(mixed):.1f}" == shown

    def test_of_every_size(self, tmp_path):
        _, page = report(tmp_path, make_results({"real": 0, "mixed": 0.1}, train_sizes=(4, 8)))
        assert page.count('<table class="sortable">') == 2


class TestMadeOf:
    def test_says_what_it_is_made_of_and_shows_the_plan(self, tmp_path):
        results = make_results({"real": 0, "mixed": 0.1})
        (tmp_path / "plan.yaml").write_text("name: <a plan>\n")
        _, page = report(tmp_path, results, made_of={"Command": "lesionforge benchmark"})
        assert "<tr><th>Command</th><td>lesionforge benchmark</td></tr>" in page
        assert "<pre>name: &lt;a plan&gt;" in page
        assert "Made of" not in report(tmp_path / "bare", results)[1]

    def test_colours_of_classes_are_named_where_there_are_several(self, tmp_path):
        results = make_results({"real": 0, "mixed": 0.1})
        several = report(tmp_path, results, classes={"background": 0, "core": 1, "oedema": 2})[1]
        assert re.search(r'<p class="legend">.*core.*oedema</p>', several)
        assert 'class="legend"' not in report(tmp_path, results, classes={"background": 0, "core": 1})[1]


class TestFigures:
    def test_differences_are_drawn_in_the_units_of_the_score(self):
        results = make_results({"real": 0, "good": 0.1, "bad": -0.1})
        summary = summarize(results, baseline="real")
        (panel,) = forest_plot(results, summary, "dice", baseline="real").axes
        assert "right is better" in panel.get_xlabel()
        assert "left is better" in forest_plot(results, summary, "hd95", baseline="real").axes[0].get_xlabel()
        drawn = [line for line in panel.lines if line.get_linewidth() == 2.5]
        rows = comparisons(summary, baseline="real", metric="dice")
        assert [label.get_text() for label in panel.get_yticklabels()] == rows["arm"].tolist() == ["good", "bad"]
        assert [list(line.get_xdata()) for line in drawn] == (rows[["diff_low", "diff_high"]] * 100).to_numpy().tolist()
        assert [line.get_color() for line in drawn] == [BLUE, ORANGE]

    def test_boxes_show_the_mean_of_each_arm(self):
        results = make_results({"real": 0, "mixed": 0.1})
        (panel,) = box_plot(results, "dice").axes
        means = [line.get_xdata()[0] for line in panel.lines if line.get_marker() == "D"]
        expected = summarize(results, baseline="real").query("metric == 'dice'")["mean"] * 100
        assert means == pytest.approx(expected.tolist())

    def test_an_example_outlines_truth_and_prediction(self):
        blank, lesion = np.zeros((20, 24), np.int16), np.ones((20, 24), np.int16)
        image = np.random.default_rng(0).random((20, 24))
        example = Example(image=image, truth=lesion, predictions={"real": lesion, "mixed": blank})
        colours = [
            {to_hex(colour).upper() for outline in axes.collections for colour in outline.get_edgecolor()}
            for axes in example_sheet([example]).axes
        ]
        assert colours == [set(), {TRUTH_COLOUR, PREDICTION_COLOUR}, {TRUTH_COLOUR}]

    def test_a_note_stands_above_its_prediction(self):
        lesion, image = np.ones((20, 24), np.int16), np.random.default_rng(0).random((20, 24))
        example = Example(
            image=image, truth=lesion, predictions={"real": lesion, "mixed": lesion}, notes={"mixed": "Dice 50.0"}
        )
        titles = [panel.get_title() for panel in example_sheet([example]).axes]
        assert titles == ["", "real", "mixed\nDice 50.0"]

    def test_many_arms_are_wrapped_and_none_is_lost(self):
        lesion, image = np.zeros((20, 24), np.int16), np.random.default_rng(0).random((20, 24))
        arms = [f"arm_{number}" for number in range(9)]
        figure = example_sheet([Example(image=image, truth=lesion, predictions=dict.fromkeys(arms, lesion))])
        assert [panel.get_title() for panel in figure.axes if panel.images] == ["", *arms]
        assert figure.get_figwidth() < 10

    def test_the_dark_border_is_cut_away_but_nothing_that_is_outlined(self):
        image, lesion = np.zeros((60, 60)), np.zeros((60, 60), np.int16)
        image[20:40, 20:40] = np.random.default_rng(0).uniform(0.5, 1, (20, 20))
        lesion[10:15, 50:55] = 1
        (plain, _) = example_sheet([Example(image=image, truth=lesion, predictions={"real": lesion})]).axes
        assert plain.images[0].get_array().shape == (40 - 10 + 6, 55 - 20 + 6)

    def test_further_figures_are_shown_with_their_captions(self, tmp_path):
        results = make_results({"real": 0, "mixed": 0.1})
        extra = Illustration("more.svg", "More <than> scores.", box_plot(results, "hd95"))
        _, page = report(tmp_path, results, extras=[extra])
        assert (tmp_path / "figures" / "more.svg").is_file()
        assert "<figcaption>More &lt;than&gt; scores.</figcaption>" in page
        assert page.count("<figure>") == 3


class TestBadResults:
    def refused(self, tmp_path, results, match, **options):
        with pytest.raises(ConfigError, match=match):
            report(tmp_path, results, **options)
        assert not (tmp_path / "report.html").exists()

    def test_missing_file(self, tmp_path):
        with pytest.raises(ConfigError, match="no such file"):
            read_results(tmp_path / "results.csv")

    def test_empty_file(self, tmp_path):
        (tmp_path / "results.csv").write_text("")
        with pytest.raises(ConfigError, match="it is empty"):
            read_results(tmp_path / "results.csv")

    def test_missing_column(self, tmp_path):
        self.refused(tmp_path, make_results({"real": 0}).drop(columns="subject_id"), "subject_id")

    def test_no_rows(self, tmp_path):
        self.refused(tmp_path, make_results({"real": 0}).iloc[:0], "empty")

    def test_a_case_twice(self, tmp_path):
        results = make_results({"real": 0})
        self.refused(tmp_path, pd.concat([results, results.iloc[:1]]), "case0_0 twice")

    def test_unknown_names(self, tmp_path):
        results = make_results({"real": 0, "mixed": 0})
        self.refused(tmp_path, results[results["arm"] == "mixed"], "baseline")
        self.refused(tmp_path, results, "not an arm", arm="magic")
        self.refused(tmp_path, results, "not a score", primary="speed")
        self.refused(tmp_path, results, "not a score", primary="steps")

    def test_ids_that_look_like_numbers_or_missing_values_stay_text(self, tmp_path):
        results = make_results({"real": 0}).assign(subject_id="NA", arm="real")
        results["case_id"] = [f"{i:03d}" for i in range(len(results))]
        results.to_csv(tmp_path / "results.csv", index=False)
        read = read_results(tmp_path / "results.csv")
        assert read["case_id"].iloc[1] == "001"
        assert set(read["subject_id"]) == {"NA"}


def test_an_audit_in_the_folder_is_shown_and_a_damaged_one_is_an_error(tmp_path):
    results = make_results({"real": 0.0, "gan": 0.05}, n_subjects=6)
    assert "Audits of synthetic cohorts" not in report(tmp_path, results)[1]
    file = tmp_path / "audits" / "gan" / "audit.json"
    file.parent.mkdir(parents=True)
    section = {"title": "Copies", "main": ["Copies found: 2 < 3"], "details": [], "cannot": "all <else>"}
    file.write_text(json.dumps({"copies_found": 2, "sections": [section]}))
    _, page = report(tmp_path, results)
    assert "Copies found: 2 &lt; 3" in page
    assert "What this cannot show: all &lt;else&gt;" in page
    file.write_text('{"sections": ["Copies"]}')
    with pytest.raises(CohortError, match="does not hold the findings of an audit"):
        report(tmp_path, results)
