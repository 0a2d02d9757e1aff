"""Curves over all test cases, such as FROC, with a panel for each augmentation and a line for each arm."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lesionforge.benchmark.arms.finished import FinishedRun
from lesionforge.benchmark.report.figures.charts import PALETTE, Illustration
from lesionforge.benchmark.report.page import read_results
from lesionforge.scores.curve import Curve


def set_curve(run: FinishedRun, curve: Curve) -> Illustration | None:
    """Draw a curve of all arms at the largest training-set size, with bands over subjects and seeds.

    ``None`` if no test case has what the curve is made of.
    """
    results = read_results(run.study.out / "results.csv")
    if not set(curve.made_of) <= set(results.columns):
        return None
    results = results[results["train_size"] == run.repeat.train_size]
    panels: dict[str, list[str]] = {}
    for name in run.study.plan.arms:
        if name in set(results["arm"]):
            panels.setdefault(run.study.task_of(run.repeat.train_size, name).augment, []).append(name)
    figure = Figure(figsize=(0.6 + 3.8 * len(panels), 3.6), dpi=130, layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for panel, (augment, arms) in zip(axes, panels.items(), strict=True):
        for name in arms:
            _line(panel, curve, results[results["arm"] == name], name, run.colours[name])
        panel.set_title(f"augmentation: {augment}", loc="left", fontsize=9)
        panel.set_xlabel(curve.x_label, fontsize=9)
        panel.grid(color="#e5e5e5")
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False, fontsize=8, loc="best")
    axes[0].set_ylabel(curve.y_label, fontsize=9)
    caption = f"{curve.title} of every arm: the mean over seeds, and a 95 % band over subjects and seeds."
    return Illustration(f"{curve.name}.svg", caption, figure)


def curve_of(curve: Curve, rows: pd.DataFrame) -> Figure:
    """Return a figure of one curve with its band.

    Args:
        curve: the curve.
        rows: rows of all cases, with ``subject_id`` and ``seed``.
    """
    figure = Figure(figsize=(4.4, 3.6), dpi=130, layout="constrained")
    panel = figure.subplots()
    _line(panel, curve, rows, "", PALETTE[0])
    panel.set_xlabel(curve.x_label)
    panel.set_ylabel(curve.y_label)
    panel.grid(color="#e5e5e5")
    return figure


def _line(panel: Axes, curve: Curve, rows: pd.DataFrame, name: str, colour: str) -> None:
    mean, low, high = curve.band(rows)
    panel.plot(curve.x, mean, color=colour, label=name)
    panel.fill_between(curve.x, low, high, color=colour, alpha=0.15, linewidth=0)
