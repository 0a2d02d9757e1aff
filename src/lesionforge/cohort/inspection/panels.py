"""Sheets of panels: pictures of slices in rows, with titles, outlines and filled labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lesionforge.cohort.inspection.contact_sheet import CLASS_COLOURS, WINDOW_PERCENTILES
from lesionforge.cohort.inspection.small_lesions import draw_box, split_small
from lesionforge.cohort.scan import BoolArray

WIDEST_INCHES, PANEL_INCHES, TITLE_INCHES, ACROSS = 9.6, 2.4, 0.2, 6
BACKGROUND_LEVEL, BORDER_PIXELS = 0.12, 3
OUTLINE_POINTS = 1.2

Picture = NDArray[np.floating]
Labels = NDArray[np.integer]
Window = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One image of a sheet.

    Attributes:
        image: ``(row, column)`` intensities.
        window: intensities shown as black and white.
        aspect: pixel height divided by pixel width.
        title: text above the image.
        note: text in the corner.
        outlines: colour → ``(row, column)`` labels to outline, all classes together; small ones get a box, but not
            within a large one of another colour.
        boxes: colour → ``(row, column)`` labels of which the small ones get a box, and the others nothing.
        filled: ``(row, column)`` labels to fill with the colours of their classes, or ``None``.
    """

    image: Picture
    window: Window
    aspect: float
    title: str = ""
    note: str = ""
    outlines: Mapping[str, Labels] = field(default_factory=dict)
    boxes: Mapping[str, Labels] = field(default_factory=dict)
    filled: Labels | None = None


def window_of(image: Picture) -> Window:
    """Return the intensities of a scan that are shown as black and white."""
    low, high = np.percentile(image, WINDOW_PERCENTILES)
    return float(low), max(float(high), float(low) + 1e-6)


def over_anatomy(panel: Panel, anatomy: Labels | None) -> Panel:
    """Return a panel with its image replaced by an anatomy map, whose values are shades of grey; unchanged if ``None``.

    Args:
        panel: the panel.
        anatomy: ``(row, column)`` structures.
    """
    if anatomy is None:
        return panel
    values, ranks = np.unique(anatomy, return_inverse=True)
    levels = ranks.reshape(anatomy.shape).astype(float)
    return replace(panel, image=levels, window=(0.0, max(1.0, len(values) - 1.0)))


def sheet(rows: Sequence[Sequence[Panel | None]], *, alike: bool = False) -> Figure:
    """Return a figure of rows of panels, without the dark borders; long rows are wrapped.

    Args:
        rows: the panels; each row must have at least one, and all of a row have the same shape.
        alike: rows whose panels have the same shape lose the same border, so that they can be compared.
    """
    shown = [_shown(row) for row in rows]
    if alike:
        shown = [np.logical_or.reduce([other for other in shown if other.shape == own.shape]) for own in shown]
    rows = [_trimmed(row, own) for row, own in zip(rows, shown, strict=True)]
    longest = max(len(row) for row in rows)
    across = math.ceil(longest / math.ceil(longest / ACROSS))
    lines = [row[start : start + across] for row in rows for start in range(0, len(row), across)]
    width = min(PANEL_INCHES, WIDEST_INCHES / across)
    heights = [width * _tallest(line) for line in lines]
    titles = TITLE_INCHES * sum(
        max((p.title.count("\n") + bool(p.title) for p in line if p is not None), default=0) for line in lines
    )
    figure = Figure(figsize=(width * across, sum(heights) + titles + 0.3), dpi=130, layout="constrained")
    grid = figure.subplots(len(lines), across, squeeze=False, height_ratios=heights)
    for axes_row, line in zip(grid, lines, strict=True):
        for number, axes in enumerate(axes_row):
            panel = line[number] if number < len(line) else None
            axes.set_axis_off()
            if panel is not None:
                _draw(axes, panel)
    return figure


