"""Charts of a benchmark's scores. Each function returns a figure and shows nothing on screen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lesionforge.benchmark.report.verdict import Outcome, comparisons, difference_of, outcome
from lesionforge.benchmark.report.wording import size_names
from lesionforge.scores.registry import find_score, metric_in
from lesionforge.scores.statistics.arm_statistics import seed_differences, subject_means

# The palette of Okabe and Ito, which colour-blind readers can tell apart.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6D31", "#666666")
OUTCOME_COLOURS = {
    Outcome.GAIN: "#0072B2",
    Outcome.UNCONTROLLED: "#666666",
    Outcome.LOSS: "#D55E00",
    Outcome.CHANGE: "#CC79A7",
    Outcome.NULL: "#666666",
    Outcome.TOO_FEW: "#BBBBBB",
}
ROW_INCHES = 0.42


class Illustration(NamedTuple):
    """A figure of the report: its file name in ``figures/``, its caption, and the figure."""

    file: str
    caption: str
    figure: Figure


def arm_colours(arms: Sequence[str]) -> dict[str, str]:
    """Return arm → colour."""
    return {arm: PALETTE[i % len(PALETTE)] for i, arm in enumerate(arms)}


def box_plot(results: pd.DataFrame, metric: str) -> Figure:
    """Return a figure with a panel per size and a box per arm; a dot is a subject, a diamond the mean."""
    arms, titles = list(dict.fromkeys(results["arm"])), panel_titles(results["train_size"])
    return _boxes(results, metric, [(title, train_size, arms) for train_size, title in titles.items()])


def group_plot(results: pd.DataFrame, metric: str, groups: Mapping[str, Sequence[str]], *, train_size: float) -> Figure:
    """Return a figure with a panel per group of arms, in the style and colours of :func:`box_plot`.

    Args:
        results: rows of all arms.
        metric: the score.
        groups: title → names of its arms.
        train_size: the training-set size to show.
    """
    return _boxes(results, metric, [(title, train_size, arms) for title, arms in groups.items()])


def _boxes(results: pd.DataFrame, metric: str, parts: Sequence[tuple[str, float, Sequence[str]]]) -> Figure:
    """Return a figure with a panel for each (title, train_size, arms)."""
    info, values = find_score(metric), subject_means(results, metric_in(results, metric))
    colours = arm_colours(list(dict.fromkeys(results["arm"])))
    figure, panels = rows_of_panels([len(arms) for _, _, arms in parts])
    for panel, (title, train_size, arms) in zip(panels, parts, strict=True):
        for row, arm in enumerate(arms):
            index = values.index
            of_arm = values[
                (index.get_level_values("arm") == arm) & (index.get_level_values("train_size") == train_size)
            ].to_numpy()
            _box(panel, row, of_arm * info.factor, colours[arm])
        label_rows(panel, arms)
        panel.set_title(title, loc="left", fontsize=10)
    panels[-1].set_xlabel(f"{info.title} per subject ({info.unit})")
    return figure


def forest_plot(
    results: pd.DataFrame, summary: pd.DataFrame, metric: str, *, baseline: str, undertrained: bool = False
) -> Figure:
    """Return a figure of the differences to the baseline with 95 % intervals; small ticks are single seeds.

    If ``undertrained``, gains are not coloured as gains.
    """
    info = find_score(metric)
    rows = comparisons(summary, baseline=baseline, metric=metric)
    per_seed = seed_differences(results, metric_in(results, metric), baseline=baseline)
    titles = panel_titles(rows["train_size"])
    most = int(rows.groupby("train_size").size().max()) if len(rows) else 1
    figure, panels = rows_of_panels([most] * max(len(titles), 1))
    for panel, (train_size, title) in zip(panels, titles.items(), strict=False):
        part = rows[rows["train_size"] == train_size]
        panel.axvline(0, color="#222222", linewidth=1)
        for height, (_, row) in enumerate(part.iterrows()):
            difference = difference_of(row)
            colour = OUTCOME_COLOURS[outcome(difference, metric, undertrained=undertrained)]
            ends = np.array([difference.low, difference.high]) * info.factor
            panel.plot(ends, [height, height], color=colour, linewidth=2.5, solid_capstyle="butt")
            panel.plot(difference.mean * info.factor, height, "o", color=colour, markersize=7)
            seeds = per_seed[[key[:2] == (row["arm"], train_size) for key in per_seed.index]].to_numpy() * info.factor
            panel.plot(seeds, np.full(seeds.size, height + 0.28), "|", color=colour, markersize=7, alpha=0.8)
        label_rows(panel, part["arm"].tolist())
        panel.set_title(title, loc="left", fontsize=10)
    better = {True: "right is better", False: "left is better", None: "0 is no change"}[info.higher_is_better]
    panels[-1].set_xlabel(f"{info.title} minus that of {baseline} ({info.unit}); {better}")
    return figure


def rows_of_panels(heights: Sequence[int]) -> tuple[Figure, list[Axes]]:
    """Return a figure with one panel below the other, each with room for its number of rows."""
    inches = [0.35 + ROW_INCHES * rows for rows in heights]
    figure = Figure(figsize=(7.2, 0.9 + sum(inches)), dpi=130, layout="constrained")
    panels = figure.subplots(len(heights), 1, squeeze=False, sharex=True, height_ratios=inches)
    return figure, list(panels[:, 0])


def label_rows(panel: Axes, names: Sequence[str]) -> None:
    """Label the rows of a panel, the first on top."""
    panel.set_yticks(range(len(names)), names)
    panel.set_ylim(len(names) - 0.45, -0.55)
    panel.tick_params(axis="y", length=0)
    panel.grid(axis="x", color="#e5e5e5")
    panel.set_axisbelow(True)
    panel.spines[["top", "right", "left"]].set_visible(False)


def panel_titles(train_sizes: Iterable[float]) -> dict[float, str]:
    """Return size → panel title; empty titles if there is only one size."""
    sizes = size_names(train_sizes)
    return {size: f"real training subjects: {name}" if len(sizes) > 1 else "" for size, name in sizes.items()}


def _box(panel: Axes, row: int, values: NDArray[np.floating], colour: str) -> None:
    if not values.size:
        return
    panel.boxplot(
        values,
        positions=[row],
        orientation="horizontal",
        widths=0.55,
        showfliers=False,
        patch_artist=True,
        boxprops={"facecolor": colour, "alpha": 0.25, "edgecolor": colour},
        medianprops={"color": colour, "linewidth": 2},
        whiskerprops={"color": colour},
        capprops={"color": colour},
        manage_ticks=False,
    )
    spread = np.linspace(-0.18, 0.18, min(values.size, 9))
    panel.plot(values, row + np.resize(spread, values.size), ".", color=colour, markersize=4, alpha=0.7)
    panel.plot(values.mean(), row, "D", color="white", markeredgecolor=colour, markersize=6)
