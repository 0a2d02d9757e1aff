"""Copies: synthetic cases that are closer to a training case than held-out real scans are."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lesionforge.audit import origin
from lesionforge.audit.calibration import Calibration
from lesionforge.audit.comparisons import CORRELATION, Neighbours, Sets
from lesionforge.audit.correlation import Nearest
from lesionforge.audit.views import WHOLE, CohortViews
from lesionforge.cohort.case import Case
from lesionforge.cohort.people import People, voxel_hash

NEAR = 5.0
"""Excess of a near duplicate. For normal values it is more than six standard deviations above the median."""
SCAN, OUTLINE = "drawn into this scan", "same outline: drawn at this subject's mask"
COPY = "a transformed copy of this subject's scan"
FOLLOWED = {
    origin.ANATOMY_MAP: "drawn from this subject's anatomy map",
    origin.SCAN: "drawn from this subject's scan",
    origin.COPY: COPY,
}
WITHIN, TRAINING, CONTROL = "within the synthetic set", "synthetic and training", "synthetic and held-out"
SPLIT = "training and held-out"


def find_copies(
    sets: Sets, neighbours: Sequence[Neighbours], calibration: Calibration, real: pd.DataFrame
) -> pd.DataFrame:
    """Return each synthetic case with its nearest training case, in every comparison.

    Args:
        sets: the cohorts.
        neighbours: of each comparison.
        calibration: the threshold.
        real: what is real in the cases, see :func:`~lesionforge.audit.origin.what_is_real`.

    Returns:
        A row per case and comparison with the case's view: ``case_id, subject_id, view, measure, similarity, nearest``
        (training case), ``nearest_subject, held_out`` (similarity to the nearest held-out case), ``threshold, excess,
        copy`` (whether it is called a copy) and ``known`` (why the record explains the likeness, or empty).
    """
    of_cases = real.set_index("case_id").to_dict("index")
    people = People([*sets.training.cohort, *sets.control.cohort])
    excess = calibration.excess(np.stack([near.synthetic_to_training.similarity for near in neighbours], 1))
    rows = []
    for number, near in enumerate(neighbours):
        found, comparison = near.synthetic_to_training, near.comparison
        for row in np.flatnonzero(found.index >= 0):
            case, nearest = sets.synthetic.cohort.cases[row], sets.training.cohort.cases[found.index[row]]
            rows.append(
                {
                    "case_id": case.case_id,
                    "subject_id": case.subject_id,
                    "view": comparison.view,
                    "measure": comparison.measure,
                    "similarity": found.similarity[row],
                    "nearest": nearest.case_id,
                    "nearest_subject": nearest.subject_id,
                    "held_out": near.synthetic_to_control.similarity[row],
                    "threshold": calibration.thresholds[number],
                    "excess": excess[row, number],
                    "copy": bool(excess[row, number] > calibration.limit),
                    "known": _known(case, nearest, comparison.view, of_cases[case.case_id], people),
                }
            )
    return pd.DataFrame(rows)


def _known(case: Case, nearest: Case, view: str, real: Mapping[Hashable, Any], people: People) -> str:
    """Return why the record of a case explains that it is like a training case; empty if it does not.

    Args:
        case: the synthetic case.
        nearest: the training case.
        view: what of them is alike.
        real: what is real in the case.
        people: the subjects at hand.
    """
    if real["follows"] == origin.COPY:
        return COPY if nearest.subject_id == case.subject_id else ""
    if view != WHOLE:
        return OUTLINE if case.mask_id and nearest.subject_id in people.behind(case.mask_id) else ""
    if nearest.case_id == case.source_case and real["own_voxels"] > origin.MOSTLY:
        return SCAN
    return FOLLOWED.get(real["follows"], "") if nearest.subject_id == case.subject_id else ""


def find_duplicates(sets: Sets, neighbours: Sequence[Neighbours], calibration: Calibration) -> pd.DataFrame:
    """Return pairs of cases with the same or nearly the same image.

    Exact duplicates have an image in common, voxel by voxel. Near duplicates are whole images whose correlation, over
    small shifts and flips, is beyond the median of held-out scans by five times their usual spread.

    Returns:
        A row per pair: ``where`` (the sets it is from), ``kind`` (exact or near), ``case_id, other, similarity`` and
        ``known`` (why the records explain it, or empty).
    """
    rows = _exact_duplicates(sets)
    exact = {frozenset((row["case_id"], row["other"])) for row in rows}
    limits = np.tanh(calibration.centre + NEAR * calibration.spread)
    for limit, near in zip(limits, neighbours, strict=True):
        if (near.comparison.view, near.comparison.measure) == (WHOLE, CORRELATION):
            pairs = _near(near.within_synthetic, sets.synthetic, sets.synthetic, WITHIN, float(limit))
            pairs += _near(near.control_to_training, sets.control, sets.training, SPLIT, float(limit))
            rows += [row for row in pairs if frozenset((row["case_id"], row["other"])) not in exact]
    return pd.DataFrame(rows, columns=["where", "kind", "case_id", "other", "similarity", "known"])


def _exact_duplicates(sets: Sets) -> list[dict[str, object]]:
    """Return pairs with a common image: each case with the first earlier one that has it."""
    rows: list[dict[str, object]] = []
    seen: dict[str, tuple[str, Case]] = {}
    parts = {"training": sets.training, "held-out": sets.control, "synthetic": sets.synthetic}
    places = {"training": TRAINING, "held-out": CONTROL, "synthetic": WITHIN}
    for name, part in parts.items():
        for case in part.cohort:
            for value in sorted({voxel_hash(path) for path in case.images.values()} - {""}):
                other_part, other = seen.setdefault(value, (name, case))
                if other is case or name != "synthetic":
                    continue
                known = SCAN if other.case_id == case.source_case or _same_scan(case, other) else ""
                where = {"where": places[other_part], "kind": "exact"}
                rows.append(
                    {**where, "case_id": case.case_id, "other": other.case_id, "similarity": 1.0, "known": known}
                )
    return rows


def _same_scan(case: Case, other: Case) -> bool:
    return bool(case.source_case and other.source_case) and case.subject_id == other.subject_id


def _near(
    found: Nearest, queries: CohortViews, among: CohortViews, where: str, limit: float
) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for row in np.flatnonzero(_above(found.similarity, limit)):
        case, other = queries.cohort.cases[row], among.cohort.cases[found.index[row]]
        facts = {"where": where, "kind": "near", "case_id": case.case_id, "other": other.case_id}
        known = SCAN if _same_scan(case, other) else ""
        rows.append({**facts, "similarity": float(found.similarity[row]), "known": known})
    return rows


def _above(similarity: NDArray[np.float64], limit: float) -> NDArray[np.bool_]:
    return np.nan_to_num(similarity, nan=-np.inf) > limit
