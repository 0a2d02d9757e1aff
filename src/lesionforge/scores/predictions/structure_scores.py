"""Scores of anatomy maps, structure by structure."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.structures import structures_as_lesions
from lesionforge.scores.predictions.case_scores import evaluate


def evaluate_structures(predictions: Path, cohort: Cohort, folder: Path) -> pd.DataFrame:
    """Score a folder of anatomy maps against those of a cohort.

    Args:
        predictions: folder with ``CASE.nii.gz``, ``CASE.nii`` or ``CASE.png`` for every case with an anatomy map, such
            as ``anatomyTr`` of another cohort.
        cohort: the cases.
        folder: the cohort folder, whose ``anatomy.json`` names the structures.

    Returns:
        A row per case: ``case_id``, ``subject_id``, the Dice ``dice_STRUCTURE`` of each structure, 0 to 1, and
        ``problem``, which is empty if the case was scored.

    Raises:
        CohortError: if there is no such folder, or the cohort has no anatomy maps whose structures have names.
    """
    mapped = structures_as_lesions(cohort, folder)
    table = evaluate(predictions, mapped, scores=["dice"])
    names = [name for name, value in mapped.labels.items() if value]
    if len(names) == 1:
        return table.rename(columns={"dice": f"dice_{names[0]}"})
    return table.drop(columns="dice", errors="ignore")


def structure_average(table: pd.DataFrame) -> pd.Series:
    """Return structure → its mean Dice over cases, 0 to 1."""
    means = table.filter(regex="^dice_").mean()
    return means.rename(index=lambda name: str(name).removeprefix("dice_"))
