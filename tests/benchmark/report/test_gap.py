import math

import numpy as np
import pandas as pd
import pytest

from lesionforge.benchmark.report.gap import gap_sentences, gap_table, share_of_gap
from lesionforge.benchmark.report.page import write_report
from lesionforge.benchmark.report.spread import spread_table
from lesionforge.benchmark.report.worth import worth

SEEDS, SUBJECTS = 3, 24


def rows(arm, train_size, values, *, training_sets=None):
    """Return rows of ``results.csv`` for ``values[subject, seed]``."""
    table = pd.DataFrame(values).rename_axis("subject_id").reset_index()
    long = table.melt(id_vars="subject_id", var_name="seed", value_name="lesion_dice")
    training_set = long["seed"] if training_sets is None else long["seed"].map(dict(enumerate(training_sets)))
    ids = long["subject_id"].map("s{:02d}".format)
    return long.assign(
        arm=arm, train_size=train_size, training_set=training_set, subject_id=ids, case_id=ids, dice=long["lesion_dice"]
    )


def scores(mean, *, seed, spread=0.1, noise=0.02, shape=(SUBJECTS, SEEDS)):
    subjects = np.random.default_rng(0).normal(0, spread, (shape[0], 1))
    return np.clip(mean + subjects + np.random.default_rng(seed).normal(0, noise, shape), 0.02, 1)


def study(few=0.4, drawn=0.45, whole=0.6):
    results = pd.concat([rows("real", 5, scores(few, seed=1)), rows("drawn", 5, scores(drawn, seed=2))])
    return results, rows("real", 40, scores(whole, seed=3))


@pytest.mark.parametrize(("drawn", "share"), [(0.4, 0.0), (0.45, 0.25), (0.6, 1.0), (0.3, -0.5)])
def test_the_share_is_that_of_the_gain_in_the_gap(drawn, share):
    table = gap_table(*study(drawn=drawn), baseline="real", metric="lesion_dice")
    (row,) = table.to_dict("records")
    assert row["arm"] == "drawn"
    assert row["gap"] == pytest.approx(row["reference_mean"] - row["baseline_mean"]) == pytest.approx(0.2, abs=0.02)
    assert row["share"] == pytest.approx(row["gain"] / row["gap"])
    assert row["share_low"] < share < row["share_high"]
    assert row["share_low"] < row["share"] < row["share_high"]


def test_arms_that_train_on_the_whole_pool_have_no_gap_to_close():
    results, _ = study()
    whole = results.loc[results["arm"] == "real"]
    table = gap_table(results, whole, baseline="real", metric="lesion_dice")
    (sentence,) = gap_sentences(table, baseline="real", pool="all 5")
    assert sentence == "drawn: real already trains on all 5, so there is no gap to close."


def test_a_score_of_which_less_is_better_has_the_same_share():
    results, reference = study()
    distance = [table.assign(hd95=10 - 10 * table["lesion_dice"]) for table in (results, reference)]
    of_dice, of_distance = (
        gap_table(*tables, baseline="real", metric=metric).iloc[0]
        for tables, metric in (((results, reference), "lesion_dice"), (distance, "hd95"))
    )
    for name in ("share", "share_low", "share_high"):
        assert of_dice[name] == pytest.approx(of_distance[name], abs=0.006)


def counts(arm, train_size, recall, *, seed, subjects=SUBJECTS):
    """Return rows whose pooled recall is about ``recall``: subjects have 1 to 12 lesions, and differ."""
    rng, level = np.random.default_rng(seed), np.random.default_rng(0)
    lesions, ease = level.integers(1, 13, subjects), level.normal(0, 0.1, subjects)
    parts = []
    for number in range(SEEDS):
        hits = rng.binomial(lesions, np.clip(recall + ease, 0.02, 0.98))
        ids = [f"s{index:02d}" for index in range(subjects)]
        facts = {"arm": arm, "train_size": train_size, "seed": number, "training_set": number}
        found = {"image_hits": hits, "image_false_alarms": 1, "image_misses": lesions - hits}
        parts.append(pd.DataFrame({"subject_id": ids, "case_id": ids, **found}).assign(**facts))
    return pd.concat(parts)


@pytest.mark.parametrize(("drawn", "share"), [(0.4, 0.0), (0.6, 0.5), (0.8, 1.0)])
def test_a_score_of_a_set_has_a_share_too(drawn, share):
    results = pd.concat([counts("real", 5, 0.4, seed=1), counts("drawn", 5, drawn, seed=2)])
    reference = counts("real", 40, 0.8, seed=3)
    options = {"baseline": "real", "metric": "image_recall", "n_resamples": 200}
    (row,) = gap_table(results, reference, **options).to_dict("records")
    assert row["gap"] == pytest.approx(row["reference_mean"] - row["baseline_mean"], abs=1e-9)
    assert row["share"] == pytest.approx(row["gain"] / row["gap"])
    assert row["share_low"] < share < row["share_high"]
    assert row["share_low"] <= row["share"] <= row["share_high"]


