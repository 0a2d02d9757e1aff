"""How the training items are dealt to their sources."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def deal(draw: int, ends: NDArray[np.float64]) -> int:
    """Return the index of an item's source, so that every run of consecutive items has nearly the given shares.

    Multiples of the golden ratio fill [0, 1) evenly.

    Args:
        draw: number of the item.
        ends: cumulative shares of the sources.
    """
    return min(int(np.searchsorted(ends, (draw * 0.6180339887498949) % 1.0, side="right")), len(ends) - 1)
