"""A picture of what each candidate made of the same masks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.planes import key_plane
from lesionforge.cohort.scan import load_scan
from lesionforge.cohort.sheet import WINDOW_PERCENTILES, pick_evenly

INCHES = 1.7


def candidate_grid(real: Cohort, drawn: Mapping[str, Cohort], *, recommended: str, rows: int) -> Figure:
    """Return a figure with a row per mask: the mask, what each candidate drew, the real image.

    All images of a row have the window of the real one; volumes show the slice with most lesion.

    Args:
        real: the cases whose masks were drawn.
        drawn: name → cases drawn from them.
        recommended: the candidate that is marked.
        rows: at most so many masks, evenly chosen.
    """
    cases = pick_evenly(real, rows)
    columns = ["mask", *drawn, "real"]
    figure = Figure(figsize=(INCHES * len(columns), INCHES * len(cases) + 0.3), layout="constrained")
    grid = figure.subplots(len(cases), len(columns), squeeze=False)
    of_source = {name: {case.source_case: case for case in cohort} for name, cohort in drawn.items()}
    for panels, case in zip(grid, cases, strict=True):
        scan = load_scan(case, real.channels[:1])
        assert scan.label is not None
        plane = key_plane(scan)
        low, high = np.percentile(scan.image[0], WINDOW_PERCENTILES)
        images = [load_scan(made[case.case_id], real.channels[:1]).image[0] for made in of_source.values()]
        _show(panels[0], plane.cut(scan.label), plane.aspect, 0, max(real.labels.values()))
        for panel, image in zip(panels[1:], [*images, scan.image[0]], strict=True):
            _show(panel, plane.cut(image), plane.aspect, low, max(high, low + 1e-6))
        panels[0].set_title(case.case_id, fontsize=6, loc="left")
    for panel, name in zip(grid[0], columns, strict=True):
        mark = " (recommended)" if name == recommended else ""
        panel.set_title(f"{name}{mark}", fontsize=8)
    return figure


def _show(panel: Axes, image: np.ndarray, aspect: float, low: float, high: float) -> None:
    panel.imshow(image, cmap="gray", vmin=low, vmax=high, aspect=aspect, interpolation="nearest")
    panel.set_axis_off()
