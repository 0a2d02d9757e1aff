"""The row of a report on how much of the drawn lesions lies in fluid."""

from __future__ import annotations

from lesionforge.benchmark.arms.repeats import Arms
from lesionforge.production.in_fluid import describe_records
from lesionforge.reading import read_json


def describe_drawn_in_fluid(study: Arms) -> dict[str, str]:
    """Return row name → text: for each synthesizer with offline cases, the share of new lesion voxels in fluid.

    Args:
        study: the study that was run.
    """
    parts = []
    for name in study.plan.synthesizers:
        folders = {str(repeat): repeat.cohort_folder(name) / "provenance" for repeat in study.repeats}
        records = {
            f"{file.stem} ({repeat})": read_json(file)
            for repeat, folder in folders.items()
            for file in sorted(folder.glob("*.json"))
        }
        if records:
            parts.append(f"{name}: {describe_records(records)}")
    return {"Lesions in fluid": "; ".join(parts)} if parts else {}
