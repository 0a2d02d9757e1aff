"""The difference between two arms as a mean over the sizes of the training set."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lesionforge.scores.statistics.arm_statistics import Metric, paired_differences, seed_differences, trainings
from lesionforge.scores.statistics.intervals import Estimate, MeanOverSubjects
from lesionforge.scores.statistics.resampling import N_RESAMPLES
from lesionforge.scores.statistics.set_statistics import SetStatistics


def difference_over_sizes(
    results: pd.DataFrame, metric: Metric, *, arm: str, other: str, seed: int = 0, n_resamples: int = N_RESAMPLES
) -> Estimate:
    """Return the mean over sizes of the difference ``arm − other``; every size has the same weight.

    Differences are paired by seed and case, and averaged over the sizes before anything else. A subject's value in a
    seed counts if it is known at every size.

    Args:
        results: rows of both arms, see :func:`~lesionforge.scores.statistics.arm_statistics.compare_arms`.
        metric: the score; one of a set of cases as its :class:`~lesionforge.scores.score.Score`.
        arm: name of the arm.
        other: name of the arm that it is compared with.
        seed: seed of the bootstrap over subjects, for a score of a set.
        n_resamples: number of bootstrap samples, for a score of a set.
    """
    both = results[results["arm"].isin((arm, other))]
    if not isinstance(metric, str) and metric.level == "set":
        values = both.assign(training=trainings(both))
        arms = SetStatistics(values, metric, baseline=other, seed=seed, n_resamples=n_resamples)
        sizes = sorted(both["train_size"].unique())
        signs = {arm: 1 / len(sizes), other: -1 / len(sizes)}
        return arms.combined({(name, size): sign for size in sizes for name, sign in signs.items()})
    pairs = paired_differences(both, metric if isinstance(metric, str) else metric.name, baseline=other)
    keys = ["subject_id", "training", "seed"]
    means = pairs.pivot(index=keys, columns="train_size", values="difference").dropna().mean(axis=1)
    table = means.groupby(["subject_id", "training"]).mean().unstack("training")
    return MeanOverSubjects(table.to_numpy(np.float64))


def seed_differences_over_sizes(results: pd.DataFrame, metric: Metric, *, arm: str, other: str) -> pd.Series[float]:
    """Return the mean over sizes of the difference ``arm − other`` in each seed that has both arms at every size."""
    both = results[results["arm"].isin((arm, other))]
    differences = seed_differences(both, metric, baseline=other).loc[[arm]]
    return differences.unstack("train_size").droplevel("arm").dropna().mean(axis=1)
