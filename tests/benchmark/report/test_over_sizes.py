import math

import numpy as np
import pandas as pd
import pytest

from lesionforge.benchmark.report.over_sizes import mean_share, over_sizes, over_sizes_table
from lesionforge.scores.registry import find_score
from lesionforge.scores.statistics.over_sizes import difference_over_sizes
from tests.benchmark.report.test_gap import SEEDS, counts, rows, scores

BASELINE = {1: 0.2, 4: 0.4, 16: 0.5}
WHOLE = 0.6
OPTIONS = {"baseline": "real", "arm": "drawn", "others": ("real", "carvemix"), "metric": "lesion_dice"}


def study(drawn=(0.05, 0.05, 0.05), carvemix=(0.02, 0.02, 0.02)):
    """Return results in which the arms gain exactly these amounts at the three sizes, and the baseline on the pool."""
    parts = []
    for size, own, other in zip(BASELINE, drawn, carvemix, strict=True):
        values = scores(BASELINE[size], seed=size, spread=0.02)
        parts += [rows(arm, size, values + gain) for arm, gain in (("real", 0), ("drawn", own), ("carvemix", other))]
    return pd.concat(parts), rows("real", 40, scores(WHOLE, seed=40, spread=0.02))


def test_a_constant_gain_is_returned_exactly():
    of_real, of_carvemix = over_sizes_table(*study(), **OPTIONS).to_dict("records")
    for row, gain in ((of_real, 0.05), (of_carvemix, 0.03)):
        assert [row[name] for name in ("difference", "diff_low", "diff_high")] == pytest.approx([gain] * 3)
        assert row["n_seeds"] == SEEDS


def test_every_size_has_the_same_weight():
    results, reference = study(drawn=(0.1, -0.02, 0.01))
    results = results[(results["train_size"] != 4) | (results["subject_id"] != "s00")]
    row = over_sizes_table(results, reference, **OPTIONS).iloc[0]
    assert row["difference"] == pytest.approx(0.03)
    assert row["n_pairs"] == results["subject_id"].nunique() - 1


def test_arms_are_compared_at_the_sizes_that_both_were_trained_at():
    """An arm may be left out where a size is too small for it."""
    results, reference = study(drawn=(0.01, 0.05, 0.09), carvemix=(0.5, 0.02, 0.04))
    results = results[(results["arm"] != "carvemix") | (results["train_size"] != 1)]
    of_real, of_carvemix = over_sizes_table(results, reference, **OPTIONS).to_dict("records")
    assert (of_real["sizes"], of_carvemix["sizes"]) == ("n = 1, n = 4, n = 16", "n = 4, n = 16")
    assert (of_real["difference"], of_carvemix["difference"]) == pytest.approx((0.05, 0.04))
    assert of_carvemix["n_seeds"] == SEEDS
    found = over_sizes(results, reference, baseline="real", arm="drawn", against=["carvemix"], primary="lesion_dice")
    first, second = found.lines
    assert first.startswith("Mean over n = 1, n = 4, n = 16: drawn did better than real")
    assert second.startswith("Mean over n = 4, n = 16: drawn did better than carvemix")
    assert "Not so in seed" not in second


def test_the_share_is_the_mean_of_the_shares_of_every_size():
    table = over_sizes_table(*study(drawn=(0.04, 0.1, 0.05)), **OPTIONS)
    of_real, of_carvemix = table.to_dict("records")
    assert of_real["share"] == pytest.approx(np.mean([0.04 / 0.4, 0.1 / 0.2, 0.05 / 0.1]), abs=0.03)
    assert of_real["of_mean_gap"] == pytest.approx(0.19 / 0.7, abs=0.01)
    assert of_carvemix["share"] == pytest.approx(np.mean([0.02 / 0.4, 0.08 / 0.2, 0.03 / 0.1]), abs=0.03)
    for row in (of_real, of_carvemix):
        assert row["share_low"] < row["share"] < row["share_high"]
        assert row["of_mean_gap_low"] < row["of_mean_gap"] < row["of_mean_gap_high"]


def test_without_a_gap_at_one_size_there_is_only_the_share_of_the_mean_gap():
    results, _ = study()
    row = over_sizes_table(results, rows("real", 40, scores(0.5, seed=40, spread=0.02)), **OPTIONS).iloc[0]
    assert math.isnan(row["share"])
    assert row["of_mean_gap"] == pytest.approx(0.15 / 0.4, abs=0.02)
    assert math.isnan(over_sizes_table(results, None, **OPTIONS)["of_mean_gap"].iloc[0])


