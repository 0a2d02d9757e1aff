"""Interface of a segmentation network that scores use to find lesions."""

from __future__ import annotations

from typing import Protocol

from lesionforge.cohort.scan import FloatArray, LabelArray, Scan
from lesionforge.training.model_folder import ModelInfo


class FindsLesions(Protocol):
    """Segmentation network, such as :class:`~lesionforge.tasks.segmentation.segmentation_task.SegmentationTask`."""

    @property
    def info(self) -> ModelInfo:
        """Training cases, options and preprocessing of the network."""

    def predict(self, scan: Scan, *, image: FloatArray | None = None) -> LabelArray:
        """Return the predicted ``(x, y[, z])`` lesion classes of a scan, or of ``image`` if it is given."""
