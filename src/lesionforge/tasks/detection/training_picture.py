"""How sure a classifier of candidates is of training patches: shows whether it learns."""

from __future__ import annotations

from typing import Any

import torch
from matplotlib.figure import Figure
from monai.networks.utils import eval_mode
from torch import Tensor, nn
from torch.utils.data import Dataset

from lesionforge.cohort.inspection.panels import Panel, sheet, window_of

ITEMS, ACROSS = 24, 6


def training_picture(network: nn.Module, items: Dataset[Any]) -> Figure:
    """Return a figure of training patches: a row with a lesion, a row without, each with its confidence.

    Of a 3D patch it shows the middle slice.

    Args:
        network: maps ``(batch, channel, x, y[, z])`` to a logit.
        items: items with ``image`` ``(channel, x, y[, z])`` and ``lesion`` ``(1,)``.
    """
    shown = [items[draw] for draw in range(ITEMS)]
    device = next(network.parameters()).device
    with eval_mode(network):
        logits = network(torch.stack([item["image"] for item in shown]).to(device))
    panels: dict[bool, list[Panel | None]] = {True: [], False: []}
    for item, sure in zip(shown, torch.sigmoid(logits)[:, 0].tolist(), strict=True):
        panels[bool(item["lesion"])].append(_panel(item["image"], sure))
    return sheet([row[:ACROSS] for row in panels.values() if row])


def _panel(patch: Tensor, sure: float) -> Panel:
    image = patch[0] if patch.ndim == 3 else patch[0, ..., patch.shape[-1] // 2]
    shown = image.T.flip(0).numpy()
    return Panel(image=shown, window=window_of(shown), aspect=1.0, title=f"{sure:.0%}")