def test_trainings_that_found_nothing_count_for_the_gain_and_not_for_the_share():
    results, reference = study()
    lost = (results["arm"] == "carvemix") & (results["train_size"] == 1) & (results["seed"] == 0)
    results["lesion_dice"] = results["lesion_dice"].where(~lost, 0.0)
    of_real, of_carvemix = over_sizes_table(results, reference, **OPTIONS).to_dict("records")
    assert (of_real["share_seeds"], of_carvemix["share_seeds"]) == (SEEDS, SEEDS - 1)
    assert of_carvemix["n_seeds"] == SEEDS
    assert of_carvemix["difference"] > 0.03 + 0.01
    assert of_carvemix["of_mean_gap"] == pytest.approx(0.03 / (0.7 / 3), abs=0.01)


@pytest.mark.slow
def test_a_score_of_a_set_has_means_over_sizes_too():
    recalls = {5: (0.4, 0.5, 0.45), 10: (0.5, 0.65, 0.55)}
    parts = [
        counts(arm, size, recall, seed=100 * size + number)
        for size, of_size in recalls.items()
        for number, (arm, recall) in enumerate(zip(("real", "drawn", "carvemix"), of_size, strict=True))
    ]
    results, reference = pd.concat(parts), counts("real", 40, 0.8, seed=3)
    given = OPTIONS | {"metric": "image_recall", "n_resamples": 100}
    score = find_score("image_recall")
    for row, gain in zip(over_sizes_table(results, reference, **given).to_dict("records"), (0.125, 0.075), strict=True):
        own = [
            difference_over_sizes(part, score, arm="drawn", other=row["against"], n_resamples=0).interval().mean
            for _, part in results.groupby("train_size")
        ]
        assert row["difference"] == pytest.approx(np.mean(own)) == pytest.approx(gain, abs=0.05)
        assert row["diff_low"] < row["difference"] < row["diff_high"]
        assert row["share_low"] < row["share"] < row["share_high"]


def test_sentences_name_the_sizes_the_arms_and_what_limits_them():
    results, reference = study()
    given = {"baseline": "real", "arm": "drawn", "against": ("carvemix",), "primary": "lesion_dice"}
    of_real, of_carvemix = over_sizes(results, reference, **given).lines
    assert of_real.startswith("Mean over n = 1, n = 4, n = 16: drawn did better than real: ")
    assert "The mean share of the gap is 30 % [" in of_real
    assert ": drawn did better than carvemix: " in of_carvemix
    unsure = over_sizes(results, reference, **given, undertrained="no control was made").lines
    assert all("the baseline may be undertrained: no control was made." in line for line in unsure)
    one = results[results["train_size"] == 4]
    (line,) = over_sizes(one, reference, **given).lines
    assert line.startswith("drawn did better than carvemix: ")
    assert over_sizes(one, reference, **given | {"against": ()}) is None


def called_different(count, n_subjects=8, n_seeds=3):
    """Return how often equal arms are called different; subjects have effects of their own, at all sizes alike."""
    rng, calls = np.random.default_rng(n_subjects), 0
    for _ in range(count):
        subjects = rng.normal(0, 0.03, (n_subjects, 1))
        values = [
            subjects + rng.normal(0, 0.02, (1, n_seeds)) + rng.normal(0, 0.05, (n_subjects, n_seeds)) for _ in BASELINE
        ]
        parts = [rows("real", size, np.full((n_subjects, n_seeds), 0.5)) for size in BASELINE]
        parts += [rows("drawn", size, 0.5 + gain) for size, gain in zip(BASELINE, values, strict=True)]
        found = difference_over_sizes(pd.concat(parts), "lesion_dice", arm="drawn", other="real").interval()
        calls += not found.low <= 0 <= found.high
    return calls / count


@pytest.mark.slow
@pytest.mark.parametrize("n_subjects", [6, 20])
def test_equal_arms_are_rarely_called_different(n_subjects):
    count = 200
    assert called_different(count, n_subjects) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / count)


@pytest.mark.slow
@pytest.mark.parametrize("gains", [(0.05, 0.05, 0.03), (0.0, 0.0, 0.0)])
def test_intervals_of_mean_shares_hold_the_true_share(gains):
    """A weak gap, of three times its error, is among the sizes."""
    rng, gaps, held, (n, k) = np.random.default_rng(0), np.array([0.4, 0.2, 0.06]), [], (20, 3)

    def arm(means):
        noise = rng.normal(0, 0.05, (3, n, 1)) + rng.normal(0, 0.01, (3, 1, k)) + rng.normal(0, 0.05, (3, n, k))
        return np.reshape(means, (3, 1, 1)) + noise

    for _ in range(200):
        few, drawn, whole = arm(0.7 - gaps), arm(0.7 - gaps + gains), arm([0.7] * 3)[:1]
        share = mean_share(drawn - few, whole - few)
        if not math.isnan(share.share):
            held.append(share.low <= np.mean(gains / gaps) <= share.high)
    assert len(held) > 60, "the weak gap is shown in too few studies to judge the intervals by"
    assert np.mean(held) > 0.95 - 3 * np.sqrt(0.95 * 0.05 / len(held))
