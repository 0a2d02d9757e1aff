import numpy as np
import pytest

from lesionforge.audit.calibration import Calibration, false_alarms


def real_pairs(n, rng):
    """Return similarities of real cases in three comparisons, of different level, spread and shape."""
    z = np.stack([2 + 0.1 * rng.standard_normal(n), 1 + rng.exponential(0.3, n), 0.2 * rng.standard_normal(n)], 1)
    return np.tanh(z)


def names(n):
    return [f"p{number:03d}" for number in range(n)]


def fit(n, seed, rate=0.05):
    rng = np.random.default_rng(seed)
    return Calibration.fit(real_pairs(n, rng), names(n), false_alarms=rate), rng


@pytest.mark.parametrize("n", [40, 100])
def test_real_cases_are_called_copies_no_more_often_than_wanted_over_all_comparisons(n):
    shares = []
    for seed in range(60):
        calibration, rng = fit(n, seed)
        shares.append(calibration.flagged(real_pairs(200, rng)).any(1).mean())
    assert 0.01 < np.mean(shares) < 0.06


def test_each_held_out_case_judged_by_the_others_raises_as_many_false_alarms():
    shares = [false_alarms(real_pairs(40, np.random.default_rng(s)), names(40), rate=0.05) for s in range(12)]
    assert 0.01 < np.mean(shares) < 0.09


def test_so_few_subjects_that_the_rate_cannot_be_assured_assure_another():
    calibration, _ = fit(8, 0)
    assert calibration.rate == pytest.approx(1 / 9)
    assert calibration.subjects == 8
    assert fit(19, 0)[0].rate == 0.05
    assert fit(18, 0)[0].rate == pytest.approx(1 / 19)


def test_cases_of_one_subject_count_once():
    rng = np.random.default_rng(0)
    calibration = Calibration.fit(real_pairs(40, rng), [f"p{n // 4}" for n in range(40)], false_alarms=0.05)
    assert calibration.subjects == 10
    assert calibration.rate == pytest.approx(1 / 11)


def test_a_copy_is_flagged_and_a_missing_view_is_not():
    calibration, _ = fit(40, 0)
    similarity = np.array([[0.9999999, 0.0, 0.0], [np.nan, np.nan, 0.0], [0.0, 0.9999, np.nan]])
    assert calibration.flagged(similarity).any(1).tolist() == [True, False, True]


def test_a_threshold_is_the_similarity_at_which_a_case_is_called_a_copy():
    calibration, _ = fit(40, 0)
    assert not calibration.flagged(calibration.thresholds[None] - 1e-6).any()
    assert calibration.flagged(calibration.thresholds[None] + 1e-6).all()
