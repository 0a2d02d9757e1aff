"""Scores of the detections of one case, and of a folder of detections."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.scan import Scan, load_scan
from lesionforge.errors import CohortError
from lesionforge.scores.detections.detection_file import read_detections
from lesionforge.scores.detections.detection_scores import DETECTION_SCORES, Detected
from lesionforge.scores.detections.froc import row_of
from lesionforge.scores.detections.hits import TOLERANCE_MM, Hits, hits_by_tolerance
from lesionforge.scores.detections.readers import Readers


def score_detections(prediction: Path, scan: Scan, *, tolerance_mm: float = TOLERANCE_MM) -> dict[str, float | str]:
    """Return the scores of the detections of a case by name, and the columns that the FROC curve is made of.

    Args:
        prediction: CSV of :func:`~lesionforge.scores.detections.detection_file.write_detections`.
        scan: the case with its true label.
        tolerance_mm: greatest distance of a hit from a lesion.

    Raises:
        CohortError: if the CSV cannot be read, or its detections lie outside the scan.
    """
    return scores_by_tolerance(prediction, scan, [tolerance_mm])[tolerance_mm]


def scores_by_tolerance(
    prediction: Path, scan: Scan, tolerances_mm: Sequence[float]
) -> dict[float, dict[str, float | str]]:
    """Return tolerance → the scores of the detections of a case with it; see :func:`score_detections`."""
    assert scan.label is not None
    places, confidences = read_detections(prediction, scan)
    by_tolerance = hits_by_tolerance(places, confidences, scan.label > 0, scan.spacing, tolerances_mm)
    return {mm: _scores_of(hits, len(places)) for mm, hits in by_tolerance.items()}


def _scores_of(hits: Hits, n_detections: int) -> dict[str, float | str]:
    case = Detected(hits=hits, n_detections=n_detections)
    of_case = {name: score(case) for name, score in DETECTION_SCORES.items() if score.level == "case"}
    return {**of_case, **row_of(hits)}


def evaluate_detections(
    predictions: Path, cohort: Cohort, *, tolerance_mm: float = TOLERANCE_MM, readers: Readers | None = None
) -> pd.DataFrame:
    """Score a folder of detections against the annotations of a cohort.

    Args:
        predictions: folder with ``CASE.csv`` for every annotated case.
        cohort: cohort with the true labels; cases with unknown annotation are left out, unless a reader annotated them.
        tolerance_mm: greatest distance of a hit from a lesion.
        readers: annotations of several readers, which replace the labels of the cohort.

    Returns:
        A row per annotated case: ``case_id``, ``subject_id``, the scores, what the FROC curve is made of, and
        ``problem``, which is empty if the case was scored, or else a one-line reason.

    Raises:
        CohortError: if the folder is missing or the cohort has no annotated case.
    """
    return evaluate_by_tolerance(predictions, cohort, [tolerance_mm], readers=readers)[tolerance_mm]


def evaluate_by_tolerance(
    predictions: Path, cohort: Cohort, tolerances_mm: Sequence[float], *, readers: Readers | None = None
) -> dict[float, pd.DataFrame]:
    """Return tolerance → the table of :func:`evaluate_detections` with it; every scan is read once."""
    if not predictions.is_dir():
        raise CohortError(predictions, "there is no such folder", "name the folder that holds the detections")
    cases = cohort.annotated() if readers is None else readers.cases(cohort)
    if not len(cases):
        raise CohortError(cohort.name, "no case is annotated", "scores need cases whose lesions are known")
    rows: dict[float, list[dict[str, str | float]]] = {mm: [] for mm in tolerances_mm}
    for case in cases:
        named: dict[str, str | float] = {"case_id": case.case_id, "subject_id": case.subject_id}
        try:
            scan = load_scan(case, [next(iter(case.images))])
            scan = scan if readers is None else readers.agreed(scan)
            file = predictions / f"{case.case_id}.csv"
            if not file.is_file():
                raise CohortError(file, "there are no detections of this case", "detect them")
            for mm, scores in scores_by_tolerance(file, scan, tolerances_mm).items():
                rows[mm].append({**named, **scores, "problem": ""})
        except CohortError as error:
            for of_tolerance in rows.values():
                of_tolerance.append({**named, "problem": str(error)})
    return {mm: _with_problem_last(pd.DataFrame(of_tolerance)) for mm, of_tolerance in rows.items()}


def _with_problem_last(table: pd.DataFrame) -> pd.DataFrame:
    return table[[*(name for name in table.columns if name != "problem"), "problem"]]
