"""Does a drawn image show what its mask says? How well a segmentation network finds the lesion again."""

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
    """Return the FCN score of every case: the Dice of a segmentation network with the mask that the case was drawn for.

    Two sets of images may have one score and look very different: read it with sharpness and realism. A network that
    was trained on other subjects than the generator leaks what it knows of them into the choice of a generator.

    Source: the paper of the lesion-conditional GAN, whose network was an FCN-8s trained on all its data.

    Args:
        task: trained on real cases; computes where it lies.
        cohort: drawn cases, or real ones, which give the network's own Dice; those without a lesion are left out.

    Returns:
        a row per case: ``case_id, subject_id, fcn_score`` (0 to 1).

    Raises:
        ConfigError: if the network knows other channels or lesion classes than the cohort.
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
    """Return the mean Dice of the lesion classes that the mask holds; the background is no class.

    Args:
        found: ``(x, y[, z])`` classes.
        mask: likewise; with a lesion.
    """
    return float(np.mean([dice(found == value, mask == value) for value in np.unique(mask[mask > 0])]))


FCN_SCORE: Score[Prediction] = Score(
    name="fcn_score",
    title="FCN score",
    unit="points",
    better="higher",
    level="image",
    description="Dice of a segmentation network with the mask that was drawn, mean over its classes",
    function=lambda case: mask_dice(case.found, case.truth),
)
