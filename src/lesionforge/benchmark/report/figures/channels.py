"""How well the channels of drawn cases fit each other, beside real cases; see ``channel_fit``."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from lesionforge.benchmark.arms.finished import FinishedRun
from lesionforge.benchmark.report.channels import PLACES
from lesionforge.benchmark.report.figures.charts import Illustration, label_rows, rows_of_panels
from lesionforge.benchmark.report.figures.curves import REAL_COLOUR


def channel_fit(errors: pd.DataFrame, run: FinishedRun) -> Illustration | None:
    """Draw the error of predicting each channel from the others; ``None`` without errors.

    Args:
        errors: see :func:`~lesionforge.benchmark.report.channels.measure_channels`.
        run: the run that they are of.
    """
    if errors.empty:
        return None
    caption = (
        "Channels that belong together: mean absolute error of predicting each channel from the others, by a "
        "regression on training cases, in standard deviations of the channel; grey: training cases that it has not "
        "seen. Drawn cases whose channels fit have the same error; with a greater one they do not fit."
    )
    return Illustration("channel_fit.svg", caption, _chart(errors, run))


def _chart(errors: pd.DataFrame, run: FinishedRun) -> Figure:
    """Draw a panel for each place with a row for each synthesizer."""
    means = errors.groupby(["synthesizer", "drawn"], sort=False)[list(PLACES)].mean()
    names = list(dict.fromkeys(errors["synthesizer"]))
    figure, panels = rows_of_panels([len(names)] * len(PLACES))
    for panel, (place, title) in zip(panels, PLACES.items(), strict=True):
        for row, name in enumerate(names):
            panel.plot(means.loc[(name, False), place], row, "o", color=REAL_COLOUR, markersize=9)
            panel.plot(means.loc[(name, True), place], row, "D", color=run.colours[name], markersize=6)
        label_rows(panel, names)
        panel.set_title(title, loc="left", fontsize=9)
    panels[-1].set_xlabel("error (standard deviations)", fontsize=9)
    panels[-1].set_xlim(left=0)
    return figure
