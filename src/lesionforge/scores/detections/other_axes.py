"""Whether detections are given in LPS, the axes of ITK and DICOM, in place of RAS+."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.scan import Scan, load_scan
from lesionforge.errors import CohortError
from lesionforge.scores.detections.case_detections import score_detections

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
LIKELY, TIMES = 0.5, 2.0
"""Detections look like LPS if as such they hit at least this share of the lesions, and this many times as many."""


def looks_like_lps(predictions: Path, cohort: Cohort) -> tuple[float, float] | None:
    """Return the shares of lesions that detections hit as they are, and as LPS, if they look like LPS; else ``None``.

    Args:
        predictions: folder with ``CASE.csv``.
        cohort: cohort with the true labels.
    """
    shares = []
    for case in cohort.with_lesions():
        file = predictions / f"{case.case_id}.csv"
        try:
            scan = load_scan(case, [next(iter(case.images))])
            given = _found(file, scan)
            shares.append((given, _found(file, replace(scan, affine=LPS @ scan.affine))))
        except CohortError:
            continue
    given, turned = np.nanmean(shares, axis=0) if shares else (0.0, 0.0)
    return (float(given), float(turned)) if turned >= max(LIKELY, TIMES * given) else None


def _found(file: Path, scan: Scan) -> float:
    """Return the share of a scan's lesions that any detection hits."""
    return float(score_detections(file, scan)["candidate_sensitivity"])
