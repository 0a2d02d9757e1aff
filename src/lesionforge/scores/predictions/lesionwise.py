"""Lesion-wise scores, which count lesions instead of voxels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lesionforge.cohort.scan import BoolArray


@dataclass(frozen=True, kw_only=True)
class LesionWise:
    """Counts of lesions, and the scores computed from them.

    Attributes:
        true: number of lesions in the truth.
        found: number of true lesions that share a voxel with the prediction.
        predicted: number of lesions in the prediction.
        correct: number of predicted lesions that share a voxel with the truth.
    """

    true: int
    found: int
    predicted: int
    correct: int

    @property
    def sensitivity(self) -> float:
        """Found over true lesions, 0 to 1; NaN if there is no true lesion."""
        return self.found / self.true if self.true else math.nan

    @property
    def precision(self) -> float:
        """Correct over predicted lesions, 0 to 1; NaN if there is no predicted lesion."""
        return self.correct / self.predicted if self.predicted else math.nan

    @property
    def f1(self) -> float:
        """2·TP / (2·TP + FP + FN) with TP = found lesions, as in ATLAS and ISLES; 1 if there are no lesions at all."""
        false_positive, missed = self.predicted - self.correct, self.true - self.found
        total = 2 * self.found + false_positive + missed
        return 2 * self.found / total if total else 1.0


def lesion_wise(prediction: BoolArray, truth: BoolArray) -> LesionWise:
    """Match the connected components of two ``(x, y[, z])`` masks; one shared voxel is a match.

    Voxels that touch by a face, an edge or a corner belong together: 26 neighbours in 3D, 8 in 2D.

    Example:
        >>> truth, prediction = np.zeros((8, 8), bool), np.zeros((8, 8), bool)
        >>> truth[1, 1] = truth[6, 6] = prediction[6, 6] = True
        >>> counts = lesion_wise(prediction, truth)
        >>> counts.true, counts.found, counts.predicted, counts.correct
        (2, 1, 1, 1)
    """
    structure = ndimage.generate_binary_structure(truth.ndim, truth.ndim)
    true_lesions, n_true = ndimage.label(truth, structure)
    predicted_lesions, n_predicted = ndimage.label(prediction, structure)
    shared = prediction & truth
    return LesionWise(
        true=n_true,
        found=np.unique(true_lesions[shared]).size,
        predicted=n_predicted,
        correct=np.unique(predicted_lesions[shared]).size,
    )