def _tallest(line: Sequence[Panel | None]) -> float:
    """Return the largest height-to-width ratio of the panels."""
    return max((p.image.shape[0] * p.aspect / p.image.shape[1] for p in line if p is not None), default=1.0)


def _shown(row: Sequence[Panel | None]) -> BoolArray:
    """Return the pixels that are bright, outlined or filled in any panel of a row."""
    there = [panel for panel in row if panel is not None]
    shown = np.zeros(there[0].image.shape, bool)
    for panel in there:
        low, high = panel.window
        shown |= panel.image > low + BACKGROUND_LEVEL * (high - low)
        for label in (
            *panel.outlines.values(),
            *panel.boxes.values(),
            *([] if panel.filled is None else [panel.filled]),
        ):
            shown |= label > 0
    return shown


def _trimmed(row: Sequence[Panel | None], shown: BoolArray) -> list[Panel | None]:
    """Crop the border around what is shown."""
    if not shown.any():
        return list(row)
    box = tuple(
        slice(max(0, places.min() - BORDER_PIXELS), places.max() + 1 + BORDER_PIXELS) for places in np.nonzero(shown)
    )
    return [None if panel is None else _cut(panel, box) for panel in row]


def _cut(panel: Panel, box: tuple[Any, ...]) -> Panel:
    return replace(
        panel,
        image=panel.image[box],
        outlines={colour: label[box] for colour, label in panel.outlines.items()},
        boxes={colour: label[box] for colour, label in panel.boxes.items()},
        filled=None if panel.filled is None else panel.filled[box],
    )


def _draw(axes: Axes, panel: Panel) -> None:
    low, high = panel.window
    axes.imshow(panel.image, cmap="gray", vmin=low, vmax=high, aspect=panel.aspect, interpolation="nearest")
    axes.set_title(panel.title, fontsize=9)
    if panel.note:
        shade = {"facecolor": "black", "alpha": 0.6, "linewidth": 0, "pad": 1.5}
        note = axes.text(0.02, 0.03, panel.note, fontsize=7, color="white", transform=axes.transAxes, bbox=shade)
        note.set_in_layout(False)
    if panel.filled is not None:
        colours = ListedColormap(CLASS_COLOURS)
        classes = (panel.filled - 1) % len(CLASS_COLOURS)
        lesion = np.ma.masked_where(panel.filled == 0, classes)
        axes.imshow(lesion, cmap=colours, vmin=0, vmax=len(CLASS_COLOURS) - 1, aspect=panel.aspect, alpha=0.85)
    limits = axes.axis()
    large = _large(panel)
    for ring, (colour, label) in enumerate(panel.outlines.items(), start=1):
        _outline(axes, np.where(large, label, 0), colour)
        _draw_boxes(axes, panel, np.where(large, 0, label), colour, ring)
    for ring, (colour, label) in enumerate(panel.boxes.items(), start=1 + len(panel.outlines)):
        _draw_boxes(axes, panel, label, colour, ring)
    axes.axis(limits)


def _large(panel: Panel) -> BoolArray:
    """Return the large parts of all outlines together; a speck within one is no small lesion."""
    together = np.zeros(panel.image.shape[:2], np.int16)
    for label in panel.outlines.values():
        together[label > 0] = 1
    return split_small(together, panel.aspect)[0] > 0


def _draw_boxes(axes: Axes, panel: Panel, label: Labels, colour: str, ring: int) -> None:
    for lesion in split_small(label, panel.aspect)[1]:
        draw_box(axes, lesion, panel.image.shape, panel.aspect, colour=colour, width=OUTLINE_POINTS, ring=ring)


def _outline(axes: Axes, label: Labels, colour: str) -> None:
    if (label > 0).any():
        padded = np.pad(label > 0, 1).astype(float)
        rows, columns = np.arange(-1, label.shape[0] + 1), np.arange(-1, label.shape[1] + 1)
        axes.contour(columns, rows, padded, levels=[0.5], colors=[colour], linewidths=OUTLINE_POINTS)
