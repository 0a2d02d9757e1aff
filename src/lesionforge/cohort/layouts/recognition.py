"""Which layout a folder or table has."""

from __future__ import annotations

import re
from pathlib import Path

from lesionforge.cohort.layouts.base import Layout
from lesionforge.cohort.layouts.registry import LAYOUTS
from lesionforge.errors import CohortError

PART = re.compile(r"(?:images|labels)T[rs]|sub-.+|BraTS.+", re.IGNORECASE)
"""Names of folders that lie in a dataset."""
WITH_PARTS = ("nnunet", "msd", "bids", "brats")


def recognised(source: Path) -> tuple[type[Layout], str]:
    """Return the layout of a folder or table, and the sign by which it was recognised.

    Raises:
        CohortError: if there is no such source, or several layouts or none are recognised.
    """
    if not source.exists():
        raise CohortError(source, "there is no such folder or table", "check the path")
    layouts = [LAYOUTS[name] for name in LAYOUTS]
    signs = {layout: sign for layout in layouts if (sign := layout.recognise(source))}
    found = [layout for layout in signs if not layout.general] or list(signs)
    if all(layout.general for layout in found):
        _refuse_a_part(source.resolve())
    if len(found) == 1:
        return found[0], signs[found[0]]
    if found:
        told = " and ".join(f"{layout.method} ({signs[layout]})" for layout in found)
        raise CohortError(source, f"has signs of several layouts: {told}", f"choose one, `layout={found[0].method}`")
    sought = "; ".join(f"{layout.method}: {layout.sought}" for layout in layouts if layout.sought)
    remedy = "name the layout, arrange the files so, or list images and masks in slices.csv"
    raise CohortError(source, f"has no known layout; looked for {sought}", remedy)


def _refuse_a_part(source: Path) -> None:
    """Raise ``CohortError`` if a folder is a part of a dataset whose whole is recognised, such as ``imagesTr``."""
    if not PART.fullmatch(source.name):
        return
    for layout in (LAYOUTS[name] for name in WITH_PARTS):
        if layout.recognise(source.parent):
            what = f"is a part of a dataset of the layout {layout.method}"
            raise CohortError(source, what, f"name the whole, {source.parent}, or choose `layout=folders`")
