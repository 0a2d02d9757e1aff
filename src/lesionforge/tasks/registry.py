"""The tasks by name. A new one is a line here, or an entry point of another package."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lesionforge.registry import Registry

if TYPE_CHECKING:
    from lesionforge.tasks.base import Task

TASKS: Registry[Task] = Registry(
    "a task",
    {"segmentation": "lesionforge.tasks.segmentation.segmentation_task:SegmentationTask"},
    group="lesionforge.tasks",
)
