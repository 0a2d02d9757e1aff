"""A picture of the result of matching."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from lesionforge.cohort.case import Case
from lesionforge.cohort.inspection.contact_sheet import WINDOW_PERCENTILES
from lesionforge.cohort.inspection.planes import key_plane
from lesionforge.cohort.scan import load_scan
from lesionforge.files import atomic
from lesionforge.production.matching.set_classifier import tissue_histogram

Triple = tuple[Case, Case, Case]
NAMES = ("reference", "before", "after")
SHOWN, INCHES = 8, 1.6


def match_sheet(triples: Sequence[Triple], channels: Sequence[str], out: Path) -> None:
    """Draw reference, healthy and matched scans in the window of the reference, above histograms of their tissue.

    Args:
        triples: partner, healthy case, matched case.
        channels: channels of the cases; the first is shown.
        out: the PNG file, overwritten if it exists.
    """
    shown = [triples[index] for index in np.linspace(0, len(triples) - 1, min(SHOWN, len(triples))).astype(int)]
    figure = Figure(figsize=(INCHES * len(shown), INCHES * 5.2), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(3, 2))[:, 0]
    grid = above.subplots(3, len(shown), squeeze=False)
    for panels, triple in zip(grid.T, shown, strict=True):
        scans = [load_scan(case, channels[:1]) for case in triple]
        window = np.percentile(scans[0].image[0], WINDOW_PERCENTILES)
        for panel, scan, name in zip(panels, scans, NAMES, strict=True):
            plane = key_plane(scan)
            panel.imshow(plane.cut(scan.image[0]), cmap="gray", vmin=window[0], vmax=window[1], aspect=plane.aspect)
            panel.set_title(f"{name}: {scan.case.case_id}", fontsize=5)
            panel.set_axis_off()
    axes = below.subplots()
    for cases, name, colour in zip(zip(*triples, strict=True), NAMES, ("#222222", "#D55E00", "#0072B2"), strict=True):
        shares = np.mean([tissue_histogram(load_scan(case, channels[:1])) ** 2 for case in cases], axis=0)
        axes.stairs(shares, np.linspace(0, 1, len(shares) + 1), label=name, color=colour, linewidth=1.5)
    axes.set_xlabel(f"intensity of {channels[0]}, as a share of the scan's 99.5th percentile")
    axes.set_ylabel("share of tissue")
    axes.legend(frameon=False)
    with atomic(out) as temporary:
        figure.savefig(temporary, dpi=110, format="png", facecolor="white")
