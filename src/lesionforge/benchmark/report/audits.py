"""Audits of synthetic cohorts in a benchmark folder, those of its plan and others, for its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lesionforge.audit.audit_folder import SUMMARY
from lesionforge.errors import CohortError
from lesionforge.reading import read_json

FOLDERS = ("audits/*", "runs/*/*/audits/*")
"""Where a benchmark folder holds audits: those that somebody wrote there, and those of its plan."""
REMEDY = "make the audit again, or move its folder away"


def audits_in(folder: Path) -> list[dict[str, Any]]:
    """Return name and sections of every audit in a benchmark folder.

    Raises:
        CohortError: if an ``audit.json`` is damaged.
    """
    found = []
    for path in [path for where in FOLDERS for path in sorted(folder.glob(f"{where}/{SUMMARY}"))]:
        content = read_json(path, remedy=REMEDY)
        sections = content.get("sections") if isinstance(content, dict) else None
        keys = {"title", "main", "details", "cannot"}
        if not isinstance(sections, list) or any(not isinstance(part, dict) or keys - {*part} for part in sections):
            raise CohortError(path, "does not hold the findings of an audit", REMEDY)
        found.append({"name": path.parent.name, "sections": sections})
    return found
