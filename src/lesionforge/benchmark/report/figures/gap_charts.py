"""Figures of the worth of gains, and of their dependence on the random training set."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lesionforge.benchmark.report.figures.charts import PALETTE, label_rows, panel_titles, rows_of_panels
from lesionforge.scores.registry import find_score, metric_in
from lesionforge.scores.statistics.arm_statistics import seed_means

SHOWN_SHARES = (-1.0, 2.0)
MARKERS = "osD^vPX<>*"


def gap_figure(table: pd.DataFrame) -> Figure | None:
    """Return a figure of each arm's share of the gap with 95 % intervals, a panel per size; ``None`` without a gap.

    Args:
        table: output of :func:`~lesionforge.benchmark.report.gap.gap_table`.
    """
    shown = table.dropna(subset="share") if "share" in table else table.iloc[:0]
    if shown.empty:
        return None
    titles = panel_titles(shown["train_size"])
    figure, panels = rows_of_panels([int((shown["train_size"] == train_size).sum()) for train_size in titles])
    for panel, (train_size, title) in zip(panels, titles.items(), strict=True):
        part = shown[shown["train_size"] == train_size]
        for share, style in ((0.0, "-"), (1.0, "--")):
            panel.axvline(100 * share, color="#222222", linewidth=1, linestyle=style)
        for height, row in enumerate(part.to_dict("records")):
            low, high = (float(np.clip(row[name], *SHOWN_SHARES)) for name in ("share_low", "share_high"))
            colour = PALETTE[0] if row["share_low"] > 0 else PALETTE[5] if row["share_high"] < 0 else "#666666"
            panel.plot([100 * low, 100 * high], [height, height], color=colour, linewidth=2.5, solid_capstyle="butt")
            panel.plot(100 * float(np.clip(row["share"], *SHOWN_SHARES)), height, "o", color=colour, markersize=7)
        label_rows(panel, part["arm"].tolist())
        panel.set_xlim(*(100 * end for end in SHOWN_SHARES))
        panel.set_title(title, loc="left", fontsize=10)
    panels[-1].set_xlabel("share of the gap that is closed (%): 0 is these subjects alone, 100 all of the pool")
    return figure


def training_sets_figure(results: pd.DataFrame, metric: str) -> Figure:
    """Return a figure of every training run's mean score, a panel per size; runs on the same subjects share a marker.

    Args:
        results: content of ``results.csv``, with the column ``training_set``.
        metric: the score.
    """
    info, arms = find_score(metric), list(dict.fromkeys(results["arm"]))
    means = seed_means(results, metric_in(results, metric)).reset_index()
    set_of = results.groupby(["train_size", "seed"])["training_set"].first()
    sets = sorted(set_of.unique())
    styles = [(MARKERS[number % len(MARKERS)], PALETTE[number % len(PALETTE)]) for number in range(len(sets))]
    titles = panel_titles(results["train_size"])
    figure, panels = rows_of_panels([len(arms)] * len(titles))
    for panel, (train_size, title) in zip(panels, titles.items(), strict=True):
        for seed, part in means[means["train_size"] == train_size].groupby("seed"):
            number = sets.index(set_of[train_size, seed])
            marker, colour = styles[number]
            heights = [arms.index(arm) + 0.12 * (number % 3 - 1) for arm in part["arm"]]
            panel.plot(part[metric] * info.factor, heights, marker, color=colour, alpha=0.85)
        label_rows(panel, arms)
        panel.set_title(title, loc="left", fontsize=10)
    panels[-1].set_xlabel(f"mean {info.title} of one training ({info.unit})")
    handles = [
        Line2D([], [], linestyle="", marker=marker, color=colour, label=f"set {one}")
        for one, (marker, colour) in zip(sets, styles, strict=True)
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=5, frameon=False, fontsize=8)
    return figure
