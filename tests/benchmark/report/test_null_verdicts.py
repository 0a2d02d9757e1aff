"""Verdicts on equal arms: whole reports of simulated benchmarks in which nothing was gained."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from lesionforge.benchmark.report.verdict import MIN_SUBJECTS, Outcome, comparisons, difference_of, outcome
from lesionforge.scores.statistics.arm_statistics import compare_arms
from tests.scores.statistics.test_intervals import at_most

COUNT, NOISE = 150, 0.1


def equal_arms(rng, n_subjects, n_seeds):
    """Return the results of a baseline and two arms that differ by noise of subjects and of trainings alone.

    A single seed cannot tell of the noise of trainings, so it has none.
    """
    spread = NOISE / np.sqrt(n_subjects) if n_seeds > 1 else 0.0
    rows = []
    for arm, seed in product(("real", "one", "other"), range(n_seeds)):
        dice = np.clip(0.6 + spread * rng.normal() + rng.normal(0, NOISE, n_subjects), 0, 1)
        ids = [f"s{number}" for number in range(n_subjects)]
        rows.append(
            pd.DataFrame({"arm": arm, "train_size": 1.0, "seed": seed, "case_id": ids, "subject_id": ids, "dice": dice})
        )
    return pd.concat(rows)


def claims(results):
    summary = compare_arms(results, baseline="real", metric="dice")
    rows = comparisons(summary, baseline="real", metric="dice")
    kinds = {outcome(difference_of(row), "dice", undertrained=False) for _, row in rows.iterrows()}
    return bool(kinds & {Outcome.GAIN, Outcome.LOSS})


@pytest.mark.slow
@pytest.mark.parametrize(("n_subjects", "n_seeds"), list(product((5, 6, 12), (1, 2, 3))))
def test_of_equal_arms_few_verdicts_claim_a_difference(n_subjects, n_seeds):
    rng = np.random.default_rng([n_subjects, n_seeds])
    share = np.mean([claims(equal_arms(rng, n_subjects, n_seeds)) for _ in range(COUNT)])
    assert share <= at_most(0.05, COUNT)
    if n_subjects < MIN_SUBJECTS:
        assert share == 0


def test_a_difference_is_claimed_where_there_is_one():
    results = equal_arms(np.random.default_rng(0), 12, 1)
    results.loc[results["arm"] == "one", "dice"] += 0.3
    assert claims(results)
    assert not claims(results[results["subject_id"].isin([f"s{number}" for number in range(MIN_SUBJECTS - 1)])])
