"""The row of a report on what the synthesizers change outside the masks."""

from __future__ import annotations

from collections.abc import Sequence

from lesionforge.benchmark.arms.repeats import Arms
from lesionforge.benchmark.report.drawn_records import drawn_records
from lesionforge.production.network_changes import CHANGED_OUTSIDE, mean_change


def describe_changed_outside(studies: Sequence[Arms]) -> dict[str, str]:
    """Return row name → text: for each synthesizer that draws whole images offline, its change before blending.

    Args:
        studies: the study that was run, or those of all folds.
    """
    parts = []
    for name, records in drawn_records(studies).items():
        said = {case: record for case, record in records.items() if CHANGED_OUTSIDE in record}
        mean = mean_change(said.values())
        if mean is not None:
            worst = max(said, key=lambda case: said[case][CHANGED_OUTSIDE])
            of = f"mean of {len(said)} cases; greatest: {worst}, {said[worst][CHANGED_OUTSIDE]:.2%}"
            parts.append(f"{name}: {mean:.2%} of the intensity range before blending ({of})")
    return {"Change outside the masks": "; ".join(parts)} if parts else {}
