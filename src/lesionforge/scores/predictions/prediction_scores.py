"""Scores of predictions. To add a score, write a function of a :class:`Prediction` and add a line to the dictionary."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from lesionforge.scores.predictions.image_scores import COUNTS, false_images, image_dice, precision_recall
from lesionforge.scores.predictions.overlap import hd95, physical_size, volume_difference
from lesionforge.scores.predictions.prediction import Prediction
from lesionforge.scores.score import Score, Scores, by_name

EMPTY_MASK_RULE = (
    "Dice: 1 where truth and prediction are both empty, 0 where one of them is. "
    "HD95: no value where one of them is or both are; reports count where nothing was found. "
    "Dice of cases with lesions, lesion sensitivity and lesion F1 have no value without a true lesion, those of "
    "a class none without that class, lesion precision none without a predicted lesion, and false alarms none with a "
    "true one."
)
HIT_RULE = (
    "Lesions are connected components (26 neighbours in 3D, 8 in 2D) of all lesion classes together. A true lesion is "
    "found if one voxel of it is predicted; a predicted lesion is false if none of its voxels is true (as in ATLAS and "
    "ISLES). F1 = 2·TP / (2·TP + FP + FN), where TP counts true lesions that are found."
)


def _hd95(case: Prediction) -> float:
    return hd95(case.predicted, case.true, case.spacing, in_plane=case.in_plane)


def _size_difference(case: Prediction) -> float:
    return volume_difference(case.predicted, case.true, case.spacing)


def _false_positive_size(case: Prediction) -> float:
    return math.nan if case.has_lesion else physical_size(case.predicted, case.spacing)


def _false_alarm(case: Prediction) -> float:
    return math.nan if case.has_lesion else float(case.predicted.any())


def _slice_false_alarms(case: Prediction) -> float:
    return false_images(case.predicted, case.true, case.spacing)


def _image_dice(case: Prediction) -> float:
    return image_dice(case.found, case.truth, case.spacing)


def _sizes(kind: str, unit: str, suffix: str, spatial_dims: int) -> list[Score[Prediction]]:
    """Return the scores of lesion size: volumes in 3D, areas in 2D."""

    def size(name: str, title: str, function: Callable[[Prediction], float], **reading: Any) -> Score[Prediction]:
        return Score(
            name=f"{name}_{suffix}",
            title=title,
            unit=unit,
            level="case",
            function=function,
            spatial_dims=(spatial_dims,),
            **reading,
        )

    return [
        size(
            f"{kind}_difference",
            f"{kind.capitalize()} difference",
            _size_difference,
            better="neither",
            range=(-math.inf, math.inf),
            description=f"predicted minus true lesion {kind}",
        ),
        size(
            f"absolute_{kind}_difference",
            f"Absolute {kind} difference",
            lambda case: abs(_size_difference(case)),
            better="lower",
            range=(0, math.inf),
            description=f"absolute value of the {kind} difference",
        ),
        size(
            "false_positive",
            f"False-positive {kind}",
            _false_positive_size,
            better="lower",
            of_cases="lesion_free",
            range=(0, math.inf),
            description=f"predicted lesion {kind} in lesion-free {'cases' if spatial_dims == 3 else 'slices'} only",
        ),
    ]


PREDICTION_SCORES: Scores = by_name(
    Score(
        name="dice",
        title="Dice",
        unit="points",
        better="higher",
        level="case",
        description="overlap 2·|P∩T| / (|P|+|T|), per case",
        function=lambda case: case.dice,
        per_class=True,
        without_lesion_free="lesion_dice",
    ),
    Score(
        name="lesion_dice",
        title="Dice of cases with lesions",
        unit="points",
        better="higher",
        level="case",
        of_cases="with_lesions",
        description="Dice without the lesion-free cases, in which one false voxel lowers Dice from 1 to 0",
        function=lambda case: case.dice if case.has_lesion else math.nan,
    ),
    Score(
        name="hd95",
        title="HD95",
        unit="mm",
        better="lower",
        level="case",
        range=(0, math.inf),
        description="the larger of the two directed 95th percentiles of the surface distances (MONAI), where truth and "
        "prediction both have a lesion",
        function=_hd95,
        per_class=True,
    ),
    Score(
        name="lesion_sensitivity",
        title="Lesion sensitivity",
        unit="points",
        better="higher",
        level="case",
        of_cases="with_lesions",
        description="share of true lesions that are found",
        function=lambda case: case.lesions.sensitivity,
    ),
    Score(
        name="lesion_precision",
        title="Lesion precision",
        unit="points",
        better="higher",
        level="case",
        description="share of predicted lesions that overlap a true one",
        function=lambda case: case.lesions.precision,
    ),
    Score(
        name="lesion_f1",
        title="Lesion F1",
        unit="points",
        better="higher",
        level="case",
        of_cases="with_lesions",
        description="2·TP / (2·TP + FP + FN) over lesions",
        function=lambda case: case.lesions.f1 if case.has_lesion else math.nan,
    ),
    Score(
        name="false_alarm",
        title="False-alarm rate",
        unit="points",
        better="lower",
        level="case",
        of_cases="lesion_free",
        description="share of the lesion-free cases in which a lesion is predicted",
        function=_false_alarm,
    ),
    Score(
        name="slice_false_alarm",
        title="False-alarm rate of slices",
        unit="points",
        better="lower",
        level="case",
        description="share of a volume's lesion-free slices in which a lesion is predicted",
        function=_slice_false_alarms,
        spatial_dims=(3,),
    ),
    *_sizes("volume", "ml", "ml", 3),
    *_sizes("area", "mm²", "mm2", 2),
    Score(
        name="image_dice",
        title="Dice per image",
        unit="points",
        better="higher",
        level="image",
        of_cases="with_lesions",
        description="Dice of all classes together, a wrong class is an error; mean over slices with a lesion",
        function=_image_dice,
        per_class=True,
    ),
    Score(
        name="image_precision",
        title="Precision over images",
        unit="points",
        better="higher",
        level="set",
        description="share of detections that are hits, over all images, after noise filtering",
        function=lambda rows: precision_recall(rows)[0],
        made_of=COUNTS,
    ),
    Score(
        name="image_recall",
        title="Recall over images",
        unit="points",
        better="higher",
        level="set",
        description="share of true lesion classes that are hit, over all images, after noise filtering",
        function=lambda rows: precision_recall(rows)[1],
        made_of=COUNTS,
    ),
)
"""Scores of a predicted label map, in the order of the columns of ``results.csv``. The last ones are computed over all
cases at once, from the counts of :func:`~lesionforge.scores.predictions.image_scores.image_detections`."""
