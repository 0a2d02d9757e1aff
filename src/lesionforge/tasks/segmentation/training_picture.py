"""What a segmentation network finds in training items: shows whether it learns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from matplotlib.figure import Figure
from monai.networks.utils import eval_mode
from torch import nn
from torch.utils.data import Dataset

from lesionforge.cohort.inspection.contact_sheet import CLASS_COLOURS
from lesionforge.cohort.inspection.panels import Panel, sheet, window_of

ITEMS = 4


def training_picture(network: nn.Module, items: Dataset[Any]) -> Figure:
    """Return a figure of the first training items, with the true and the found lesions outlined.

    Of a volume it shows the slice with the largest lesion.

    Args:
        network: maps ``(batch, channel, x, y[, z])`` to logits.
        items: items with ``image`` ``(channel, x, y[, z])`` and ``label`` ``(1, x, y[, z])``.
    """
    return sheet([_row(network, items[draw]) for draw in range(ITEMS)])


def _row(network: nn.Module, item: dict[str, torch.Tensor]) -> list[Panel | None]:
    device = next(network.parameters()).device
    with eval_mode(network):
        found = network(item["image"][None].to(device)).argmax(1)[0].cpu()
    image, truth = item["image"][0], item["label"][0]
    if image.ndim == 3:
        z = int((truth > 0).sum((0, 1)).argmax())
        image, truth, found = image[..., z], truth[..., z], found[..., z]
    shown = image.T.flip(0).numpy()
    panel = Panel(image=shown, window=window_of(shown), aspect=1.0)
    return [
        replace(panel, title=title, outlines={CLASS_COLOURS[0]: label.T.flip(0).numpy()})
        for title, label in (("truth", truth), ("found", found))
    ]
