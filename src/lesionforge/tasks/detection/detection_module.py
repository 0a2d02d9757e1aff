"""Training step of the classifier of candidates."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from lesionforge.tasks.scheduled_module import ScheduledModule


class DetectionModule(ScheduledModule):
    """Trains the classifier of candidates with cross-entropy; see :class:`ScheduledModule`."""

    def loss_of(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the cross-entropy of a batch of ``image`` and ``lesion``."""
        return binary_cross_entropy_with_logits(self.network(batch["image"]), batch["lesion"])
