"""Membership by subject: can a score tell the subjects of the training set from held-out subjects?

The black-box attack sees the synthetic cases alone. Its score of a subject is the similarity of its scans to the
nearest synthetic case (Hayes et al. 2019; Chen et al. 2020, "GAN-Leaks").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from lesionforge.audit.audit_config import AuditConfig
from lesionforge.audit.calibration import Values
from lesionforge.audit.comparisons import Neighbours, Sets
from lesionforge.cohort.case import Cohort
from lesionforge.errors import CohortError
from lesionforge.scores.statistics.arm_statistics import holm
from lesionforge.scores.statistics.resampling import Resampled, Resampling
from lesionforge.seeding import generator
from lesionforge.training.model_folder import ModelInfo

OTHERS = "made from other subjects"
COLUMNS = ("attack", "subject_id", "member", "score")
Attacks = pd.DataFrame
"""Scores of subjects: ``attack, subject_id, member, score``; a higher score speaks for a member."""


def members_of(training: Cohort, synthetic: Cohort, model: ModelInfo | None = None) -> frozenset[str]:
    """Return the training subjects that a generator was fitted on.

    They are those of the model if it is given, else the parents of the synthetic cases, else all.

    Raises:
        CohortError: if there are none.
    """
    parents = frozenset[str]().union(*(case.parents for case in synthetic)) or frozenset(training.subjects)
    members = frozenset(training.subjects) & (parents if model is None else frozenset(model.training_subjects))
    if not members:
        what = "has no subject that the generator was fitted on, as the model or the synthetic cases name them"
        raise CohortError(training.name, what, "name the cohort that it was fitted on")
    return members


def black_box(sets: Sets, neighbours: Sequence[Neighbours], members: frozenset[str]) -> Attacks:
    """Return each subject's mean similarity to the nearest synthetic case, in every comparison.

    Each comparison gives two attacks: with all synthetic cases, and without those whose scan or mask is the subject's
    own, which are like it even if the generator remembers nothing.
    """
    tables = []
    for near in neighbours:
        held_out = near.control_to_synthetic
        for name, found in (("", near.training_to_synthetic), (f", {OTHERS}", near.training_to_others)):
            attack = f"nearest synthetic case: {near.comparison.name}{name}"
            tables.append(_table(attack, sets, found.similarity, held_out.similarity, members))
    return pd.concat(tables, ignore_index=True)


def without_generator(sets: Sets, neighbours: Sequence[Neighbours], members: frozenset[str]) -> Attacks:
    """Return the same scores with other subjects' training scans in place of the synthetic cases.

    No generator takes part. If these scores tell members from held-out subjects, the two groups differ in some other
    way, such as the scanner, and so may the scores of :func:`black_box`.
    """
    found = [(near.comparison.name, near.within_training, near.control_to_training) for near in neighbours]
    tables = [_table(name, sets, own.similarity, held_out.similarity, members) for name, own, held_out in found]
    return pd.concat(tables, ignore_index=True)


def _table(name: str, sets: Sets, of_training: Values, held_out: Values, members: frozenset[str]) -> Attacks:
    parts = ((sets.training, of_training, True), (sets.control, held_out, False))
    rows = [
        (name, subject, member, score)
        for part, scores, member in parts
        for subject, score in mean_by_subject(part.subjects, scores).items()
        if not member or subject in members
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def mean_by_subject(subjects: Sequence[str] | np.ndarray, scores: Values) -> dict[str, float]:
    """Return the mean score of each subject with at least one; NaN is left out."""
    means = pd.Series(scores).groupby(np.asarray(subjects)).mean().dropna()
    return {str(subject): float(value) for subject, value in means.items()}


@dataclass(frozen=True)
class AreaUnderCurve:
    """The area under the ROC curve: the probability that a member has the higher score, ties counted half."""

    def __call__(self, rows: Attacks) -> float:
        """Return the area for the rows of one attack."""
        return float(self.weighted(rows, np.ones((1, len(rows))))[0])

    def weighted(self, rows: Attacks, weights: Values) -> Values:
        """Return the area in samples that hold each row ``weights`` ``(sample, row)`` times; NaN without a group."""
        member, score = rows["member"].to_numpy(bool), rows["score"].to_numpy(float)
        difference = score[member][:, None] - score[~member]
        wins = (difference > 0) + 0.5 * (difference == 0)
        of_members, of_others = weights[:, member], weights[:, ~member]
        pairs = of_members.sum(1) * of_others.sum(1)
        won = ((of_members @ wins) * of_others).sum(1)
        return np.where(pairs > 0, won / np.maximum(pairs, 1), np.nan)


@dataclass(frozen=True)
class TruePositiveRate:
    """The share of members above the score that at most a share ``rate`` of held-out subjects exceeds."""

    rate: float

    def __call__(self, rows: Attacks) -> float:
        """Return the rate for the rows of one attack."""
        return float(self.weighted(rows, np.ones((1, len(rows))))[0])

    def weighted(self, rows: Attacks, weights: Values) -> Values:
        """Return the rate in samples that hold each row ``weights`` ``(sample, row)`` times; NaN without a group."""
        member, score = rows["member"].to_numpy(bool), rows["score"].to_numpy(float)
        held_out = np.sort(score[~member])[::-1]
        of_others = weights[:, ~member][:, np.argsort(-score[~member], kind="stable")]
        above = of_others.cumsum(1) > self.rate * of_others.sum(1, keepdims=True) + 1e-9
        limit = held_out[above.argmax(1)] if len(held_out) else np.full(len(weights), np.nan)
        of_members = weights[:, member]
        found = (of_members * (score[member] > limit[:, None])).sum(1)
        there = (of_members.sum(1) > 0) & (of_others.sum(1) > 0)
        return np.where(there, found / np.maximum(of_members.sum(1), 1), np.nan)


def smallest_rate(held_out: int) -> float:
    """Return the smallest false-positive rate above 0 that so many held-out subjects can show."""
    return 1 / held_out


def membership(attacks: Attacks, config: AuditConfig, *, seed: int) -> pd.DataFrame:
    """Return how well each attack tells members from held-out subjects.

    Args:
        attacks: scores of subjects.
        config: rates and number of halves.
        seed: seed of the bootstrap and of the halves.

    Returns:
        A row per attack: ``attack, members, held_out`` (numbers of subjects), ``auc, auc_low, auc_high`` (95 % interval
        by a bootstrap over subjects), ``p`` (one-sided Mann–Whitney test, Holm-corrected over the attacks),
        ``halves_low, halves_high`` (what chance can do: 95 % of the areas between random halves of the members; their
        mean is 0.5 whatever the scores), and a row per rate in ``tpr_RATE, tpr_RATE_low, tpr_RATE_high``, NaN if the
        held-out subjects cannot resolve it.
    """
    rows = [_judged(str(name), part, config, seed) for name, part in attacks.groupby("attack", sort=False)]
    table = pd.DataFrame(rows)
    if len(table):
        table["p"] = holm(table["p"].tolist())
    return table


def _judged(name: str, rows: Attacks, config: AuditConfig, seed: int) -> dict[str, object]:
    rows = rows.reset_index(drop=True)
    member = rows["member"].to_numpy(bool)
    inside, outside = rows["score"][member].to_numpy(float), rows["score"][~member].to_numpy(float)
    found: dict[str, object] = {"attack": name, "members": len(inside), "held_out": len(outside)}
    found |= _named("auc", interval_of(AreaUnderCurve(), rows, seed=seed))
    found["p"] = _p_value(inside, outside)
    found["halves_low"], found["halves_high"] = _halves(inside, config.halves, seed)
    for rate in config.rates:
        known = len(outside) and rate >= smallest_rate(len(outside))
        three = interval_of(TruePositiveRate(rate), rows, seed=seed) if known else (np.nan,) * 3
        found |= _named(f"tpr_{rate:g}", three)
    return found


def _named(name: str, three: tuple[float, float, float]) -> Mapping[str, object]:
    return dict(zip((name, f"{name}_low", f"{name}_high"), three, strict=True))


def interval_of(score: AreaUnderCurve | TruePositiveRate, rows: Attacks, *, seed: int) -> tuple[float, float, float]:
    """Return a score of an attack with its 95 % interval over subjects; NaN if a group has no subject.

    Args:
        score: the score.
        rows: the rows of one attack.
        seed: seed of the bootstrap.
    """
    value = score(rows)
    fewest = int(min(rows["member"].sum(), (~rows["member"].astype(bool)).sum()))
    if np.isnan(value):
        return np.nan, np.nan, np.nan
    replicates = Resampling(rows["subject_id"].tolist(), seed=seed).weighted(score.weighted, rows)
    low, high = Resampled.of(np.array([value]), replicates[None], n=fewest).limits()
    return value, max(low, 0.0), min(high, 1.0)


def _p_value(inside: Values, outside: Values) -> float:
    if not len(inside) or not len(outside):
        return float("nan")
    return float(stats.mannwhitneyu(inside, outside, alternative="greater").pvalue)


def _halves(scores: Values, count: int, seed: int) -> tuple[float, float]:
    """Return the 2.5th and 97.5th percentile of the area between random halves of the members; NaN for fewer than 4.

    Both halves are of one group, so the range shows what chance can do with so few subjects, and no bias of a split.
    """
    if len(scores) < 4:
        return np.nan, np.nan
    rng, half = generator(seed, "halves"), len(scores) // 2
    areas = []
    for _ in range(count):
        order = rng.permutation(scores)
        rows = pd.DataFrame({"member": np.arange(len(scores)) < half, "score": order})
        areas.append(AreaUnderCurve()(rows))
    low, high = np.quantile(areas, (0.025, 0.975))
    return float(low), float(high)


def over_folds(runs: Sequence[Attacks]) -> pd.DataFrame:
    """Return, for each attack, how often a subject's score is higher if the generator was fitted on it.

    The comparison is within subjects, so a difference between the groups cannot fake it. Scores are first brought to
    mean 0 and standard deviation 1 within each run.

    Args:
        runs: the scores of each generator, fitted on different folds of the same subjects.

    Returns:
        A row per attack: ``attack, subjects`` (with a score of either kind), ``higher`` (how many have a higher score
        as members) and ``p`` (sign test, one-sided, Holm-corrected over the attacks).
    """
    scaled = [run.assign(score=run.groupby("attack")["score"].transform(_standardised)) for run in runs]
    means = pd.concat(scaled).groupby(["attack", "subject_id", "member"], sort=False)["score"].mean().unstack("member")
    rows = []
    for name, table in means.reindex(columns=[True, False]).groupby("attack", sort=False):
        both = table.dropna()
        higher = int((both[True] > both[False]).sum())
        p = stats.binomtest(higher, len(both), alternative="greater").pvalue if len(both) else np.nan
        rows.append({"attack": str(name), "subjects": len(both), "higher": higher, "p": p})
    found = pd.DataFrame(rows)
    found["p"] = holm(found["p"].tolist())
    return found


def _standardised(scores: pd.Series[float]) -> pd.Series[float]:
    spread = scores.std(ddof=0)
    return (scores - scores.mean()) / (spread if spread > 0 else 1.0)
