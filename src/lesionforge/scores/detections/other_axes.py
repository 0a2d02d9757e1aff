"""Whether detections are given in LPS, the axes of ITK and DICOM, in place of RAS+."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.scan import load_scan
from lesionforge.errors import CohortError
from lesionforge.scores.detections.case_detections import score_detections

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
LIKELY, TIMES = 0.5, 2.0
"""Detections look like LPS if as such they hit at least this share of the lesions, and this many times as many."""


def looks_like_lps(predictions: Path, cohort: Cohort, given: float) -> float | None:
    """Return the share of lesions that detections hit as LPS, if they look like LPS; else ``None``.

    No scan is read where so many lesions are hit that the detections cannot look like it.

    Args:
        predictions: folder with ``CASE.csv``.
        cohort: cohort with the true labels.
        given: mean share of a case's lesions that the detections hit as they are, 0 to 1.
    """
    cases = cohort.with_lesions()
    if not len(cases) or not given * TIMES <= 1:
        return None
    turned = float(np.mean([_found_as_lps(predictions / f"{case.case_id}.csv", case) for case in cases]))
    return turned if turned >= max(LIKELY, TIMES * given) else None


def _found_as_lps(file: Path, case: Case) -> float:
    """Return the share of a case's lesions that any detection hits as LPS; 0 if one then lies outside the scan."""
    try:
        scan = load_scan(case, [next(iter(case.images))])
        return float(score_detections(file, replace(scan, affine=LPS @ scan.affine))["candidate_sensitivity"])
    except CohortError:
        return 0.0
