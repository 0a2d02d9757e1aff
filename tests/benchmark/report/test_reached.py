"""The report says in how many bootstrap samples a score of a set has a value."""

import pandas as pd

from lesionforge.benchmark.report.reached import describe_reached


def rows(arm, hits):
    """Return rows of four patients with two lesions each, of which the first ``hits`` patients have both hit."""
    return pd.DataFrame(
        {
            "arm": arm,
            "train_size": 1.0,
            "seed": 0,
            "subject_id": [f"s{n}" for n in range(4)],
            "case_id": [f"s{n}" for n in range(4)],
            "n_lesions": 2,
            "hit_confidences": ["0.9 0.8" if n < hits else "" for n in range(4)],
            "false_confidences": "0.5",
        }
    )


def test_the_share_of_samples_that_reach_the_sensitivity_is_told_by_arm():
    """With one of four patients missed, a sample reaches 90 % if it leaves this patient out: (3/4)⁴ = 32 %."""
    told = describe_reached(pd.concat([rows("all", 4), rows("most", 3), rows("few", 0)]))
    assert set(told) == {"False positives at 90 % sensitivity"}
    (text,) = told.values()
    assert "all: 100%" in text
    assert "few: 0%" in text
    assert 25 <= int(text.split("most: ")[1].split("%")[0]) <= 39


def test_a_score_that_all_samples_have_or_none_has_no_row():
    assert describe_reached(rows("all", 4)) == {}
    assert describe_reached(rows("none", 0)) == {}
