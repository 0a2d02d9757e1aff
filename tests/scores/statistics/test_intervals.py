"""The intervals are judged by simulated benchmarks: of equal arms at most 5 % may be called different."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from lesionforge.scores.statistics.intervals import (
    MIN_SUBJECTS,
    components,
    detectable,
    limits,
    mean_interval,
    p_value,
    ratio_interval,
)

SHAPES = {
    "normal": lambda rng, size: rng.normal(size=size),
    "exponential": lambda rng, size: rng.exponential(size=size) - 1,
    "lognormal": lambda rng, size: np.exp(rng.normal(0, 0.5, size)) - np.exp(0.5**2 / 2),
    "ties": lambda rng, size: np.where(rng.random(size) < 0.6, 0, np.round(2 * rng.normal(size=size)) / 2),
}
"""Differences between equal arms, a value per subject: their mean is 0."""


def null_benchmarks(shape, n, k, *, count, training_noise, rest=0.5, seed=0):
    """``(benchmark, subject, seed)`` differences of equal arms.

    The noise of a training is common to all subjects; its spread is ``training_noise`` times the error of the mean by
    the choice of subjects. What one training does to one subject spreads ``rest`` times as much as the subjects do.
    """
    rng = np.random.default_rng([seed, n, k, list(SHAPES).index(shape)])
    subjects = SHAPES[shape](rng, (count, n, 1))
    spread = subjects.std()
    common = training_noise * spread / np.sqrt(n) * rng.normal(size=(count, 1, k))
    cells = rest * spread * rng.normal(size=(count, n, k)) if k > 1 and shape != "ties" else 0
    return subjects + common + cells


def called_different(differences):
    low, high = limits(components(differences))
    return float(((low > 0) | (high < 0)).mean())


def at_most(share, count):
    """The nominal share and three standard errors of a simulation."""
    return share + 3 * np.sqrt(share * (1 - share) / count)


class TestNullBenchmarks:
    @pytest.mark.parametrize(("shape", "n", "k"), [("normal", 6, 1), ("exponential", 10, 1), ("ties", 20, 3)])
    def test_equal_arms_are_rarely_called_different(self, shape, n, k):
        differences = null_benchmarks(shape, n, k, count=2000, training_noise=1.0 if k > 1 else 0)
        assert called_different(differences) <= at_most(0.05, 2000)

    @pytest.mark.slow
    @pytest.mark.parametrize("shape", SHAPES)
    def test_of_any_size_shape_and_number_of_seeds(self, shape):
        count, found = 20_000, {}
        for n, k, rest in product((5, 6, 8, 10, 15, 20, 40), (1, 2, 3, 5), (0.5, 2.0)):
            for noise in (0.0, 0.5, 1.0, 2.0, 5.0, 8.0) if k > 1 else (0.0,):
                null = null_benchmarks(shape, n, k, count=count, training_noise=noise * max(rest, 1), rest=rest)
                found[n, k, rest, noise] = called_different(null)
        below = 0.055  # with fewer than MIN_SUBJECTS, of which no verdict is made
        nominal = {key: below if key[0] < MIN_SUBJECTS else 0.05 for key in found}
        assert {key: share for key, share in found.items() if share > at_most(nominal[key], count)} == {}

    @pytest.mark.parametrize(("n", "k", "noise"), [(10, 2, 8.0), (40, 2, 8.0), (40, 3, 2.0)])
    def test_they_hold_where_every_training_does_its_own_to_every_subject(self, n, k, noise):
        """Without the residual's share of the variance between trainings, up to 12 % were called different."""
        null = null_benchmarks("normal", n, k, count=2000, training_noise=2 * noise, rest=2.0)
        assert called_different(null) <= at_most(0.05, 2000)

    def test_the_percentile_bootstrap_did_not_hold(self):
        """What this replaces, so that the simulation is seen to tell the difference."""
        differences = null_benchmarks("normal", 6, 1, count=1000, training_noise=0)[..., 0]
        draws = np.random.default_rng(0).multinomial(6, np.full(6, 1 / 6), size=1000)
        low, high = np.quantile(differences @ draws.T / 6, (0.025, 0.975), axis=1)
        assert ((low > 0) | (high < 0)).mean() > at_most(0.05, 1000) + 0.02

    def test_seeds_are_a_level_of_their_own(self):
        """Subjects alone would call equal arms different wherever trainings differ."""
        differences = null_benchmarks("normal", 20, 3, count=2000, training_noise=3.0)
        assert called_different(differences.mean(-1, keepdims=True)) > 0.2
        assert called_different(differences) <= at_most(0.05, 2000)


