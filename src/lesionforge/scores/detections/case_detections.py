"""Scores of the detections of one case, and of a folder of detections."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.scan import Scan, load_scan
from lesionforge.errors import CohortError
from lesionforge.scores.detections.detection_file import read_detections
from lesionforge.scores.detections.detection_scores import DETECTION_SCORES, Detected
from lesionforge.scores.detections.froc import row_of
from lesionforge.scores.detections.hits import TOLERANCE_MM, find_hits
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
    assert scan.label is not None
    places, confidences = read_detections(prediction, scan)
    hits = find_hits(places, confidences, scan.label > 0, scan.spacing, tolerance_mm=tolerance_mm)
    case = Detected(hits=hits, n_detections=len(places))
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
    if not predictions.is_dir():
        raise CohortError(predictions, "there is no such folder", "name the folder that holds the detections")
    cases = cohort.annotated() if readers is None else readers.cases(cohort)
    if not len(cases):
        raise CohortError(cohort.name, "no case is annotated", "scores need cases whose lesions are known")
    rows: list[dict[str, str | float]] = []
    for case in cases:
        row: dict[str, str | float] = {"case_id": case.case_id, "subject_id": case.subject_id}
        try:
            scan = load_scan(case, [next(iter(case.images))])
            scan = scan if readers is None else readers.agreed(scan)
            file = predictions / f"{case.case_id}.csv"
            if not file.is_file():
                raise CohortError(file, "there are no detections of this case", "detect them")
            row |= {**score_detections(file, scan, tolerance_mm=tolerance_mm), "problem": ""}
        except CohortError as error:
            row["problem"] = str(error)
        rows.append(row)
    table = pd.DataFrame(rows)
    return table[[*(name for name in table.columns if name != "problem"), "problem"]]
