"""Training step of a segmentation network."""

from __future__ import annotations

import torch
from monai.losses import DiceCELoss
from torch import Tensor, nn

from lesionforge.tasks.scheduled_module import ScheduledModule


class SegmentationModule(ScheduledModule):
    """Trains a segmentation network with cross-entropy plus Dice loss; see :class:`ScheduledModule`.

    Dice is computed over the batch and over the lesion classes only, as in nnU-Net. If the background counted as a
    class, a network that finds nothing would already have a low loss, and some training runs on small lesions would not
    get past that point.

    Args:
        network: maps ``(batch, channel, x, y[, z])`` to the logits of every class.
        learning_rate: peak learning rate.
        steps: number of steps after which the learning rate is zero.
        seed: seed of the dropout, which also depends on the step.
    """

    def __init__(self, network: nn.Module, *, learning_rate: float, steps: int, seed: int) -> None:
        super().__init__(network, learning_rate=learning_rate, steps=steps, seed=seed)
        self.loss = DiceCELoss(to_onehot_y=True, softmax=True, batch=True, include_background=False)

    def loss_of(self, batch: dict[str, Tensor]) -> Tensor:
        """Return Dice plus cross-entropy of a batch of ``image`` and ``label``."""
        return torch.as_tensor(self.loss(self.network(batch["image"]), batch["label"]))
