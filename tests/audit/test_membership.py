import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from lesionforge.audit.audit_config import AuditConfig
from lesionforge.audit.membership import (
    AreaUnderCurve,
    TruePositiveRate,
    interval_of,
    mean_by_subject,
    membership,
    over_folds,
    smallest_rate,
)


def attack(members, held_out, name="a"):
    scores = [*members, *held_out]
    return pd.DataFrame(
        {
            "attack": name,
            "subject_id": [f"p{number}" for number in range(len(scores))],
            "member": [number < len(members) for number in range(len(scores))],
            "score": scores,
        }
    )


def test_the_area_is_that_of_scikit_learn_ties_and_weights_included():
    rng = np.random.default_rng(0)
    rows = attack(rng.integers(0, 5, 12) + 1.0, rng.integers(0, 5, 9).astype(float))
    assert AreaUnderCurve()(rows) == pytest.approx(roc_auc_score(rows["member"], rows["score"]))
    weights = rng.integers(0, 3, (4, len(rows))).astype(float)
    expected = [roc_auc_score(rows["member"], rows["score"], sample_weight=row) for row in weights]
    assert AreaUnderCurve().weighted(rows, weights) == pytest.approx(expected)


@pytest.mark.parametrize("score", [AreaUnderCurve(), TruePositiveRate(0.25)])
def test_a_weight_is_a_repeated_row_and_a_sample_without_a_group_has_no_score(score):
    rows = attack([1.0, 3.0, 5.0, 2.5], [2.0, 0.0, 4.0, 1.0])
    weights = np.array([[2, 1, 0, 1, 1, 1, 2, 0], [1, 1, 1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 1, 1]], float)
    found = score.weighted(rows, weights)
    assert found[0] == pytest.approx(score(rows.loc[rows.index.repeat(weights[0].astype(int))]))
    assert np.isnan(found[1:]).all()


def test_the_true_positive_rate_allows_the_share_of_false_positives_and_no_more():
    rows = attack([9.0, 7.5, 6.5, 1.0], [10.0, 8.0, 7.0, 0.0])
    assert TruePositiveRate(0.01)(rows) == 0
    assert TruePositiveRate(0.25)(rows) == 0.25
    assert TruePositiveRate(0.5)(rows) == 0.5
    assert TruePositiveRate(0.75)(rows) == 1


def test_members_like_held_out_subjects_cannot_be_told_and_remembered_ones_can():
    rng = np.random.default_rng(0)
    same = membership(attack(rng.normal(size=60), rng.normal(size=60)), AuditConfig(), seed=0).iloc[0]
    told = membership(attack(rng.normal(2, 1, 60), rng.normal(size=60)), AuditConfig(), seed=0).iloc[0]
    assert same["auc_low"] < 0.5 < same["auc_high"]
    assert same["p"] > 0.05
    assert told["auc_low"] > 0.7
    assert told["p"] < 1e-6


@pytest.mark.parametrize("members", [8, 60])
def test_random_halves_reach_what_chance_does_with_so_few_members(members):
    rng = np.random.default_rng(0)
    half = members // 2
    spread = 1.96 * np.sqrt((members + 1) / (12 * half * half))
    row = membership(attack(rng.normal(size=members), rng.normal(size=9)), AuditConfig(), seed=0).iloc[0]
    assert row["halves_high"] - 0.5 == pytest.approx(spread, rel=0.25)
    assert 0.5 - row["halves_low"] == pytest.approx(spread, rel=0.25)


def test_halves_of_the_members_see_no_difference_between_the_groups():
    members = np.random.default_rng(0).normal(size=20)
    like, unlike = (membership(attack(members, members + shift), AuditConfig(), seed=0) for shift in (0, -9))
    assert unlike["auc"][0] == 1
    for end in ("halves_low", "halves_high"):
        assert like[end].equals(unlike[end])


def test_intervals_of_the_area_hold_the_truth():
    rng = np.random.default_rng(1)
    tables = [attack(rng.normal(size=12), rng.normal(size=12)) for _ in range(100)]
    found = [interval_of(AreaUnderCurve(), table, seed=0) for table in tables]
    assert np.mean([low <= 0.5 <= high for _, low, high in found]) > 0.88


def test_eight_held_out_subjects_cannot_resolve_one_in_a_hundred():
    assert smallest_rate(8) == 0.125
    rng = np.random.default_rng(0)
    table = membership(attack(rng.normal(size=20), rng.normal(size=8)), AuditConfig(rates=(0.01, 0.125)), seed=0)
    assert np.isnan(table["tpr_0.01"][0])
    assert 0 <= table["tpr_0.125_low"][0] <= table["tpr_0.125"][0] <= table["tpr_0.125_high"][0] <= 1


def test_the_unit_is_the_subject():
    assert mean_by_subject(["a", "b", "a", "c"], np.array([1.0, 5.0, 3.0, np.nan])) == {"a": 2.0, "b": 5.0}


def test_a_subject_that_scores_higher_as_a_member_counts_even_if_the_groups_overlap():
    rng = np.random.default_rng(0)
    own = rng.normal(0, 5, 20)
    runs = []
    for fold in range(4):
        member = np.arange(20) % 4 != fold
        score = own + 0.5 * member + rng.normal(0, 0.01, 20)
        subjects = [f"p{number}" for number in range(20)]
        runs.append(pd.DataFrame({"attack": "a", "subject_id": subjects, "member": member, "score": score}))
    assert over_folds(runs).iloc[0]["higher"] >= 18
    assert over_folds(runs).iloc[0]["p"] < 0.01
    without = [run.assign(score=own + rng.normal(0, 0.01, 20)) for run in runs]
    assert over_folds(without).iloc[0]["p"] > 0.01
    assert over_folds(runs[:1]).iloc[0]["subjects"] == 0