class TestIntervals:
    @pytest.mark.parametrize("n", [6, 12, 40])
    def test_normal_values_are_covered_about_as_often_as_it_says(self, n):
        low, high = limits(components(np.random.default_rng(n).normal(3, 1, (4000, n, 1))))
        assert 0.945 <= ((low <= 3) & (high >= 3)).mean() <= 0.975

    def test_symmetric_values_have_the_t_interval(self):
        values = np.array([-3.0, -2, -1, 1, 2, 3]) + 5
        expected = stats.ttest_1samp(values, 0).confidence_interval()
        interval = mean_interval(values)
        assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
        assert p_value(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue)

    def test_skewed_values_have_a_longer_tail_on_their_side(self):
        interval = mean_interval([0.0, 0, 0, 0, 0, 0, 1, 9])
        assert interval.high - interval.mean > 1.2 * (interval.mean - interval.low)
        mirrored = mean_interval([0.0, 0, 0, 0, 0, 0, -1, -9])
        assert (mirrored.low, mirrored.high) == pytest.approx((-interval.high, -interval.low))

    def test_p_is_below_5_percent_where_the_interval_excludes_0(self):
        rng = np.random.default_rng(0)
        for _ in range(200):
            values = rng.exponential(1, (9, 3)) - 0.5 + rng.normal(0, 0.2, 3)
            interval = mean_interval(values)
            assert (p_value(values) < 0.05) == (interval.low > 0 or interval.high < 0)

    def test_p_is_uniform_at_worst(self):
        rng = np.random.default_rng(0)
        p = np.array([p_value(rng.normal(size=8)) for _ in range(600)])
        for level in (0.01, 0.1, 0.5):
            assert (p <= level).mean() <= at_most(level, 600)

    def test_scales_and_shifts_with_the_values(self):
        values = np.random.default_rng(0).gamma(2, 1, (10, 3))
        interval, moved = mean_interval(values), mean_interval(5 - 2 * values)
        assert (moved.low, moved.high) == pytest.approx((5 - 2 * interval.high, 5 - 2 * interval.low))
        assert detectable(-3 * values) == pytest.approx(3 * detectable(values))

    def test_agrees_with_the_normal_interval_on_many_subjects(self):
        values = np.random.default_rng(0).normal(5, 2, 1000)
        interval, half_width = mean_interval(values), 1.96 * values.std(ddof=1) / np.sqrt(1000)
        assert interval.low == pytest.approx(values.mean() - half_width, abs=0.01)
        assert interval.high == pytest.approx(values.mean() + half_width, abs=0.01)

    def test_too_few_subjects_have_no_interval(self):
        assert np.isnan(mean_interval([]).mean)
        one = mean_interval([2.0])
        assert (one.mean, one.n) == (2, 1)
        assert np.isnan([one.low, one.high, p_value([2.0]), detectable([2.0])]).all()

    def test_equal_values_leave_no_doubt(self):
        assert mean_interval([0.5] * 6).low == mean_interval([0.5] * 6).high == 0.5
        assert p_value([0.5] * 6) < 1e-9
        assert p_value([0.0] * 6) == 1

    def test_missing_values_are_left_out(self):
        values = np.random.default_rng(0).normal(1, 1, (8, 3))
        holes = np.vstack([values, np.full((1, 3), np.nan)])
        assert mean_interval(holes) == mean_interval(values)
        holes[0, 0] = np.nan
        some = mean_interval(holes)
        assert some.n == 8
        assert some.mean == pytest.approx(np.nanmean(holes[:8], 1).mean())

    def test_the_ratio_of_means_is_covered_about_as_often_as_it_says(self):
        rng, inside = np.random.default_rng(0), 0
        for _ in range(500):
            below = rng.uniform(50, 150, 20)
            interval = ratio_interval(0.3 * below * rng.uniform(0.5, 1.5, 20), below)
            inside += interval.low <= 0.3 <= interval.high
        assert inside / 500 >= 1 - at_most(0.05, 500)


class TestPower:
    @pytest.mark.parametrize(("n", "k", "noise"), [(10, 1, 0), (20, 3, 0.5), (20, 5, 1.0)])
    def test_a_detectable_difference_is_found_four_times_in_five(self, n, k, noise):
        null = null_benchmarks("normal", n, k, count=1000, training_noise=noise)
        smallest = np.median([detectable(one) for one in null[:200]])
        assert 0.7 <= called_different(null + smallest) <= 0.92

    def test_more_comparisons_hide_more(self):
        values = np.random.default_rng(0).normal(size=12)
        assert detectable(values, comparisons=5) > 1.1 * detectable(values)
