"""Report figures that show scans. Each function returns a figure and shows nothing on screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NotRequired, TypedDict

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lesionforge.cohort.inspection.contact_sheet import CLASS_COLOURS
from lesionforge.cohort.inspection.panels import Labels, Panel, Picture, Window, over_anatomy, sheet, window_of

TRUTH_COLOUR, PREDICTION_COLOUR, LESION_COLOUR = "#56B4E9", "#E69F00", CLASS_COLOURS[0]


class Example(TypedDict):
    """One slice to show with the outlines of truth and predictions.

    Keys:
        image: ``(row, column)`` intensities, the first row on top.
        truth: ``(row, column)`` lesion classes.
        predictions: arm → ``(row, column)`` lesion classes.
        title: title, for instance the case and slice.
        aspect: pixel height divided by pixel width, 1 by default.
        notes: arm → score of the whole case, shown above the arm's panel.
    """

    image: Picture
    truth: Labels
    predictions: Mapping[str, Labels]
    title: NotRequired[str]
    aspect: NotRequired[float]
    notes: NotRequired[Mapping[str, str]]


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A plane through a new lesion.

    Attributes:
        name: name of the plane.
        source: ``(row, column)`` scan that the lesion was drawn into.
        drawn: ``(row, column)`` scan with the lesion.
        lesion: ``(row, column)`` classes of the new lesion only.
        window: intensities shown as black and white.
        aspect: pixel height divided by pixel width.
    """

    name: str
    source: Picture
    drawn: Picture
    lesion: Labels
    window: Window
    aspect: float


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """One scan and mask as drawn by several synthesizers.

    Attributes:
        name: name of the case.
        source: ``(row, column)`` scan.
        mask: ``(row, column)`` lesion classes to draw.
        anatomy: ``(row, column)`` structures that the synthesizers see, or ``None``.
        drawn: synthesizer → ``(row, column)`` image.
        window: intensities shown as black and white.
        aspect: pixel height divided by pixel width.
    """

    name: str
    source: Picture
    mask: Labels
    anatomy: Labels | None
    drawn: Mapping[str, Picture]
    window: Window
    aspect: float


def example_sheet(examples: Sequence[Example]) -> Figure:
    """Return a figure with a row per example: the slice, then each arm's prediction outlined beside the truth."""
    arms = list(dict.fromkeys(arm for example in examples for arm in example["predictions"]))
    return _outlined([_example_row(example, arms) for example in examples])


def row_sheet(examples: Sequence[Example]) -> Figure:
    """Return a figure as :func:`example_sheet` does, in which each example has columns for its own arms alone."""
    return _outlined([_example_row(example, list(example["predictions"])) for example in examples])


def _outlined(rows: Sequence[Sequence[Panel | None]]) -> Figure:
    """Return a sheet of panels with a legend of the outlines."""
    figure = sheet(rows)
    handles = [
        Line2D([], [], color=colour, label=name)
        for name, colour in (("truth", TRUTH_COLOUR), ("prediction", PREDICTION_COLOUR))
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def _example_row(example: Example, arms: Sequence[str]) -> list[Panel | None]:
    plain = Panel(image=example["image"], window=window_of(example["image"]), aspect=example.get("aspect", 1.0))
    row: list[Panel | None] = [replace(plain, title=example.get("title", ""))]
    notes = example.get("notes", {})
    for arm in arms:
        if arm not in example["predictions"]:
            row.append(None)
            continue
        score = f"\n{notes[arm]}" if arm in notes else ""
        outlines = {TRUTH_COLOUR: example["truth"], PREDICTION_COLOUR: example["predictions"][arm]}
        row.append(replace(plain, title=f"{arm}{score}", outlines=outlines))
    return row


def placement_sheet(placements: Sequence[Placement]) -> Figure:
    """Return a figure with a row per plane: the source scan, the drawn scan, and the new lesion outlined in it."""
    rows: list[list[Panel | None]] = []
    for number, place in enumerate(placements):
        titles = ("source scan", "drawn scan", "new lesion outlined") if number == 0 else ("", "", "")
        source = Panel(image=place.source, window=place.window, aspect=place.aspect, title=titles[0], note=place.name)
        drawn = replace(source, image=place.drawn, title=titles[1], note="")
        rows.append([source, drawn, replace(drawn, title=titles[2], outlines={LESION_COLOUR: place.lesion})])
    return sheet(rows)


def side_by_side_sheet(scans: Sequence[SideBySide]) -> Figure:
    """Return a figure with a row per scan: the scan, the mask (over the anatomy if any), each synthesizer's image.

    Where the mask is small, a box shows its place in all of them.
    """
    names = list(dict.fromkeys(name for scan in scans for name in scan.drawn))
    rows: list[list[Panel | None]] = []
    for number, scan in enumerate(scans):
        titles = ("source scan", "mask", *names) if number == 0 else ("",) * (2 + len(names))
        plain = Panel(image=scan.source, window=scan.window, aspect=scan.aspect, title=titles[0], note=scan.name)
        source = replace(plain, boxes={LESION_COLOUR: scan.mask})
        mask = over_anatomy(replace(plain, filled=scan.mask, title=titles[1], note=""), scan.anatomy)
        drawn = [
            replace(source, image=scan.drawn[name], title=title, note="") if name in scan.drawn else None
            for name, title in zip(names, titles[2:], strict=True)
        ]
        rows.append([source, mask, *drawn])
    return sheet(rows)
