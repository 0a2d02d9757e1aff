"""Small bodies in a head: veins, bleeds and calcifications, each a chain of balls; the share of voxels they fill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lesionforge.cohort.scan import FloatArray
from lesionforge.simulation.lattice import Lattice


@dataclass(frozen=True, kw_only=True)
class Inclusion:
    """A chain of balls.

    Attributes:
        kind: ``microbleed``, ``vein`` or ``calcification``.
        points: ``(n, 3)`` centres of the balls in mm, less than a sub-voxel apart along the chain.
        radii: ``(n,)`` radii in mm.
        chi_ppm: susceptibility above that of the tissue around it, in ppm.
    """

    kind: str
    points: FloatArray
    radii: FloatArray
    chi_ppm: float

    @property
    def centre(self) -> FloatArray:
        """Middle of the chain, ``(3,)`` in mm."""
        return np.asarray(self.points[len(self.points) // 2])


def fill(inclusions: Sequence[Inclusion], lattice: Lattice) -> FloatArray:
    """Return the share, 0 to 1, of each point's sub-voxel that lies in any of the inclusions.

    The share falls over one sub-voxel at the surface of a ball. Radii, or the shares of tubes thinner than a sub-voxel,
    are reduced for it, so that a tube of any width keeps its cross-section.
    """
    step = float(lattice.spacing.mean())
    pad = 1 + max((int(np.ceil(body.radii.max() / step)) for body in inclusions), default=0)
    shares = np.zeros([n + 2 * pad for n in lattice.shape], np.float32)
    if inclusions:
        points = np.concatenate([body.points for body in inclusions])
        radii = np.concatenate([body.radii for body in inclusions]).astype(np.float32) / step
        places = (points - lattice.origin) / lattice.spacing
        inside = ((places >= 0) & (places <= np.array(lattice.shape) - 1)).all(1)
        reach = np.ceil(radii + 0.5).astype(int)
        for size in np.unique(reach[inside]):
            chosen = inside & (reach == size)
            _fill_balls(shares, places[chosen] + pad, radii[chosen], int(size))
    return shares[pad:-pad, pad:-pad, pad:-pad]


def _fill_balls(shares: FloatArray, places: NDArray[np.float64], radii: FloatArray, reach: int) -> None:
    """Raise the shares around balls to those of the balls; places, radii and reach are in sub-voxels."""
    nearest = np.rint(places).astype(int)
    index = np.ravel_multi_index(tuple(nearest.T), shares.shape)
    steps = np.arange(-reach, reach + 1)
    squares = ((nearest - places).T[..., None] + steps).astype(np.float32) ** 2
    thin = np.where(radii < 0.5, 3 * radii**2 / (radii + 0.5) ** 3, 1).astype(np.float32)
    radii = np.where(radii < 0.5, radii, np.sqrt(np.maximum(radii**2 - 1 / 12, 0))).astype(np.float32)
    flat, strides = shares.ravel(), np.array(shares.strides) // shares.itemsize
    for i, j, k in np.argwhere(sum(axis**2 for axis in np.ix_(steps, steps, steps)) <= (reach + 1) ** 2):
        distance = np.sqrt(squares[0, :, i] + squares[1, :, j] + squares[2, :, k])
        share = thin * np.clip(radii - distance + np.float32(0.5), 0, 1)
        near = np.flatnonzero(share)
        np.maximum.at(flat, index[near] + steps[[i, j, k]] @ strides, share[near])
