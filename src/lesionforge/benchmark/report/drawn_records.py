"""The provenance records of the cases that a benchmark drew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lesionforge.benchmark.arms.repeats import Arms, Repeat
from lesionforge.reading import read_json


def drawn_records(studies: Sequence[Arms]) -> dict[str, dict[str, Any]]:
    """Return synthesizer → case, with its training, → provenance record; only synthesizers with offline cases.

    Args:
        studies: the study that was run, or those of all folds.
    """
    found = {}
    for name in studies[0].plan.synthesizers:
        folders = {
            _of_fold(study, repeat): repeat.cohort_folder(name) / "provenance"
            for study in studies
            for repeat in study.repeats
        }
        records = {
            f"{file.stem} ({training})": read_json(file)
            for training, folder in folders.items()
            for file in sorted(folder.glob("*.json"))
        }
        if records:
            found[name] = records
    return found


def _of_fold(study: Arms, repeat: Repeat) -> str:
    fold = study.plan.subjects.fold
    return str(repeat) if fold is None else f"fold {fold}, {repeat}"
