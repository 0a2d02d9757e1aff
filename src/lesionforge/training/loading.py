"""Errors of ours on their way out of loader processes.

A loader process hands the text of an error over, not the error; and MONAI raises an error of its own from what went
wrong in a transform.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from torch.utils.data import Dataset, default_collate

from lesionforge.errors import LesionforgeError, own_error


class OwnErrors(Dataset[Any]):
    """Gives the items of a dataset, or our error in the place of one that cannot be made.

    Args:
        items: map-style.
    """

    def __init__(self, items: Dataset[Any]) -> None:
        self.items = items

    def __getitem__(self, draw: int) -> Any:
        try:
            return self.items[draw]
        except Exception as error:
            own = own_error(error)
            if own is None:
                raise
            return own


def collate(items: Sequence[Any]) -> Any:
    """Return the batch of some items, or the first error among them."""
    errors = [item for item in items if isinstance(item, LesionforgeError)]
    return errors[0] if errors else default_collate(list(items))


class RaiseOwnErrors(Callback):
    """Raises the error that came in the place of a batch."""

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Look at the batch.

        Raises:
            LesionforgeError: that the loader gave.
        """
        if isinstance(batch, LesionforgeError):
            raise batch
