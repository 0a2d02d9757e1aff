"""Contact sheets: a picture of every case, with its lesions outlined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from lesionforge.cohort.case import Annotation, Case, Cohort
from lesionforge.cohort.inspection.planes import key_plane
from lesionforge.cohort.inspection.small_lesions import draw_box, split_small
from lesionforge.cohort.scan import FloatArray, LabelArray, Scan, load_scan
from lesionforge.errors import CohortError, ConfigError, choose_from
from lesionforge.files import atomic

PANELS_ACROSS = 8
PANEL_INCHES = 1.8
CLASS_COLOURS = ("#ff3b30", "#ffd60a", "#32d1ff", "#5ee06a", "#ff7bf5")
WINDOW_PERCENTILES = (0.5, 99.5)


def contact_sheet(
    cohort: Cohort,
    out: Path,
    *,
    channels: Sequence[str] | None = None,
    anatomy: bool = False,
    n_cases: int = 24,
    dpi: int = 110,
) -> Path:
    """Draw cases side by side into one PNG: each channel, then the first channel with its lesions outlined.

    Lesions that an outline would hide get a box.
    A volume shows its slice with most lesion (without lesion, the middle slice) across :func:`slice_axis`, with the
    patient's right at the picture's right and front (or head) up. Each channel is windowed to its scan's 0.5th–99.5th
    percentile. Cases that are not real are marked SIMULATED or SYNTHETIC; an unreadable case shows its error.

    Args:
        cohort: the cohort to show.
        out: the PNG file, overwritten if it exists.
        channels: the channels to show; all by default.
        anatomy: whether to show the anatomy maps, too, whose values are shades of grey.
        n_cases: greatest number of cases, chosen evenly from the cohort.
        dpi: pixels per inch; a panel is 1.8 inches wide.

    Returns:
        ``out``.

    Raises:
        CohortError: if the cohort is empty.
        ConfigError: if a channel is not in the cohort, ``n_cases`` is below 1, or ``out`` is not a PNG.
    """
    shown = cohort.channels if channels is None else tuple(channels)
    _check_request(cohort, out, shown, n_cases)
    cases = pick_evenly(cohort, n_cases)
    columns = len(shown) + 1 + anatomy
    across = max(1, min(PANELS_ACROSS // columns, len(cases)))
    rows = -(-len(cases) // across)
    figure = Figure(figsize=(across * columns * PANEL_INCHES, rows * PANEL_INCHES * 1.25 + 0.4), layout="constrained")
    figure.suptitle(_title(cohort, len(cases)), fontsize=9)
    grid = figure.subplots(rows, across * columns, squeeze=False)
    for panel in grid.flat:
        panel.set_axis_off()
    for index, case in enumerate(cases):
        row, block = divmod(index, across)
        _draw_case(grid[row, block * columns : (block + 1) * columns], case, shown, anatomy=anatomy)
    class_legend(figure, cohort.labels)
    with atomic(out) as temporary:
        figure.savefig(temporary, format="png", dpi=dpi, facecolor="white")
    return out


def pick_evenly(cohort: Cohort, n_cases: int) -> tuple[Case, ...]:
    """Return at most ``n_cases`` cases, evenly spread over the cohort, including the first and the last."""
    if len(cohort) <= n_cases:
        return cohort.cases
    return tuple(cohort.cases[index] for index in np.linspace(0, len(cohort) - 1, n_cases).astype(int))


def key_slice(scan: Scan) -> tuple[FloatArray, LabelArray | None, float]:
    """Return the slice of a scan to show.

    Returns:
        the images ``(channel, row, column)`` as seen on screen, the label ``(row, column)`` or ``None``, and the height
        of a pixel divided by its width.
    """
    plane = key_plane(scan)
    label = None if scan.label is None else plane.cut(scan.label)
    return np.stack([plane.cut(channel) for channel in scan.image]), label, plane.aspect


def _draw_case(panels: NDArray[np.object_], case: Case, channels: Sequence[str], *, anatomy: bool) -> None:
    there = [channel for channel in channels if channel in case.images]
    panels[0].set_title(caption(case), fontsize=6, loc="left", color="black" if case.origin == "real" else "#b00020")
    try:
        scan = load_scan(case, there)
    except CohortError as error:
        panels[0].text(0, 0.5, str(error), fontsize=5, wrap=True, va="center", transform=panels[0].transAxes)
        return
    images, label, aspect = key_slice(scan)
    windows = {channel: np.percentile(scan.image[number], WINDOW_PERCENTILES) for number, channel in enumerate(there)}
    for panel, channel in zip(panels, channels, strict=False):
        if channel in there:
            _draw_image(panel, images[there.index(channel)], windows[channel], aspect)
            panel.text(0.02, 0.02, channel, fontsize=5, color="white", transform=panel.transAxes)
        else:
            panel.text(0.5, 0.5, f"no {channel}", fontsize=6, ha="center", transform=panel.transAxes)
    outlined = panels[len(channels)]
    _draw_image(outlined, images[0], windows[there[0]], aspect)
    if label is not None:
        draw_contours(outlined, label, aspect)
    if anatomy:
        _draw_anatomy(panels[-1], scan)


def _draw_anatomy(panel: Axes, scan: Scan) -> None:
    if scan.anatomy is None:
        panel.text(0.5, 0.5, "no anatomy map", fontsize=6, ha="center", transform=panel.transAxes)
        return
    plane = key_plane(scan)
    _draw_image(panel, plane.cut(scan.anatomy).astype(np.float32), np.array([0, scan.anatomy.max()]), plane.aspect)
    panel.text(0.02, 0.02, "anatomy", fontsize=5, color="white", transform=panel.transAxes)


def _draw_image(panel: Axes, image: FloatArray, window: NDArray[np.float64], aspect: float) -> None:
    low, high = window
    panel.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), aspect=aspect, interpolation="nearest")


def draw_contours(panel: Axes, label: LabelArray, aspect: float) -> None:
    """Outline every class: class 1 with all classes nested in it, class 2 with those above it, and so on.

    Small lesions get a box in the colour of their innermost class.
    """
    large, small = split_small(label, aspect)
    for value in np.unique(large[large > 0]):
        panel.contour(large >= value, levels=[0.5], colors=[_colour(value)], linewidths=0.7)
    for lesion in small:
        draw_box(panel, lesion, label.shape, aspect, colour=_colour(lesion.value), width=0.7)


def _colour(value: int) -> str:
    return CLASS_COLOURS[(value - 1) % len(CLASS_COLOURS)]


def class_colours(labels: Mapping[str, int]) -> dict[str, str]:
    """Return lesion class → its colour in pictures; empty if there is only one class."""
    colours = {name: _colour(value) for name, value in labels.items() if value}
    return colours if len(colours) > 1 else {}


def class_legend(figure: Figure, labels: Mapping[str, int]) -> None:
    """Add a legend of lesion classes below a figure, if there are several classes."""
    handles = [Line2D([], [], color=colour, label=name) for name, colour in class_colours(labels).items()]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=7, frameon=False)


def caption(case: Case) -> str:
    """Return the title of a case: its id and its origin."""
    origin = {
        "real": "real",
        "simulated": "SIMULATED",
        "synthetic": f"SYNTHETIC {case.synthesizer}".rstrip(),
    }[case.origin]
    state = {
        Annotation.LESION: "",
        Annotation.LESION_FREE: ", lesion-free",
        Annotation.UNKNOWN: ", lesions unknown",
    }
    return f"{case.case_id}\n{origin}{state[case.annotation]}"


def _title(cohort: Cohort, shown: int) -> str:
    origins = {case.origin for case in cohort}
    marks = [name.upper() for name in ("simulated", "synthetic") if name in origins]
    some = f"{shown} of {len(cohort)} cases"
    return f"{cohort.name}: {some}" + (f" ({' and '.join(marks)} scans among them)" if marks else "")


def _check_request(cohort: Cohort, out: Path, channels: Sequence[str], n_cases: int) -> None:
    if not len(cohort):
        raise CohortError(cohort.name, "has no cases to show", "check the folder, or the selection that led to it")
    if not channels:
        raise ConfigError("channels", "names no channel", choose_from(cohort.channels))
    cohort.having(channels)
    if n_cases < 1:
        raise ConfigError("n_cases", f"is {n_cases}", "show at least one case")
    if out.suffix.lower() != ".png":
        raise ConfigError(out, "is not a PNG file", "name the sheet something.png")
