"""The rows of a report on scores of a set that have no value in some bootstrap samples."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lesionforge.scores.registry import find_score, scores_in
from lesionforge.scores.statistics.resampling import Resampling

RESAMPLES = 500


def describe_reached(results: pd.DataFrame) -> dict[str, str]:
    """Return row name → text: the share of the bootstrap samples of subjects in which a score has a value, by arm.

    A curve need not reach the sensitivity at which false positives are counted. Means and intervals are of the
    trainings and samples in which it does, so they favour arms that seldom do; a reader needs this share beside them.
    A score that always or never has a value has no row.

    Args:
        results: a row per arm × train_size × seed × case.
    """
    found = {}
    for score in map(find_score, scores_in(results)):
        if score.level != "set" or score.weighted is None:
            continue
        shares: dict[str, list[float]] = {}
        for (arm, _, _), rows in results.groupby(["arm", "train_size", "seed"], sort=False):
            samples = Resampling(rows["subject_id"].tolist(), n_resamples=RESAMPLES)
            shares.setdefault(str(arm), []).append(float(np.isfinite(samples.replicates(score, rows)).mean()))
        means = {arm: float(np.mean(of_arm)) for arm, of_arm in shares.items()}
        if max(means.values()) > 0 and min(means.values()) < 1:
            parts = "; ".join(f"{arm}: {share:.0%}" for arm, share in means.items())
            found[score.title] = f"share of the bootstrap samples that have a value: {parts}"
    return found
