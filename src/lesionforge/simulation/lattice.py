"""A regular lattice of points in millimetres: the sub-voxels of a scan, or a part of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionforge.cohort.scan import FloatArray
from lesionforge.simulation.head import Grid
from lesionforge.simulation.separable import along_axes, interpolation

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, kw_only=True)
class Lattice:
    """Points along x, y and z.

    Attributes:
        origin: ``(3,)`` position of the first point in mm.
        spacing: ``(3,)`` distance of neighbours in mm.
        shape: number of points along x, y, z.
    """

    origin: NDArray[np.float64]
    spacing: NDArray[np.float64]
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, grid: Grid) -> Lattice:
        """Return the voxel centres of a grid."""
        return cls(origin=grid.affine[:3, 3], spacing=np.array(grid.spacing), shape=grid.shape)

    @cached_property
    def axes(self) -> tuple[NDArray[np.float64], ...]:
        """Positions in mm along x, y and z."""
        axes = zip(self.origin, self.spacing, self.shape, strict=True)
        return tuple(start + step * np.arange(n) for start, step, n in axes)

    def part(self, box: Box) -> Lattice:
        """Return the points in a box of indices."""
        starts = np.array([axis.start for axis in box])
        x, y, z = (axis.stop - axis.start for axis in box)
        return Lattice(origin=self.origin + starts * self.spacing, spacing=self.spacing, shape=(x, y, z))

    def divided(self, factors: tuple[int, int, int]) -> Lattice:
        """Return the lattice of the sub-voxels when each voxel is divided by ``factors``."""
        step = self.spacing / factors
        x, y, z = (n * k for n, k in zip(self.shape, factors, strict=True))
        return Lattice(origin=self.origin - self.spacing / 2 + step / 2, spacing=step, shape=(x, y, z))

    def covering(self, spacing: float) -> Lattice:
        """Return cubes of ``spacing`` mm that cover the voxels of this lattice."""
        size = self.spacing * self.shape
        x, y, z = np.ceil(size / spacing).astype(int)
        start = self.origin - self.spacing / 2 + spacing / 2
        return Lattice(origin=start, spacing=np.full(3, spacing), shape=(int(x), int(y), int(z)))

    def box_around(
        self, low: NDArray[np.floating[Any]], high: NDArray[np.floating[Any]], blocks: tuple[int, int, int]
    ) -> Box:
        """Return the box of indices from ``low`` to ``high`` in mm, cut at the lattice, in whole blocks of points."""
        box = []
        for a, b, start, step, n, block in zip(low, high, self.origin, self.spacing, self.shape, blocks, strict=True):
            first = int(np.clip((a - start) / step, 0, n - 1)) // block * block
            last = (int(np.clip((b - start) / step, 0, n - 1)) // block + 1) * block
            box.append(slice(first, last))
        return (box[0], box[1], box[2])


def resample(values: FloatArray, source: Lattice, target: Lattice) -> FloatArray:
    """Return ``(x, y, z)`` values of one lattice on another, by linear interpolation; ends are continued."""
    return along_axes(
        values,
        [
            interpolation((there - start) / step, n)
            for there, start, step, n in zip(target.axes, source.origin, source.spacing, source.shape, strict=True)
        ],
    )
