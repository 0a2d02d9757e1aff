"""The row of a report on how much of the drawn lesions lies in fluid."""

from __future__ import annotations

from lesionforge.benchmark.arms.repeats import Arms
from lesionforge.benchmark.report.drawn_records import drawn_records
from lesionforge.production.in_fluid import describe_records


def describe_drawn_in_fluid(study: Arms) -> dict[str, str]:
    """Return row name → text: for each synthesizer with offline cases, the share of new lesion voxels in fluid.

    Args:
        study: the study that was run.
    """
    parts = [f"{name}: {describe_records(records)}" for name, records in drawn_records(study).items()]
    return {"Lesions in fluid": "; ".join(parts)} if parts else {}
