"""Statistics of arms for a score that exists only for a set of cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

    @classmethod
    def sum_of(cls, parts: Sequence[tuple[float, _Training]]) -> _Training:
        """Return the sum of training runs, each with its weight."""
        return cls(
            value=sum(weight * part.value for weight, part in parts),
            replicates=np.sum([weight * part.replicates for weight, part in parts], axis=0),
            subjects=frozenset.intersection(*(part.subjects for _, part in parts)),
        )


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
        self._of_cases: dict[tuple[str, float, int], frozenset[str]] = {}
        self._trainings: dict[tuple[str, float, int, frozenset[str] | None], _Training] = {}
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

    def combined(self, weights: Mapping[tuple[str, float], float]) -> Resampled:
        """Return a weighted sum of the scores of several arms, over the seeds and cases that all of them have.

        Args:
            weights: (arm, train_size) → weight; at least one.
        """
        first, *others = [self._seeds(*key) for key in weights]
        sums = {}
        for seed in set(first).intersection(*others):
            cases = frozenset.intersection(*(self._cases(*key, seed) for key in weights))
            sums[seed] = _Training.sum_of([(weight, self._of(*key, seed, cases)) for key, weight in weights.items()])
        return self._together(*next(iter(weights)), dict(sorted(sums.items())))

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
                cases = frozenset.intersection(*(self._cases(name, train_size, seed) for name in arms))
                ours, theirs = (self._of(name, train_size, seed, cases) for name in arms)
                found[seed] = _Training.sum_of([(1.0, ours), (-1.0, theirs)])
        return found

    def _cases(self, arm: str, train_size: float, seed: int) -> frozenset[str]:
        if (arm, train_size, seed) not in self._of_cases:
            self._of_cases[arm, train_size, seed] = frozenset(self.rows[arm, train_size, seed]["case_id"])
        return self._of_cases[arm, train_size, seed]

    def _of(self, arm: str, train_size: float, seed: int, cases: frozenset[str] | None = None) -> _Training:
        """Return a training run evaluated on all its cases, or on the given ones."""
        only = None if cases is None or cases >= self._cases(arm, train_size, seed) else cases
        if (arm, train_size, seed, only) not in self._trainings:
            rows = self.rows[arm, train_size, seed]
            self._trainings[arm, train_size, seed, only] = self._training(
                rows if only is None else rows[rows["case_id"].isin(only)]
            )
        return self._trainings[arm, train_size, seed, only]

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
