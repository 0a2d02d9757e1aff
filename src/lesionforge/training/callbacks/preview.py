"""Preview pictures during training, which show whether it works."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from matplotlib.figure import Figure

from lesionforge.files import atomic


class Preview(Callback):
    """Callback that saves a figure as ``previews/epoch_NNNNN.png`` at the end of an epoch, at most every ``minutes``.

    The first and the last epoch always get a picture. It is saved before the checkpoint, so a run that is killed in
    between saves it again when it is resumed.

    Args:
        draw: returns the figure.
        folder: folder of the pictures.
        minutes: minimum time between two pictures.
    """

    def __init__(self, draw: Callable[[], Figure], folder: Path, *, minutes: float) -> None:
        self.draw, self.folder, self.seconds = draw, folder, minutes * 60
        self.last = float("-inf")

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Save a picture if one is due."""
        done = trainer.current_epoch + 1
        ends = trainer.should_stop or done == trainer.max_epochs
        if trainer.is_global_zero and (ends or time.monotonic() - self.last >= self.seconds):
            save_figure(self.folder / f"epoch_{done:05d}.png", self.draw())
            self.last = time.monotonic()


def save_figure(path: Path, figure: Figure) -> None:
    """Write a figure as a PNG file atomically."""
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=100, format="png")


def montage(rows: list[dict[str, Any]]) -> Figure:
    """Return a figure of grey-scale images: one row per dictionary, one column per name.

    All images of a row share one intensity scale.
    """
    columns = list(rows[0])
    figure = Figure(figsize=(1.6 * len(columns), 1.7 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for r, row in enumerate(rows):
        low, high = min(v.min() for v in row.values()), max(v.max() for v in row.values())
        for c, name in enumerate(columns):
            axes[r, c].imshow(row[name].T, cmap="gray", vmin=low, vmax=high, origin="lower")
            axes[r, c].set_axis_off()
            if r == 0:
                axes[r, c].set_title(name, fontsize=9)
    return figure
