"""FCN score: how well a segmentation network finds the lesion of a drawn image again."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.scan import LabelArray, load_scan
from lesionforge.errors import ConfigError
from lesionforge.scores.finds_lesions import FindsLesions
from lesionforge.scores.predictions.overlap import dice
from lesionforge.scores.predictions.prediction import Prediction
from lesionforge.scores.score import Score


def segmentability(task: FindsLesions, cohort: Cohort) -> pd.DataFrame:
    """Return the FCN score of every case: the Dice of a segmentation network's prediction with the mask of the case.

    Two sets of images can have the same score and look very different, so read it together with sharpness and realism.
    If the network was trained on other subjects than the generator, knowledge about these subjects leaks into the
    choice of a generator.

    Source: the paper of the lesion-conditional GAN, whose network was an FCN-8s trained on all its data.

    Args:
        task: network trained on real cases; runs on its own device.
        cohort: drawn cases; or real cases, which give the network's own Dice. Cases without a lesion are left out.

    Returns:
        A row per case: ``case_id, subject_id, fcn_score`` (0 to 1).

    Raises:
        ConfigError: if the network has other channels or lesion classes than the cohort.
        CohortError: if a case cannot be read.
    """
    channels = task.info.preprocessing.channels
    if not set(channels) <= set(cohort.channels) or task.info.labels != dict(cohort.labels):
        what = f"has other channels or lesion classes than the segmentation network ({', '.join(channels)})"
        raise ConfigError(cohort.name, what, "take a network that was trained on such cases")
    rows = []
    for case in cohort.having(channels).with_lesions():
        scan = load_scan(case, channels)
        assert scan.label is not None
        score = FCN_SCORE(Prediction(found=task.predict(scan), truth=scan.label, spacing=scan.spacing))
        rows.append({"case_id": case.case_id, "subject_id": case.subject_id, "fcn_score": score})
    return pd.DataFrame(rows, columns=["case_id", "subject_id", "fcn_score"])


def mask_dice(found: LabelArray, mask: LabelArray) -> float:
    """Return the mean Dice over the lesion classes in the mask, without the background.

    Args:
        found: predicted classes, ``(x, y[, z])``.
        mask: true classes, ``(x, y[, z])``, with at least one lesion.
    """
    return float(np.mean([dice(found == value, mask == value) for value in np.unique(mask[mask > 0])]))


FCN_SCORE: Score[Prediction] = Score(
    name="fcn_score",
    title="FCN score",
    unit="points",
    better="higher",
    level="image",
    description="Dice of a segmentation network's prediction with the drawn mask, mean over its classes",
    function=lambda case: mask_dice(case.found, case.truth),
)
