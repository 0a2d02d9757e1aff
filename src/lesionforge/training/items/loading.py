"""Passing lesionforge's own errors from data loader processes to the training process.

A loader process passes on only the text of an error, and MONAI replaces an error in a transform by its own. So our
errors travel in place of the item or batch and are raised in the training process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from torch.utils.data import Dataset, default_collate

from lesionforge.errors import LesionforgeError, own_error


class OwnErrors(Dataset[Any]):
    """Dataset that returns a :class:`LesionforgeError` as the item if the item cannot be made.

    Args:
        items: map-style dataset.
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
    """Return the batch of the items, or the first error among them."""
    errors = [item for item in items if isinstance(item, LesionforgeError)]
    return errors[0] if errors else default_collate(list(items))


class RaiseOwnErrors(Callback):
    """Callback that raises an error that arrives in place of a batch."""

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Raise the batch if it is an error.

        Raises:
            LesionforgeError: the error from the loader.
        """
        if isinstance(batch, LesionforgeError):
            raise batch
