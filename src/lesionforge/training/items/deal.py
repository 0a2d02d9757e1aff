"""How the training items are dealt to their sources."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lesionforge.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Fade:
    """Linear fall of the synthetic share to 0 during a run.

    Attributes:
        first: number of the item with which the fall begins.
        last: number of the item from which on the share is 0.
    """

    first: float
    last: float

    @classmethod
    def over(cls, items: int, part: tuple[float, float]) -> Fade:
        """Return the fall between two shares of a run.

        Args:
            items: number of training items of the run.
            part: shares of the run at which the fall begins and ends.

        Raises:
            ConfigError: if they are not two ascending numbers from 0 to 1, or nothing falls between them.
        """
        begin, end = part
        if not 0 <= begin <= end <= 1 or begin == 1 or end == 0:
            remedy = "give two shares of the steps in ascending order, such as 0.5 and 0.8"
            raise ConfigError("fade", f"there is no fall from {begin:g} to {end:g} of the steps", remedy)
        return cls(first=begin * items, last=end * items)

    def left(self, draw: int) -> float:
        """Return the factor on the synthetic share at an item, 1 to 0."""
        if draw < self.first:
            return 1.0
        return 0.0 if draw >= self.last else (self.last - draw) / (self.last - self.first)


def deal(draw: int, ends: NDArray[np.float64], fade: Fade | None = None) -> int:
    """Return the index of an item's source, so that every run of consecutive items has nearly the given shares.

    Multiples of the golden ratio fill [0, 1) evenly.

    Args:
        draw: number of the item.
        ends: cumulative shares of the sources.
        fade: fall of the shares of all sources but the first, which takes what they lose.
    """
    if fade is not None:
        ends = 1 - fade.left(draw) * (1 - ends)
    return min(int(np.searchsorted(ends, (draw * 0.6180339887498949) % 1.0, side="right")), len(ends) - 1)