@pytest.mark.slow
def test_the_report_gives_the_share_of_a_score_of_a_set(tmp_path):
    results = pd.concat([counts("real", 5, 0.4, seed=1), counts("drawn", 5, 0.6, seed=2)])
    reference = counts("real", 40, 0.8, seed=3)
    results.to_csv(tmp_path / "results.csv", index=False)
    reference.to_csv(tmp_path / "reference.csv", index=False)
    write_report(tmp_path, baseline="real", primary="image_recall", arm="drawn")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "What a gain is worth" in page
    assert "Where the spread comes from" not in page


@pytest.mark.slow
def test_the_share_of_a_score_of_a_set_is_in_its_interval_as_often_as_it_should_be():
    """The true share is 0.5; a wrong variance, or other samples for gain and gap, would miss it more often."""
    options, held = {"baseline": "real", "metric": "image_recall", "n_resamples": 120}, []
    for seed in range(0, 150, 3):
        results = pd.concat([counts("real", 5, 0.4, seed=seed), counts("drawn", 5, 0.6, seed=seed + 1)])
        row = gap_table(results, counts("real", 40, 0.8, seed=seed + 2), **options).iloc[0]
        held.append(row["share_low"] <= 0.5 <= row["share_high"])
    assert np.mean(held) > 0.86


def test_without_a_gap_there_is_no_share():
    table = gap_table(*study(whole=0.4), baseline="real", metric="lesion_dice")
    assert math.isnan(table["share"].iloc[0])
    assert (
        "no gap between real on these subjects and on all 40 could be shown"
        in gap_sentences(table, baseline="real", pool="all 40")[0]
    )


def test_collapsed_trainings_are_no_gap():
    results, reference = study()
    clean = gap_table(results, reference, baseline="real", metric="lesion_dice").iloc[0]
    lost = results["lesion_dice"].where(~((results["arm"] == "real") & (results["seed"] == 1)), 0.0)
    (row,) = gap_table(results.assign(lesion_dice=lost), reference, baseline="real", metric="lesion_dice").to_dict(
        "records"
    )
    assert row["n_seeds"] == SEEDS - 1
    assert row["gap"] == pytest.approx(clean["gap"], abs=0.02)
    nothing = results.assign(lesion_dice=0.0)
    (row,) = gap_table(nothing, reference, baseline="real", metric="lesion_dice").to_dict("records")
    assert row["n_seeds"] == 0
    assert math.isnan(row["gap"])
    table = gap_table(nothing, reference, baseline="real", metric="lesion_dice")
    assert "in no seed did all of its trainings find something" in gap_sentences(table, baseline="real", pool="all")[0]


@pytest.mark.parametrize("missing", [1, 5])
def test_subjects_without_a_value_are_left_out_of_all_three(missing):
    results, reference = study()
    there = results["subject_id"].isin([f"s{n:02d}" for n in range(missing, SUBJECTS)])
    values = results["lesion_dice"].where(there | (results["arm"] == "real"))
    table = gap_table(results.assign(lesion_dice=values), reference, baseline="real", metric="lesion_dice")
    fewer = [t[t["subject_id"].isin(results.loc[there, "subject_id"])] for t in (results, reference)]
    pd.testing.assert_frame_equal(table, gap_table(*fewer, baseline="real", metric="lesion_dice"))


@pytest.mark.slow
@pytest.mark.parametrize("n_trainings", [1, 3])
def test_intervals_of_shares_hold_the_true_share(n_trainings):
    rng, held, made = np.random.default_rng(0), 0, 0
    for _ in range(600):
        trainings = rng.normal(0, 0.02 if n_trainings > 1 else 0, (2, 1, n_trainings))
        base, gain, gap = rng.normal(0, 0.05, (3, 20, n_trainings))
        share = share_of_gap(0.05 + gain + base + trainings[0], 0.15 + gap + base + trainings[1])
        if not math.isnan(share.share):
            made += 1
            held += share.low <= 1 / 3 <= share.high
    assert made > 500
    assert held / made > 0.93 - 0.02


