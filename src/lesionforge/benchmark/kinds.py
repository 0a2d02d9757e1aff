"""The two kinds of study: what helps a segmentation network, and which method removes lesions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lesionforge.benchmark.folds import cross_validate
from lesionforge.benchmark.healing.plan import HealingPlan
from lesionforge.benchmark.healing.run import run_healing
from lesionforge.benchmark.plan import PRESETS, Plan, plan_content
from lesionforge.benchmark.provenance import Source, changed_options
from lesionforge.benchmark.run import run_benchmark
from lesionforge.config import parse_options


def read_study(
    path: Path, *, scale: str | None = None, changes: Mapping[str, Any] | None = None, command: str | None = None
) -> Callable[..., str]:
    """Read a plan and return what runs it.

    That is :func:`run_healing` for one with ``methods``, :func:`cross_validate` for one with folds, else
    :func:`run_benchmark`.

    Args:
        path: the plan.
        scale: one of its scales.
        changes: laid over that.
        command: the command line, for the report.

    Raises:
        ConfigError: if the file is missing or no plan, an option is unknown, or there is no such scale.
    """
    content = plan_content(path, scale=scale, changes=changes)
    differs = changed_options(plan_content(path, scale=scale), content)
    name = path.stem if path in PRESETS.values() else path.name
    source = Source(plan=name, scale=scale, changes=differs, command=command)
    if "methods" in content:
        return partial(run_healing, parse_options(HealingPlan, content, file=path), source=source)
    plan = parse_options(Plan, content, file=path)
    whole = plan.subjects.folds is not None and plan.subjects.fold is None
    return partial(cross_validate if whole else run_benchmark, plan, source=source)
