"""Scores of one case and of a folder of predictions."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lesionforge.cohort.case import IMAGE_ENDINGS, Case, Cohort
from lesionforge.cohort.grid import same_grid
from lesionforge.cohort.scan import LabelArray, read_label, read_raw
from lesionforge.errors import CohortError
from lesionforge.scores.predictions.image_scores import NoiseFilter, image_detections
from lesionforge.scores.predictions.prediction import Prediction
from lesionforge.scores.predictions.prediction_scores import PREDICTION_SCORES


def score_case(
    prediction: LabelArray,
    truth: LabelArray,
    spacing: Sequence[float],
    labels: Mapping[str, int],
    *,
    in_plane: bool = False,
    scores: Collection[str] | None = None,
) -> dict[str, float]:
    """Return every score of :data:`~lesionforge.scores.predictions.prediction_scores.PREDICTION_SCORES` for one case.

    The scores are computed over all lesion classes together. If there are several classes, Dice, Dice per image and
    HD95 of each class are added as ``dice_<class>``, ``image_dice_<class>`` and ``hd95_<class>``; they are NaN in cases
    without that class. Names of sizes end in ``_ml`` in 3D and ``_mm2`` in 2D.

    Args:
        prediction: ``(x, y[, z])`` lesion classes.
        truth: ``(x, y[, z])`` lesion classes.
        spacing: mm along each axis.
        labels: class name → integer, including ``background`` = 0.
        in_plane: measure HD95 within slices, see :func:`lesionforge.scores.predictions.overlap.hd95`.
        scores: names of the scores to compute; all by default.

    Raises:
        CohortError: if the two maps differ in size.
    """
    if prediction.shape != truth.shape:
        raise CohortError(
            "prediction", f"has size {prediction.shape} but the truth has {truth.shape}", "predict on the scan's grid"
        )
    case = Prediction(found=prediction, truth=truth, spacing=spacing, in_plane=in_plane)
    values = {name: value for name, value in labels.items() if value > 0}
    classes = {name: case.of_class(value) for name, value in values.items()} if len(values) > 1 else {}
    asked = [s for s in PREDICTION_SCORES.values() if scores is None or s.name in scores]
    found: dict[str, float] = {}
    for level in ("case", "image"):
        of_level = [score for score in asked if score.level == level and truth.ndim in score.spatial_dims]
        found |= {score.name: score(case) for score in of_level}
        for lesion_class, part in classes.items():
            of_class = [score for score in of_level if score.per_class]
            found |= {f"{s.name}_{lesion_class}": s(part) if part.has_lesion else math.nan for s in of_class}
    return found


def evaluate(
    predictions: Path,
    cohort: Cohort,
    *,
    in_plane: bool = False,
    noise_filter: NoiseFilter | None = None,
    scores: Collection[str] | None = None,
) -> pd.DataFrame:
    """Score a folder of predicted label maps against the annotations of a cohort.

    Args:
        predictions: folder with ``CASE.nii.gz``, ``CASE.nii`` or ``CASE.png`` for every annotated case.
        cohort: cohort with the true labels; cases with unknown annotation are left out.
        in_plane: measure HD95 within slices.
        noise_filter: also count detections in images, see
            :func:`~lesionforge.scores.predictions.image_scores.image_detections`.
        scores: names of the scores to compute; all by default.

    Returns:
        A row per annotated case: ``case_id``, ``subject_id``, the scores, the counts, and ``problem``, which is empty
        if the case was scored, or else a one-line reason.

    Raises:
        CohortError: if the folder is missing or the cohort has no annotated case.

    Example:
        >>> from lesionforge.testing import tiny_cohort
        >>> cohort = tiny_cohort(Path("tiny"), spatial_dims=2)
        >>> table = evaluate(Path("tiny", "labelsTr"), cohort)
        >>> table["dice"].tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    if not predictions.is_dir():
        raise CohortError(predictions, "there is no such folder", "name the folder that holds the predictions")
    if not len(cohort.annotated()):
        raise CohortError(cohort.name, "no case is annotated", "scores need cases whose lesions are known")
    rows: list[dict[str, str | float]] = []
    for case in cohort.annotated():
        row: dict[str, str | float] = {"case_id": case.case_id, "subject_id": case.subject_id}
        try:
            maps = _read_maps(predictions, case, cohort.labels)
            row |= score_case(*maps, cohort.labels, in_plane=in_plane, scores=scores)
            if noise_filter is not None:
                row |= image_detections(*maps, cohort.labels, noise_filter)
            row["problem"] = ""
        except CohortError as error:
            row["problem"] = str(error)
        rows.append(row)
    table = pd.DataFrame(rows)
    return table[[*(name for name in table.columns if name != "problem"), "problem"]]


def _read_maps(predictions: Path, case: Case, labels: Mapping[str, int]) -> tuple[LabelArray, LabelArray, list[float]]:
    """Return the prediction, the truth and the voxel spacing of a case.

    Raises:
        CohortError: if the maps are on different grids or contain unknown classes.
    """
    path = prediction_file(predictions, case.case_id)
    prediction, affine = read_label(path)
    truth, truth_affine = _read_truth(case)
    if prediction.shape != truth.shape or not same_grid(truth.shape, affine, truth_affine):
        raise CohortError(path, f"is not on the grid of case {case.case_id}", "resample it to the scan")
    _check_classes(path, prediction, labels)
    _check_classes(case.label or case.case_id, truth, labels)
    return prediction, truth, np.linalg.norm(affine[:3, : truth.ndim], axis=0).tolist()


def prediction_file(folder: Path, case_id: str) -> Path:
    """Return the path of a case's prediction: ``CASE.nii.gz``, ``CASE.nii`` or ``CASE.png``.

    Raises:
        CohortError: if there is none.
    """
    path = map_of(folder, case_id)
    if path is None:
        raise CohortError(folder / f"{case_id}{IMAGE_ENDINGS[0]}", "there is no prediction of this case", "predict it")
    return path


def map_of(folder: Path, case_id: str) -> Path | None:
    """Return the path of a case's label map in a folder, or ``None`` if there is none."""
    paths = (folder / f"{case_id}{ending}" for ending in IMAGE_ENDINGS)
    return next((path for path in paths if path.is_file()), None)


def _read_truth(case: Case) -> tuple[LabelArray, NDArray[np.float64]]:
    if case.label is not None:
        return read_label(case.label)
    image, affine, _, _ = read_raw(next(iter(case.images.values())))
    return np.zeros(image.shape, np.int16), affine


def _check_classes(where: str | Path, label: LabelArray, labels: Mapping[str, int]) -> None:
    unknown = sorted(set(np.unique(label).tolist()) - set(labels.values()))
    if unknown:
        raise CohortError(where, f"holds classes {unknown} that the cohort does not name", "use those of dataset.json")
