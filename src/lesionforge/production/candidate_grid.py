"""Pictures that compare the candidates of a run on the same masks."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.inspection.contact_sheet import WINDOW_PERCENTILES, pick_evenly
from lesionforge.cohort.inspection.planes import key_plane
from lesionforge.cohort.scan import load_scan

INCHES = 1.7
ALIKE = 0.03
"""Difference between two FCN scores below which they say the same."""


def candidate_grid(real: Cohort, drawn: Mapping[str, Cohort], *, recommended: str, rows: int) -> Figure:
    """Return a figure with a row per mask: the mask, the image of each candidate, the real image.

    All images of a row have the intensity window of the real image. Volumes show the slice with the largest lesion
    area.

    Args:
        real: the cases whose masks were drawn.
        drawn: candidate → cases drawn from these masks.
        recommended: the candidate to highlight.
        rows: greatest number of masks, evenly chosen.
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


def same_score_grid(real: Cohort, drawn: Mapping[str, Cohort], images: pd.DataFrame, *, rows: int) -> Figure | None:
    """Return a figure of pairs of drawings with about equal FCN scores and different sharpness.

    Each row shows one mask, two drawings of it whose FCN scores differ by at most 0.03, and the real image. The masks
    are those whose two drawings differ most in sharpness.

    Args:
        real: the cases whose masks were drawn.
        drawn: candidate → cases drawn from these masks.
        images: scores of every image, see :func:`~lesionforge.scores.drawn_images.quality.image_scores`.
        rows: greatest number of masks.

    Returns:
        The figure, or ``None`` if no mask has such a pair.
    """
    pairs = alike(images[images["cohort"].isin(list(drawn))], drawn)[:rows]
    if not pairs:
        return None
    figure = Figure(figsize=(INCHES * 4, INCHES * 1.25 * len(pairs) + 0.2), layout="constrained")
    grid = figure.subplots(len(pairs), 4, squeeze=False)
    for panels, pair in zip(grid, pairs, strict=True):
        scan = load_scan(real[pair[0].source_case], real.channels[:1])
        assert scan.label is not None
        plane = key_plane(scan)
        low, high = np.percentile(scan.image[0], WINDOW_PERCENTILES)
        _show(panels[0], plane.cut(scan.label), plane.aspect, 0, max(real.labels.values()))
        for panel, one in zip(panels[1:3], pair, strict=True):
            image = load_scan(one.case, real.channels[:1]).image[0]
            _show(panel, plane.cut(image), plane.aspect, low, max(high, low + 1e-6))
            realism = "" if np.isnan(one.realism) else f", real {one.realism:.2f}"
            panel.set_title(
                f"{one.name}\nDice {one.fcn_score:.2f}, sharp {1e3 * one.sharpness:.2f}{realism}", fontsize=6
            )
        _show(panels[3], plane.cut(scan.image[0]), plane.aspect, low, max(high, low + 1e-6))
        panels[0].set_title(f"{scan.case.case_id}\nmask", fontsize=6)
        panels[3].set_title("real", fontsize=6)
    return figure


class Drawing(NamedTuple):
    """An image that a candidate drew, with its scores."""

    name: str
    case: Case
    source_case: str
    fcn_score: float
    sharpness: float
    realism: float


def alike(images: pd.DataFrame, drawn: Mapping[str, Cohort]) -> list[tuple[Drawing, Drawing]]:
    """Return, for each mask, the two drawings with about equal FCN scores that differ most in sharpness.

    Masks are sorted by that difference, largest first; masks without such a pair are left out.
    """
    drawings: dict[str, list[Drawing]] = {}
    for row in images.to_dict("records"):
        case = drawn[row["cohort"]][row["case_id"]]
        scores = (row[name] for name in ("fcn_score", "laplacian_variance", "realism"))
        drawings.setdefault(case.source_case, []).append(Drawing(row["cohort"], case, case.source_case, *scores))
    found = []
    for of_mask in drawings.values():
        pairs = [pair for pair in combinations(of_mask, 2) if abs(pair[0].fcn_score - pair[1].fcn_score) <= ALIKE]
        if pairs:
            found.append(max(pairs, key=_apart))
    return sorted(found, key=_apart, reverse=True)


def _apart(pair: tuple[Drawing, Drawing]) -> float:
    return abs(pair[0].sharpness - pair[1].sharpness)
