"""Crops cut out of arrays and pasted back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Crop:
    """A box on a spatial grid; cutting fills the parts beyond the grid.

    Attributes:
        start: first voxel along each axis.
        size: voxels along each axis.

    Example:
        >>> crop = Crop.around((1, 4), size=(2, 4), shape=(6, 6))
        >>> crop.start, crop.cut(np.zeros((6, 6))).shape
        ((0, 2), (2, 4))
    """

    start: tuple[int, ...]
    size: tuple[int, ...]

    @classmethod
    def around(cls, centre: Sequence[float], size: Sequence[int], shape: Sequence[int]) -> Crop:
        """Return the crop around ``centre``, moved into the grid of ``shape`` if it fits."""
        start = (int(np.clip(round(c) - s // 2, 0, max(0, n - s))) for c, s, n in zip(centre, size, shape, strict=True))
        return cls(tuple(start), tuple(size))

    def cut(self, array: Array, *, fill: float = 0) -> Array:
        """Return the crop of the last axes of ``array``, of exactly :attr:`size`."""
        part = array[self._index]
        missing = [n - have for n, have in zip(self.size, part.shape[-len(self.size) :], strict=True)]
        widths = [(0, 0)] * (array.ndim - len(self.size)) + [(0, m) for m in missing]
        return np.pad(part, widths, constant_values=fill) if any(missing) else part

    def paste(self, crop: Array, target: Array) -> None:
        """Write ``crop`` into ``target`` in place, without the parts beyond the grid."""
        place = target[self._index]
        inside: tuple[Any, ...] = (..., *(slice(0, n) for n in place.shape[-len(self.size) :]))
        place[...] = crop[inside]

    @property
    def _index(self) -> tuple[Any, ...]:
        return (..., *(slice(a, a + n) for a, n in zip(self.start, self.size, strict=True)))