def test_the_report_gives_the_shares_the_patients_and_the_spread(tmp_path):
    results, reference = study()
    pd.concat([results, rows("other", 5, scores(0.42, seed=5))]).to_csv(tmp_path / "results.csv", index=False)
    reference.to_csv(tmp_path / "reference.csv", index=False)
    said = write_report(tmp_path, baseline="real", primary="lesion_dice", arm="drawn", against=("other",))
    assert "of the gap (" in said
    assert "drawn did better than other" in said
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for text in (
        "What a gain is worth",
        "all 40",
        "How many patients is it worth?",
        "drawn, mean over the sizes of the training set",
    ):
        assert text in page
    for table in ("gap", "patients", "over_sizes"):
        assert set(pd.read_csv(tmp_path / f"{table}.csv")["arm"]) >= {"drawn"}
    names = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert {"gap", "training_sets", "data_regime"} <= names


@pytest.mark.parametrize(("training_sets", "known"), [([0, 1, 2, 3, 4, 5], False), ([0, 0, 1, 1, 2, 2], True)])
def test_the_spread_is_taken_apart_as_far_as_it_can_be(training_sets, known):
    rng = np.random.default_rng(1)
    sums = []
    for _ in range(200):
        effect = rng.normal(0, 0.06, max(training_sets) + 1)[training_sets] + rng.normal(0, 0.03, len(training_sets))
        values = 0.5 + rng.normal(0, 0.1, (SUBJECTS, 1)) + effect + rng.normal(0, 0.02, (SUBJECTS, len(training_sets)))
        sums.append(spread_table(rows("real", 5, values, training_sets=training_sets), metric="lesion_dice").iloc[0])
    variances = {
        name: np.mean([row[name] ** 2 for row in sums]) for name in ("subjects", "training_sets", "trainings", "both")
    }
    assert variances["subjects"] == pytest.approx(0.1**2, rel=0.1)
    if known:
        assert variances["training_sets"] == pytest.approx(0.06**2, rel=0.25)
        assert variances["trainings"] == pytest.approx(0.03**2, rel=0.2)
    else:
        assert math.isnan(variances["training_sets"])
        assert math.isnan(variances["trainings"])
        assert variances["both"] == pytest.approx(0.06**2 + 0.03**2, rel=0.2)


def test_on_one_draw_all_that_seeds_differ_by_is_training():
    values = 0.5 + np.random.default_rng(0).normal(0, 0.05, (1, 6)) + np.zeros((SUBJECTS, 1))
    row = spread_table(rows("real", 40, values, training_sets=[0] * 6), metric="lesion_dice").iloc[0]
    assert row["trainings"] == row["both"] == pytest.approx(values[0].std(ddof=1))
    assert math.isnan(row["training_sets"])


def test_the_whole_pool_is_one_training_set_whatever_the_seeds_draw():
    results, reference = study()
    assert reference["training_set"].nunique() == SEEDS
    drawn, pool = worth(results, reference, baseline="real", primary="lesion_dice").spreads[-2:]
    assert (drawn["n_training_sets"], drawn["trainings"]) == (SEEDS, "–")
    assert (pool["size"], pool["n_training_sets"], pool["trainings"]) == ("all 40", 1, pool["both"])
    whole = results.assign(train_size=40)
    spreads = worth(whole, reference, baseline="real", primary="lesion_dice").spreads
    assert {row["n_training_sets"] for row in spreads} == {1}


def test_a_collapsed_fold_leaves_out_that_fold_alone():
    results, reference = (table.assign(fold=table["subject_id"].str[-1]) for table in study())
    lost = (results["arm"] == "drawn") & (results["fold"] == "3") & (results["seed"] == 1)
    results.loc[lost, "lesion_dice"] = 0.0
    (row,) = gap_table(results, reference, baseline="real", metric="lesion_dice").to_dict("records")
    assert row["gain"] == pytest.approx(0.05, abs=0.02)
    assert row["n_seeds"] == SEEDS


def test_trainings_that_found_nothing_are_named_wherever_they_occur(tmp_path):
    results, reference = study()
    other = rows("other", 5, scores(0.4, seed=4))
    other["lesion_dice"] = other["lesion_dice"].where(other["seed"] != 1, 0.0)
    lost = reference.assign(lesion_dice=reference["lesion_dice"].where(reference["seed"] != 2, 0.0))
    pd.concat([results, other]).to_csv(tmp_path / "results.csv", index=False)
    lost.to_csv(tmp_path / "reference.csv", index=False)
    said = write_report(tmp_path, baseline="real", primary="lesion_dice", arm="drawn")
    assert "other" not in said
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "1 of 3 trainings of other found nothing (seed 1)." in page
    assert "On all 40: 1 of 3 trainings of real found nothing (seed 2)." in page
