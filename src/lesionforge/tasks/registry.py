"""Registry of the tasks. To add a task, add a line here, or an entry point in another package."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lesionforge.registry import Registry

if TYPE_CHECKING:
    from lesionforge.tasks.base import Task

TASKS: Registry[Task] = Registry(
    "a task",
    {
        "segmentation": "lesionforge.tasks.segmentation.segmentation_task:SegmentationTask",
        "pix2pix_segmentation": "lesionforge.tasks.segmentation.pix2pix_segmentation:Pix2PixSegmentation",
        "nnunet": "lesionforge.tasks.nnunet.nnunet_task:NnUNetTask",
        "detection": "lesionforge.tasks.detection.detection_task:DetectionTask",
    },
    group="lesionforge.tasks",
)
