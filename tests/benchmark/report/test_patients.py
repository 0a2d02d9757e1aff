import math

import numpy as np
import pandas as pd
import pytest

from lesionforge.benchmark.report.figures.regimes import regime_curve, regime_rows
from lesionforge.benchmark.report.page import summarize
from lesionforge.benchmark.report.patients import Lead, patients_table, patients_text, read_off
from tests.benchmark.report.test_gap import SEEDS, SUBJECTS, counts, rows, scores

SIZES = (1, 4)
POOL = 16
OPTIONS = {"baseline": "real", "metric": "lesion_dice"}


def level(size):
    """Return the mean of the baseline: 10 points more for twice the subjects."""
    return 0.3 + 0.1 * math.log2(size)


def exact(mean):
    """Return values without any noise of trainings: every subject has its own offset from the mean."""
    return np.linspace(mean - 0.2, mean + 0.2, SUBJECTS)[:, None] + np.zeros((1, SEEDS))


def baseline(values=exact, sizes=SIZES):
    return [rows("real", size, values(level(size))) for size in sizes], rows("real", POOL, values(level(POOL)))


def read(drawn, size=2, **given):
    """Return the row of an arm whose mean is that of the baseline with ``drawn`` subjects."""
    curve, reference = baseline()
    results = pd.concat([*curve, rows("drawn", size, exact(level(drawn)))])
    (row,) = patients_table(results, reference, **OPTIONS, **given).to_dict("records")
    return row


@pytest.mark.parametrize("drawn", [1.5, 4, 11])
def test_the_number_is_read_off_where_the_curve_crosses_the_score(drawn):
    row = read(drawn)
    assert row["patients"] == pytest.approx(drawn)
    assert row["patients_low"] == pytest.approx(row["patients_high"]) == pytest.approx(drawn)
    assert patients_text(row) == "{0} [{0}, {0}]".format(f"{drawn:.2g}")


@pytest.mark.parametrize(("drawn", "number", "text"), [(0.7, 0, "< 1"), (20, math.inf, "> 16")])
def test_beyond_the_ends_of_the_curve_there_is_no_number(drawn, number, text):
    row = read(drawn)
    assert row["patients"] == row["patients_low"] == row["patients_high"] == number
    assert patients_text(row) == f"{text} [{text}, {text}]"


def test_of_a_score_of_which_less_is_better():
    curve, reference = baseline()
    results = pd.concat([*curve, rows("drawn", 2, exact(level(5.7)))])
    distance = [table.assign(hd95=20 - 10 * table["lesion_dice"]) for table in (results, reference)]
    (row,) = patients_table(*distance, baseline="real", metric="hd95").to_dict("records")
    assert row["patients"] == pytest.approx(5.7)


def test_shares_of_the_pool_are_read_off_as_shares():
    curve, reference = baseline()
    results = pd.concat([*curve, rows("drawn", 2, exact(level(4)))])
    shares = [table.assign(train_size=table["train_size"] / POOL) for table in (results, reference)]
    (row,) = patients_table(*shares, **OPTIONS).to_dict("records")
    assert row["patients"] == pytest.approx(0.25)
    assert patients_text(row) == "25 % [25 %, 25 %]"


def test_one_size_and_the_pool_are_enough_and_the_pool_alone_is_not():
    curve, reference = baseline(sizes=(2,))
    results = pd.concat([*curve, rows("drawn", 2, exact(level(5.7)))])
    assert patients_table(results, reference, **OPTIONS)["patients"].tolist() == pytest.approx([5.7])
    assert patients_table(results.assign(train_size=POOL), reference, **OPTIONS).empty


def test_the_interval_is_wider_with_more_noise_and_holds_the_number():
    found = []
    for noise in (0.01, 0.05):
        curve, reference = baseline(lambda mean, noise=noise: scores(mean, seed=round(1000 * mean), noise=noise))
        drawn = rows("drawn", 2, scores(level(4), seed=5, noise=noise))
        (row,) = patients_table(pd.concat([*curve, drawn]), reference, **OPTIONS).to_dict("records")
        assert row["patients_low"] < row["patients"] < row["patients_high"]
        found.append(row["patients_high"] / row["patients_low"])
    assert found[0] < found[1]


def test_an_end_that_the_curve_does_not_reach_is_open():
    sizes = np.array([1.0, 2, 4])
    mean = np.array([0.1, 0.0, -0.1])
    assert read_off([Lead(sizes, mean, mean - 0.3, mean + 0.05, 3)]) == (2, 0, 2)
    assert read_off([Lead(sizes, mean, mean - 0.05, mean + 0.3, 3)]) == (2, 2, math.inf)
    unknown = read_off([Lead(sizes, mean, mean * np.nan, mean * np.nan, 3)])
    assert unknown.patients == 2
    assert math.isnan(unknown.low)


