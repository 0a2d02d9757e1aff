"""Learning curves and intensity histograms. Each function returns a figure and shows nothing on screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from lesionforge.benchmark.report.figures.charts import PALETTE
from lesionforge.errors import ConfigError
from lesionforge.reading import read_frame

SMOOTHED_SHARE, BINS = 0.05, 60
LOSS, GENERATOR_LOSS, CRITIC_LOSS = "train/loss", "train/loss_g", "train/loss_d"
REAL_COLOUR = "#B8B8B8"

Values = NDArray[np.floating]


class Intensities(NamedTuple):
    """Sampled intensities inside lesions, and of the head outside lesions."""

    inside: Values
    outside: Values


def read_log(path: Path) -> pd.DataFrame | None:
    """Return a run's ``metrics.csv`` by step, or ``None`` if it does not exist; repeated steps keep the last row.

    Raises:
        ConfigError: if the file is not a training log.
    """
    if not path.is_file():
        return None
    try:
        return read_frame(path).drop(columns="epoch").groupby("step").last()
    except KeyError as error:
        raise ConfigError(path, f"is not a training log ({error})", "train again") from error


def smoothed(values: pd.Series[float]) -> pd.Series[float]:
    """Return the moving average over a twentieth of the log, with a shorter window at both ends."""
    reach = int(len(values) * SMOOTHED_SHARE / 2)
    return values.rolling(2 * reach + 1, center=True, min_periods=1).mean()


def learning_curves(
    arms: Mapping[str, Sequence[pd.DataFrame]],
    synthesizers: Mapping[str, Sequence[pd.DataFrame]],
    colours: Mapping[str, str],
) -> Figure:
    """Return a figure of the losses against the training step: of the arms on top, of generators and critics below.

    Args:
        arms: arm → one log per seed.
        synthesizers: trained synthesizer → one log per seed.
        colours: arm or synthesizer → colour. If two share a colour, the later one is dashed.
    """
    figure = Figure(figsize=(7.2, 3.6 if not synthesizers else 6.2), dpi=130, layout="constrained")
    layout = "aa;gc" if synthesizers else "a"
    panels = figure.subplot_mosaic(layout, height_ratios=[1.3, 1] if synthesizers else None)
    shown = (
        ("a", "segmentation loss of the arms", LOSS, arms),
        ("g", "generator loss of the synthesizers", GENERATOR_LOSS, synthesizers),
        ("c", "critic loss of the synthesizers", CRITIC_LOSS, synthesizers),
    )
    for name, title, column, logs in shown:
        if name in panels:
            _losses(panels[name], {run: [log[column] for log in of_run] for run, of_run in logs.items()}, colours)
            panels[name].set_title(title, loc="left", fontsize=9)
    for name, logs in (("a", arms), ("g", synthesizers)):
        if name in panels and logs:
            panels[name].legend(handles=_handles(logs, colours), frameon=False, fontsize=8, ncols=1 + (len(logs) > 5))
    return figure


def curve_sheet(panels: Mapping[str, Mapping[str, Sequence[pd.Series[float]]]], colours: Mapping[str, str]) -> Figure:
    """Return a figure with two panels per row; panels without runs are left out.

    Args:
        panels: title → run → one curve per seed.
        colours: run → colour.
    """
    shown = {title: runs for title, runs in panels.items() if runs}
    rows = max(1, -(-len(shown) // 2))
    figure = Figure(figsize=(7.2, 0.5 + 2.3 * rows), dpi=130, layout="constrained")
    grid = figure.subplots(rows, 2, squeeze=False)
    for panel in grid.flat[len(shown) :]:
        panel.set_axis_off()
    for panel, (title, runs) in zip(grid.flat, shown.items(), strict=False):
        _losses(panel, runs, colours)
        panel.set_title(title, loc="left", fontsize=9)
    everyone = dict.fromkeys(run for runs in shown.values() for run in runs)
    handles = _handles(everyone, colours)
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure


def _losses(panel: Axes, runs: Mapping[str, Sequence[pd.Series[float]]], colours: Mapping[str, str]) -> None:
    """Plot every seed's smoothed loss as a thin line and their mean as a thick line."""
    dashes = _dashes(runs, colours)
    for name, losses in runs.items():
        seeds = [smoothed(loss.dropna()) for loss in losses]
        mean = pd.concat(seeds, axis=1).mean(axis=1).sort_index()
        lines = [(mean, 1.6, 1.0)]
        if len(seeds) > 1:
            lines += [(seed, 0.6, 0.45) for seed in seeds]
        for line, width, alpha in lines:
            panel.plot(line.index, line, dashes[name], color=colours[name], linewidth=width, alpha=alpha)
    panel.set_xlabel("step", fontsize=8)
    panel.grid(axis="y", color="#e5e5e5")
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=8)


def _handles(runs: Mapping[str, object], colours: Mapping[str, str]) -> list[Line2D]:
    dashes = _dashes(runs, colours)
    return [Line2D([], [], color=colours[name], linestyle=dashes[name], label=name) for name in runs]


def _dashes(runs: Mapping[str, object], colours: Mapping[str, str]) -> dict[str, Literal["-", "--"]]:
    """Return run → line style, ``--`` if an earlier run has the same colour."""
    taken: set[str] = set()
    dashes: dict[str, Literal["-", "--"]] = {}
    for name in runs:
        dashes[name] = "--" if colours[name] in taken else "-"
        taken.add(colours[name])
    return dashes


def intensity_histograms(
    real: Intensities, drawn: Mapping[str, Intensities], colours: Mapping[str, str] | None = None
) -> Figure:
    """Return a figure with a row per synthetic cohort: densities inside and outside lesions, over those of real cases.

    Args:
        real: intensities of the real cases.
        drawn: synthesizer → intensities of its cases.
        colours: synthesizer → colour.
    """
    figure = Figure(figsize=(7.2, 0.5 + 2.1 * len(drawn)), dpi=130, layout="constrained")
    grid = figure.subplots(len(drawn), 2, squeeze=False, sharex="col")
    for row, (name, ours) in zip(grid, drawn.items(), strict=True):
        colour = PALETTE[0] if colours is None else colours[name]
        for panel, where in zip(row, Intensities._fields, strict=True):
            _densities(panel, getattr(real, where), getattr(ours, where), name, colour)
            panel.set_title(f"{name}: {where} lesions", loc="left", fontsize=9)
        row[0].set_ylabel("density", fontsize=8)
        row[0].legend(frameon=False, fontsize=8)
    for panel in grid[-1]:
        panel.set_xlabel("intensity (−1 background, 0 typical tissue)", fontsize=8)
    return figure


def _densities(panel: Axes, real: Values, drawn: Values, name: str, colour: str) -> None:
    low, high = np.percentile(np.concatenate([real, drawn]), (0.2, 99.8))
    edges = np.linspace(low, max(high, low + 1e-3), BINS + 1)
    panel.stairs(np.histogram(real, edges, density=True)[0], edges, fill=True, color=REAL_COLOUR, label="real")
    panel.stairs(np.histogram(drawn, edges, density=True)[0], edges, color=colour, linewidth=1.5, label=name)
    panel.set_yticks([])
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.tick_params(labelsize=8)
