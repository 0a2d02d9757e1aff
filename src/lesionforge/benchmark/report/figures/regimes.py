"""The figure of scores against the number of real training subjects."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from lesionforge.benchmark.report.figures.charts import arm_colours
from lesionforge.scores.registry import find_score, metric_in
from lesionforge.scores.statistics.arm_statistics import compare_arms


def regime_rows(summary: pd.DataFrame, reference: pd.DataFrame | None, *, baseline: str, metric: str) -> pd.DataFrame:
    """Return ``arm, train_size, mean, ci_low, ci_high`` of every arm and size, and of the baseline on the whole pool.

    Args:
        summary: content of ``summary.csv``.
        reference: content of ``reference.csv``, or ``None``.
        baseline: name of the baseline.
        metric: the score.
    """
    rows = summary.loc[summary["metric"] == metric, ["arm", "train_size", "mean", "ci_low", "ci_high"]]
    if reference is None:
        return rows
    size = float(reference["train_size"].unique().mean())
    if ((rows["arm"] == baseline) & (rows["train_size"] == size)).any():
        return rows
    whole = compare_arms(reference.assign(train_size=size), baseline=baseline, metric=metric_in(reference, metric))
    return pd.concat([rows, whole[rows.columns]], ignore_index=True)


def regime_curve(rows: pd.DataFrame, metric: str) -> Figure:
    """Return a figure of each arm's mean against the number of real subjects (logarithmic), with a 95 % band.

    Args:
        rows: output of :func:`regime_rows`.
        metric: the score.
    """
    info = find_score(metric)
    arms, sizes = list(dict.fromkeys(rows["arm"])), sorted(rows["train_size"].unique())
    figure = Figure(figsize=(7.2, 4.2), dpi=130, layout="constrained")
    axes = figure.subplots()
    for arm, colour in arm_colours(arms).items():
        of_arm = rows[rows["arm"] == arm].sort_values("train_size")
        _curve(axes, of_arm, arm, colour, info.factor)
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    is_share = sizes[-1] <= 1
    axes.set_xticks(sizes, [f"{100 * size:g} %" if is_share else f"{size:g}" for size in sizes])
    axes.set_xlabel("real training subjects")
    axes.set_ylabel(f"{info.title} ({info.unit})")
    axes.grid(axis="y", color="#e5e5e5")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    return figure


def _curve(axes: Axes, rows: pd.DataFrame, arm: str, colour: str, factor: float) -> None:
    """Draw an arm's means with their band; an arm of one size has a bar in place of the band."""
    sizes = rows["train_size"].to_numpy()
    mean, low, high = (rows[name].to_numpy() * factor for name in ("mean", "ci_low", "ci_high"))
    axes.plot(sizes, mean, color=colour, marker="o", markersize=5, label=arm)
    if len(rows) == 1:
        axes.vlines(sizes, low, high, color=colour, alpha=0.5, linewidth=4)
    else:
        axes.fill_between(sizes, low, high, color=colour, alpha=0.15, linewidth=0)
