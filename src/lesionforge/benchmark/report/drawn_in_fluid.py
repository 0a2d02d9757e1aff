"""The row of a report on how much of the drawn lesions lies in fluid."""

from __future__ import annotations

from collections.abc import Sequence

from lesionforge.benchmark.arms.repeats import Arms
from lesionforge.benchmark.report.drawn_records import drawn_records
from lesionforge.production.in_fluid import describe_records


def describe_drawn_in_fluid(studies: Sequence[Arms]) -> dict[str, str]:
    """Return row name → text: for each synthesizer with offline cases, the share of new lesion voxels in fluid.

    Args:
        studies: the study that was run, or those of all folds.
    """
    parts = [f"{name}: {describe_records(records)}" for name, records in drawn_records(studies).items()]
    return {"Lesions in fluid": "; ".join(parts)} if parts else {}
