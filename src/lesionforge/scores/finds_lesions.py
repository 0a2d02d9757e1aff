"""What scores need of a network that finds lesions."""

from __future__ import annotations

from typing import Protocol

from lesionforge.cohort.scan import FloatArray, LabelArray, Scan
from lesionforge.training.model_folder import ModelInfo


class FindsLesions(Protocol):
    """A fitted network such as :class:`~lesionforge.tasks.segmentation.segmentation_task.SegmentationTask`."""

    @property
    def info(self) -> ModelInfo:
        """What it was trained on and how."""

    def predict(self, scan: Scan, *, image: FloatArray | None = None) -> LabelArray:
        """Return the ``(x, y[, z])`` lesion classes of a scan, or of another image in its place."""
