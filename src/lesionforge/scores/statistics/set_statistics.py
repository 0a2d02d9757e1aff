"""Statistics of arms for a score that exists only for a set of cases."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lesionforge.scores.score import Score
from lesionforge.scores.statistics.intervals import Interval
from lesionforge.scores.statistics.resampling import N_RESAMPLES, Resampled, Resampling, Values

OfSet = Score[pd.DataFrame]


def per_group(results: pd.DataFrame, score: OfSet, keys: list[str]) -> pd.Series[float]:
    """Return the score of each group of rows, in the order of the results, without undefined scores."""
    values = {key: score(rows) for key, rows in results.groupby(keys, sort=False)}
    index = pd.MultiIndex.from_tuples(values, names=keys)
    return pd.Series(list(values.values()), index=index, name=score.name, dtype=float).dropna()


@dataclass(frozen=True)
class _Training:
    """Score of one training run, its bootstrap replicates, and the subjects that have a score of their own."""

    value: float
    replicates: Values
    subjects: frozenset[str]

    def minus(self, other: _Training, *, times: float = 1.0) -> _Training:
        value, replicates = self.value - times * other.value, self.replicates - times * other.replicates
        return _Training(value=value, replicates=replicates, subjects=self.subjects & other.subjects)


class SetStatistics:
    """Means and paired differences of arms, all from the same bootstrap samples of subjects.

    Args:
        results: a row per arm × train_size × seed × case, or several rows per case, with ``training`` and the columns
            that the score needs.
        score: a score of a set.
        baseline: arm that the others are compared with.
        seed: seed of the bootstrap.
        n_resamples: number of bootstrap samples; 0 if no intervals are needed.
    """

    def __init__(
        self, results: pd.DataFrame, score: OfSet, *, baseline: str, seed: int = 0, n_resamples: int = N_RESAMPLES
    ) -> None:
        self.score, self.baseline = score, baseline
        self.rows: dict[Any, pd.DataFrame] = dict(list(results.groupby(["arm", "train_size", "seed"], sort=False)))
        self.resampling = Resampling(results["subject_id"].tolist(), seed=seed, n_resamples=n_resamples)
        self._whole: dict[tuple[object, ...], _Training] = {}
        self._of_pairs: dict[tuple[str, float], dict[int, _Training]] = {}

    def mean(self, arm: str, train_size: float) -> Interval:
        """Return the mean of an arm over its training runs, with its interval.

        The score's own function computes it, if the score has one.
        """
        seeds = self._seeds(arm, train_size)
        if self.score.interval is not None:
            return self.score.interval(pd.concat([self.rows[arm, train_size, seed] for seed in seeds]))
        return self._together(arm, train_size, {seed: self._of(arm, train_size, seed) for seed in seeds}).interval()

    def difference(self, arm: str, train_size: float) -> Resampled:
        """Return arm minus baseline, over the seeds and cases that both have.

        For the baseline itself, the estimate is empty.
        """
        return self._together(arm, train_size, self._differences(arm, train_size))

    def difference_less(self, arm: str, other: str, share: float, train_size: float) -> Resampled:
        """Return the difference of an arm from the baseline, less a share of that of another arm.

        It is over the seeds that all three have.
        """
        ours, theirs = self._differences(arm, train_size), self._differences(other, train_size)
        left = {seed: found.minus(theirs[seed], times=share) for seed, found in ours.items() if seed in theirs}
        return self._together(arm, train_size, left)

    def seed_differences(self, arm: str, train_size: float) -> pd.Series[float]:
        """Return arm minus baseline for each seed that both have."""
        return pd.Series({seed: found.value for seed, found in self._differences(arm, train_size).items()}, dtype=float)

    def _seeds(self, arm: str, train_size: float) -> list[int]:
        return sorted(key[2] for key in self.rows if key[:2] == (arm, train_size))

    def _differences(self, arm: str, train_size: float) -> dict[int, _Training]:
        if (arm, train_size) not in self._of_pairs:
            self._of_pairs[arm, train_size] = self._make_differences(arm, train_size)
        return self._of_pairs[arm, train_size]

    def _make_differences(self, arm: str, train_size: float) -> dict[int, _Training]:
        found = {}
        others = self._seeds(self.baseline, train_size) if arm != self.baseline else []
        for seed in self._seeds(arm, train_size):
            if seed in others:
                arms = (arm, self.baseline)
                cases = frozenset.intersection(*(frozenset(self.rows[a, train_size, seed]["case_id"]) for a in arms))
                ours, theirs = (self._of(name, train_size, seed, cases) for name in arms)
                found[seed] = ours.minus(theirs)
        return found

    def _of(self, arm: str, train_size: float, seed: int, cases: Collection[str] | None = None) -> _Training:
        """Return a training run evaluated on all its cases, or on the given ones."""
        rows = self.rows[arm, train_size, seed]
        if cases is not None and not (there := rows["case_id"].isin(cases)).all():
            return self._training(rows[there])
        if (arm, train_size, seed) not in self._whole:
            self._whole[arm, train_size, seed] = self._training(rows)
        return self._whole[arm, train_size, seed]

    def _training(self, rows: pd.DataFrame) -> _Training:
        table = rows[["subject_id", *self.score.made_of]]
        own = per_group(table, self.score, ["subject_id"])
        return _Training(
            value=self.score(table),
            replicates=self.resampling.replicates(self.score, table),
            subjects=frozenset(own.index.get_level_values("subject_id")),
        )

    def _together(self, arm: str, train_size: float, seeds: Mapping[int, _Training]) -> Resampled:
        """Return the mean over training repetitions, each of which is the mean over its seeds."""
        groups: dict[int, list[_Training]] = {}
        for seed, found in seeds.items():
            if not np.isnan(found.value):
                groups.setdefault(int(self.rows[arm, train_size, seed]["training"].iloc[0]), []).append(found)
        if not groups:
            return Resampled(mean=np.nan, replicates=np.array([]), of_trainings=0.0, n=0, k=0)
        values = np.array([np.mean([found.value for found in group]) for group in groups.values()])
        replicates = np.stack([np.mean([found.replicates for found in group], axis=0) for group in groups.values()])
        subjects = frozenset.union(*(found.subjects for group in groups.values() for found in group))
        return Resampled.of(values, replicates, n=len(subjects))
