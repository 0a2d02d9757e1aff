"""Small bodies in a head: veins, bleeds and calcifications, each a chain of balls; the share of voxels they fill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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

    The share falls over one sub-voxel at the surface of a ball. That of a tube thinner than a sub-voxel is reduced, so
    that a tube of any width keeps its cross-section.
    """
    shares = np.zeros(lattice.shape, np.float32)
    if not inclusions:
        return shares
    points = np.concatenate([inclusion.points for inclusion in inclusions])
    radii = np.concatenate([inclusion.radii for inclusion in inclusions]).astype(np.float64)
    step = float(lattice.spacing.mean())
    reach = np.ceil((radii + step / 2) / step).astype(int)
    for size in np.unique(reach):
        chosen = reach == size
        _fill_balls(shares, points[chosen], radii[chosen], lattice, step, int(size))
    return shares


def _fill_balls(
    shares: FloatArray, points: FloatArray, radii: FloatArray, lattice: Lattice, step: float, reach: int
) -> None:
    """Raise the shares around balls to those of the balls, up to ``reach`` sub-voxels from their centres."""
    nearest = np.rint((points - lattice.origin) / lattice.spacing).astype(int)
    thin = np.where(radii < step / 2, 3 * step * radii**2 / (radii + step / 2) ** 3, 1)
    for offset in np.ndindex(*(2 * reach + 1,) * 3):
        index = nearest + np.array(offset) - reach
        inside = ((index >= 0) & (index < lattice.shape)).all(1)
        index, balls = index[inside], points[inside]
        distance = np.linalg.norm(lattice.origin + index * lattice.spacing - balls, axis=1)
        share = thin[inside] * np.clip((radii[inside] - distance) / step + 0.5, 0, 1)
        np.maximum.at(shares, tuple(index.T), share.astype(np.float32))
