"""The share of new lesion voxels that lie in fluid, such as the ventricles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lesionforge.cohort.case import Case
from lesionforge.cohort.scan import BoolArray
from lesionforge.reading import read_json

IN_FLUID = "in_fluid"
"""The entry of a provenance record, 0 to 1."""


def share_in_fluid(new: BoolArray, fluid: BoolArray | None) -> dict[str, float]:
    """Return the entry of a provenance record; empty if there is no new lesion or the scan shows no fluid.

    Args:
        new: ``(x, y[, z])`` voxels of new lesions.
        fluid: ``(x, y[, z])`` fluid of the target scan, see
            :func:`~lesionforge.preprocessing.brain.region.fluid_of`.
    """
    if fluid is None or not new.any():
        return {}
    return {IN_FLUID: round(float(np.mean(fluid[new])), 4)}


def describe_in_fluid(folder: Path, cases: Iterable[Case]) -> str:
    """Return a line about the new lesions of a drawn cohort, from the provenance records in its folder."""
    return describe_records({case.case_id: read_json(folder / "provenance" / f"{case.case_id}.json") for case in cases})


def describe_records(records: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the line of :func:`describe_in_fluid`.

    Args:
        records: the name of each case → its provenance record.
    """
    shares = {case_id: float(record[IN_FLUID]) for case_id, record in records.items() if IN_FLUID in record}
    if not shares:
        return "share of new lesion voxels in fluid: not known, as no target scan tells fluid from tissue"
    worst = max(shares, key=lambda case_id: shares[case_id])
    which = (
        f"{len(shares)} cases" if len(shares) == len(records) else f"{len(shares)} of {len(records)} cases that show it"
    )
    if not shares[worst]:
        return f"no new lesion voxel lies in fluid ({which})"
    mean = np.mean(list(shares.values()))
    return f"{mean:.1%} of new lesion voxels lie in fluid (mean of {which}; greatest: {worst}, {shares[worst]:.1%})"