def test_trainings_that_found_nothing_are_left_out_where_they_belong():
    curve, reference = baseline()
    results = pd.concat([*curve, rows("drawn", 4, exact(level(5.7)))])
    lost = (results["arm"] == "real") & (results["train_size"] == 1) & (results["seed"] < SEEDS - 1)
    results["lesion_dice"] = results["lesion_dice"].where(~lost, 0.0)
    (row,) = patients_table(results, reference, **OPTIONS).to_dict("records")
    assert row["n_seeds"] == 1
    assert row["patients"] == pytest.approx(5.7)
    nothing = results.assign(lesion_dice=results["lesion_dice"].where(results["arm"] == "real", 0.0))
    (row,) = patients_table(nothing, reference, **OPTIONS).to_dict("records")
    assert (row["n_seeds"], patients_text(row)) == (0, "–")


def test_a_collapsed_fold_leaves_out_that_fold_alone():
    curve, reference = baseline()
    results = pd.concat([*curve, rows("drawn", 4, exact(level(5.7)))])
    results, reference = (table.assign(fold=table["subject_id"].str[-1]) for table in (results, reference))
    lost = (results["arm"] == "real") & (results["train_size"] == 4) & (results["fold"] == "3") & (results["seed"] == 1)
    results["lesion_dice"] = results["lesion_dice"].where(~lost, 0.0)
    (row,) = patients_table(results, reference, **OPTIONS).to_dict("records")
    assert row["n_seeds"] == SEEDS
    assert row["patients"] == pytest.approx(row["patients_high"]) == pytest.approx(5.7)


def test_a_score_of_a_set_is_read_off_too():
    curve = [counts("real", size, recall, seed=size) for size, recall in ((5, 0.2), (10, 0.4))]
    results, reference = pd.concat([*curve, counts("drawn", 5, 0.6, seed=1)]), counts("real", 20, 0.8, seed=2)
    given = {"baseline": "real", "metric": "image_recall", "n_resamples": 50}
    (row,) = patients_table(results, reference, **given).to_dict("records")
    assert 10 < row["patients_low"] < row["patients"] < row["patients_high"] < 20
    assert row["patients"] == pytest.approx(10 * 2**0.5, rel=0.15)


@pytest.mark.slow
def test_the_interval_holds_the_true_number_as_often_as_it_should():
    held, count = [], 120
    for seed in range(count):
        rng = np.random.default_rng(seed)
        subjects = rng.normal(0, 0.1, (12, 1))

        def values(mean, rng=rng, subjects=subjects):
            trainings = rng.normal(0, 0.02, (1, SEEDS))
            return mean + subjects + trainings + rng.normal(0, 0.05, (12, SEEDS))

        curve, reference = baseline(values)
        results = pd.concat([*curve, rows("drawn", 2, values(level(5.7)))])
        (row,) = patients_table(results, reference, **OPTIONS).to_dict("records")
        held.append(row["patients_low"] <= 5.7 <= row["patients_high"])
    assert np.mean(held) >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / count)


def test_the_figure_has_a_band_for_each_arm_and_the_pool_on_the_curve_of_the_baseline():
    curve, reference = baseline(lambda mean: scores(mean, seed=1), sizes=(2, 8))
    drawn = [rows("drawn", size, scores(level(size) + 0.1, seed=size)) for size in (2, 8)]
    results = pd.concat([*curve, *drawn, rows("alone", 2, scores(0.5, seed=3))])
    points = regime_rows(summarize(results, baseline="real"), reference, baseline="real", metric="lesion_dice")
    (axes,) = regime_curve(points, "lesion_dice").axes
    real, *_ = axes.lines
    assert axes.get_xscale() == "log"
    assert real.get_xdata().tolist() == [2, 8, POOL]
    assert real.get_ydata()[-1] == pytest.approx(100 * reference["lesion_dice"].mean())
    band, _, bar = (one.get_paths()[0].vertices[:, 1] for one in axes.collections)
    row = points[(points["arm"] == "real") & (points["train_size"] == POOL)].iloc[0]
    assert {round(100 * row["ci_low"], 6), round(100 * row["ci_high"], 6)} <= set(np.round(band, 6))
    assert np.ptp(bar) > 0
    assert [label.get_text() for label in axes.get_xticklabels()] == ["2", "8", "16"]
