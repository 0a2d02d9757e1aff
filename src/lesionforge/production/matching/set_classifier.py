"""A classifier that tries to tell from which of two sets a scan comes, by level and tissue intensities."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

from lesionforge.cohort.inspection.measure import FOREGROUND_LEVEL, foreground
from lesionforge.cohort.scan import BoolArray, FloatArray, Scan

BINS, CLIPPED = 32, 0.95
FOLDS, REPEATS, TREES = 5, 3, 200


def tissue(image: FloatArray, head: BoolArray, lesion: BoolArray | None = None) -> BoolArray:
    """Return the tissue of the head: no air, no lesion, and no voxels near the greatest intensity of the file.

    In a brain window the brightest voxels are bone, and how softly they are clipped does not depend on the scanner.

    Args:
        image: ``(x, y[, z])`` a channel.
        head: the head with its holes filled.
        lesion: voxels to leave out, if any.
    """
    low, high = np.percentile(image, (0.5, 99.5))
    inside = head & (image > low + FOREGROUND_LEVEL * (high - low)) & (image < CLIPPED * image.max())
    return inside if lesion is None else inside & ~lesion


def tissue_histogram(scan: Scan) -> NDArray[np.float64]:
    """Return the square roots of the shares of tissue in bins of intensity, concatenated over the channels.

    Bins are equally wide between 0 and the 99.5th percentile of the channel.
    """
    head = foreground(scan.image[0])
    lesion = None if scan.label is None else scan.label > 0
    found = []
    for channel in scan.image:
        values = channel[tissue(channel, head, lesion)]
        high = max(float(np.percentile(channel, 99.5)), 1e-6)
        counts, _ = np.histogram(np.clip(values, 0, high), BINS, (0, high))
        found.append(np.sqrt(counts / max(values.size, 1)))
    return np.concatenate(found)


def set_auc(features: ArrayLike, is_reference: Sequence[bool], groups: Sequence[str], *, seed: int = 0) -> float:
    """Return the area under the ROC curve of a random forest on people that it was not trained on; 0.5 is chance.

    Args:
        features: ``(scan, feature)``.
        is_reference: whether a scan comes from the reference set.
        groups: scans of one group are in the same fold. Matched subjects must share a group: if only one of them is
            held out, the others lack scans like it, and the result falls below 0.5.
        seed: seed of the trees and the folds.

    Returns:
        the mean over three divisions into five folds; NaN if a set has fewer than five groups.
    """
    table, truth, names = np.asarray(features, np.float64), np.asarray(is_reference), np.asarray(groups)
    if min(len(set(names[truth])), len(set(names[~truth]))) < FOLDS:
        return nan
    found = []
    for repeat in range(REPEATS):
        folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed + repeat)
        scores = np.zeros(len(truth))
        for fitted, judged in folds.split(table, truth, names):
            trees = RandomForestClassifier(
                TREES, min_samples_leaf=3, class_weight="balanced", random_state=seed + repeat
            )
            scores[judged] = trees.fit(table[fitted], truth[fitted]).predict_proba(table[judged])[:, 1]
        found.append(roc_auc_score(truth, scores))
    return float(np.mean(found))
