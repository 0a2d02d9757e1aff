"""A picture of the cases that are most like a training case, beside that case."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.inspection.contact_sheet import WINDOW_PERCENTILES, caption, draw_contours
from lesionforge.cohort.inspection.planes import key_plane
from lesionforge.cohort.scan import load_scan

INCHES, PAIRS_ACROSS = 1.7, 3


def copy_sheet(copies: pd.DataFrame, synthetic: Cohort, training: Cohort, *, shown: int) -> Figure:
    """Return a figure of synthetic cases, each beside its nearest training case.

    The cases that no record explains come first, those with the largest excess above all; each case is shown once.

    Args:
        copies: see :func:`~lesionforge.audit.copies.find_copies`.
        synthetic: the synthetic cases.
        training: the training cases.
        shown: greatest number of pairs.
    """
    rows = copies.assign(explained=copies["known"] != "").sort_values(
        ["explained", "excess"], ascending=[True, False], kind="stable"
    )
    rows = rows.drop_duplicates("case_id").head(shown)
    across = min(PAIRS_ACROSS, len(rows))
    down = -(-len(rows) // across)
    figure = Figure(figsize=(2 * INCHES * across, 1.35 * INCHES * down + 0.2), layout="constrained")
    grid = figure.subplots(down, 2 * across, squeeze=False)
    for panel in grid.flat:
        panel.set_axis_off()
    for number, row in enumerate(rows.to_dict("records")):
        line, place = divmod(number, across)
        pair = grid[line, 2 * place : 2 * place + 2]
        for panel, case in zip(pair, (synthetic[row["case_id"]], training[row["nearest"]]), strict=True):
            _show(panel, case, synthetic.channels[0])
        pair[0].set_title(f"{caption(synthetic[row['case_id']])}\n{_said(row)}", fontsize=5, loc="left")
        pair[1].set_title(f"{caption(training[row['nearest']])}\nits nearest training case", fontsize=5, loc="left")
    return figure


def _said(row: Mapping[Hashable, Any]) -> str:
    called = "copy" if row["copy"] else "no copy"
    return f"{row['view']}, {row['measure']} {row['similarity']:.3f}: {called}"


def _show(panel: Axes, case: Case, channel: str) -> None:
    scan = load_scan(case, [channel])
    plane = key_plane(scan)
    low, high = np.percentile(scan.image[0], WINDOW_PERCENTILES)
    shown = {"vmin": low, "vmax": max(high, low + 1e-6), "aspect": plane.aspect, "interpolation": "nearest"}
    panel.imshow(plane.cut(scan.image[0]), cmap="gray", **shown)
    if scan.label is not None:
        draw_contours(panel, (plane.cut(scan.label) > 0).astype(np.int16), plane.aspect)
