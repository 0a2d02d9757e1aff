"""Which layout a folder or table has."""

from __future__ import annotations

from pathlib import Path

from lesionforge.cohort.layouts.base import Layout
from lesionforge.cohort.layouts.registry import LAYOUTS
from lesionforge.errors import CohortError


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
    if len(found) == 1:
        return found[0], signs[found[0]]
    if found:
        told = " and ".join(f"{layout.method} ({signs[layout]})" for layout in found)
        raise CohortError(source, f"has signs of several layouts: {told}", f"choose one, `layout={found[0].method}`")
    sought = "; ".join(f"{layout.method}: {layout.sought}" for layout in layouts if layout.sought)
    raise CohortError(source, f"has no known layout; looked for {sought}", "name the layout, or arrange the files so")
