"""Loading of a trained segmentation network, whatever its method."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from lesionforge.errors import ModelError
from lesionforge.tasks.registry import TASKS
from lesionforge.tasks.segmentation.segmentation_task import SegmentationTask
from lesionforge.training.loop import Device
from lesionforge.training.model_folder import read_info


def load_segmentation(folder: Path, *, device: Device = "cpu") -> SegmentationTask:
    """Read the model folder of ``segmentation`` or of a task derived from it.

    Args:
        folder: the model folder.
        device: device for prediction.

    Raises:
        ModelError: if ``folder`` is not the model folder of a segmentation task.
    """
    method = read_info(folder).method
    if method not in TASKS or not issubclass(TASKS[method], SegmentationTask):
        raise ModelError(folder, f"is a model of {method}", "name a model that `segment train` made")
    return cast("type[SegmentationTask]", TASKS[method]).load(folder, device=device)
