"""The provenance records of the cases that a study drew."""

from __future__ import annotations

from typing import Any

from lesionforge.benchmark.arms.repeats import Arms
from lesionforge.reading import read_json


def drawn_records(study: Arms) -> dict[str, dict[str, Any]]:
    """Return synthesizer → case, with its training, → provenance record; only synthesizers with offline cases.

    Args:
        study: the study that was run.
    """
    found = {}
    for name in study.plan.synthesizers:
        folders = {str(repeat): repeat.cohort_folder(name) / "provenance" for repeat in study.repeats}
        records = {
            f"{file.stem} ({repeat})": read_json(file)
            for repeat, folder in folders.items()
            for file in sorted(folder.glob("*.json"))
        }
        if records:
            found[name] = records
    return found
