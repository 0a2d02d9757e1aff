"""The two kinds of plan: for arms (does synthetic data help segmentation?) and for methods that remove lesions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lesionforge.benchmark.healing.healing_plan import HealingPlan
from lesionforge.benchmark.plan import Plan
from lesionforge.benchmark.plan_file import PRESETS, plan_content
from lesionforge.benchmark.report.made_of import Source, changed_options
from lesionforge.config import parse_options


def source_of(
    path: Path, *, scale: str | None = None, changes: Mapping[str, Any] | None = None, command: str | None = None
) -> Source:
    """Return the origin of a plan, for its report."""
    content = plan_content(path, scale=scale, changes=changes)
    differs = changed_options(plan_content(path, scale=scale), content)
    name = path.stem if path in PRESETS.values() else path.name
    return Source(plan=name, scale=scale, changes=differs, command=command)


def study_plan(path: Path, *, scale: str | None = None, changes: Mapping[str, Any] | None = None) -> Plan | HealingPlan:
    """Read a plan file: a :class:`HealingPlan` if it has ``methods``, else a :class:`Plan`.

    Args:
        path: the plan file.
        scale: name of one of the plan's scales; its changes are applied first.
        changes: further changes, applied after those of the scale.

    Raises:
        ConfigError: if the file is missing or is not a plan, an option is unknown, or the scale does not exist.
    """
    content = plan_content(path, scale=scale, changes=changes)
    if "methods" in content:
        return parse_options(HealingPlan, content, file=path)
    return parse_options(Plan, content, file=path)
