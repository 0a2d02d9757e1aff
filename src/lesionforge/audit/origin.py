"""What is real in a synthetic case: voxels of a patient's scan, the mask, and what the generator was shown.

Ids come from the cases' records. The share of own voxels is counted in the files, since a record cannot say it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lesionforge.cohort.case import Annotation, Case, Cohort
from lesionforge.cohort.inspection.measure import foreground
from lesionforge.cohort.people import People
from lesionforge.cohort.scan import load_scan
from lesionforge.errors import CohortError, ConfigError
from lesionforge.reading import read_json
from lesionforge.synthesizers.registry import SYNTHESIZERS

SETTINGS, DRAWN, FULL = "synthesis.json", "drawn", "full"
CONDITIONS = {
    "label": "a label map: the mask and, where there is one, the anatomy of the scan",
    "scan": "the scan itself, its lesion smoothed away",
    "inpaint": "the scan around the lesion",
}
ANATOMY_MAP, SCAN, COPY = "anatomy map", "scan", "transformed copy"
MOSTLY = 0.5
"""A case with a larger share of a patient's own voxels shows that patient's scan."""


def what_is_real(synthetic: Cohort, real: Cohort) -> pd.DataFrame:
    """Return what each synthetic case holds of real cases.

    Args:
        synthetic: the synthetic cases.
        real: all real cases at hand.

    Returns:
        A row per case: ``case_id``, ``scan_of`` (the case it was drawn into, or empty), ``own_voxels`` (share of the
        head's voxels that equal that scan's, over all channels; NaN if the scan is not at hand or has another grid),
        ``mask_of`` (subjects of its mask, or empty), ``shown`` (what the generator was shown, or empty), ``follows``
        (what of the subject a whole image is made from: ``"anatomy map"``, ``"scan"``, ``"transformed copy"`` if it is
        the scan itself with its own lesions, or empty), ``blend`` and ``parents`` (their number).
    """
    known, people = {case.case_id: case for case in real}, People(real)
    settings = {folder: _settings(folder) for folder in {_folder(case) for case in synthetic}}
    rows = []
    for case in synthetic:
        made = settings[_folder(case)]
        mask = case.source_case if _copies_scans(made) and case.annotation is Annotation.LESION else case.mask_id
        rows.append(
            {
                "case_id": case.case_id,
                "scan_of": case.source_case,
                "own_voxels": own_voxels(case, known),
                "mask_of": " ".join(sorted(people.behind(mask))) if mask else "",
                "shown": CONDITIONS.get(_condition(made), ""),
                "follows": _followed(made) if case.source_case else "",
                "blend": str(made.get("blend", "")),
                "parents": len(case.parents),
            }
        )
    return pd.DataFrame(rows)


def own_voxels(case: Case, known: Mapping[str, Case]) -> float:
    """Return the share of voxels within the head that equal those of the scan that a case was drawn into.

    A case that was drawn from an edited label names the edited case; then the scan is the only one of its subject.

    Args:
        case: a synthetic case.
        known: case id → real case.

    Returns:
        0 to 1, over all channels; NaN if the scan is not known, cannot be read, or has another grid.
    """
    source = known.get(case.source_case)
    of_subject = [other for other in known.values() if other.subject_id == case.subject_id]
    if source is None and len(of_subject) == 1:
        (source,) = of_subject
    if source is None:
        return float("nan")
    channels = [name for name in case.images if name in source.images]
    try:
        drawn, scan = load_scan(case, channels), load_scan(source, channels)
    except CohortError:
        return float("nan")
    if drawn.image.shape != scan.image.shape:
        return float("nan")
    head = foreground(scan.image[0])
    return float(np.mean(drawn.image[:, head] == scan.image[:, head]))


def whole_images(cohort: Cohort) -> frozenset[str]:
    """Return the ids of the cases whose images are whole new ones, in which no lesion of a scan is at its old place."""
    settings = {folder: _settings(folder) for folder in {_folder(case) for case in cohort}}
    whole = {folder for folder, made in settings.items() if made.get("blend") == FULL or _copies_scans(made)}
    return frozenset(case.case_id for case in cohort if _folder(case) in whole)


def _copies_scans(settings: Mapping[str, Any]) -> bool:
    """Return whether cases are transformed copies of scans; a method that is not installed is taken for another."""
    model = settings.get("model")
    try:
        return isinstance(model, dict) and SYNTHESIZERS[str(model.get("method"))].copies_scan
    except ConfigError:
        return False


def _folder(case: Case) -> Path:
    return next(iter(case.images.values())).parents[1]


def _settings(folder: Path) -> dict[str, Any]:
    """Return the settings with which the cases of a folder, or those that it chose from, were drawn."""
    path = next((path for path in (folder / SETTINGS, folder / DRAWN / SETTINGS) if path.is_file()), None)
    content = {} if path is None else read_json(path)
    return content if isinstance(content, dict) else {}


def _followed(settings: Mapping[str, Any]) -> str:
    """Return what of its subject a whole image is made from; empty for a mask alone, and for a part of a scan."""
    if _copies_scans(settings):
        return COPY
    if settings.get("blend") != FULL:
        return ""
    condition = _condition(settings)
    if condition == "label":
        return ANATOMY_MAP if settings["model"].get("anatomy") else ""
    return SCAN if condition else ""


def _condition(settings: Mapping[str, Any]) -> str:
    model = settings.get("model")
    config = model.get("config") if isinstance(model, dict) else None
    return str(config.get("condition", "")) if isinstance(config, dict) else ""
