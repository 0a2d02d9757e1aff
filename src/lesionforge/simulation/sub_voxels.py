"""The sub-voxels of a part of a scan: the signal and the field of each, to which small bodies are added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lesionforge.cohort.scan import FloatArray
from lesionforge.simulation.dipole import dipole_field
from lesionforge.simulation.inclusions import Inclusion, fill
from lesionforge.simulation.lattice import Box, Lattice
from lesionforge.simulation.materials import BLOOD, R2STAR_PER_PPM, TISSUES
from lesionforge.simulation.swi import CYCLES_PER_PPM_MS, TE_MS, ComplexArray, block_mean, echo, voxel_signal

PAD_MM = 4.0
PATCH_RADII = 7.0
"""The field of a bleed or calcification is computed as far as this many of its radii; there it has fallen to 1/343."""


@dataclass(frozen=True, kw_only=True)
class SubVoxels:
    """Sub-voxels at the echo time; bodies are added in place.

    Attributes:
        lattice: the sub-voxels.
        blocks: number of sub-voxels along each axis of a voxel of the scan.
        magnitude: ``(x, y, z)`` signal before dephasing.
        cycles: cycles by which the spins run ahead.
        te_ms: echo time in milliseconds.
    """

    lattice: Lattice
    blocks: tuple[int, int, int]
    magnitude: FloatArray
    cycles: FloatArray
    te_ms: float = TE_MS

    @classmethod
    def of(
        cls,
        tissue: FloatArray,
        chi_ppm: FloatArray,
        voxels: Lattice,
        *,
        veins: Sequence[Inclusion] = (),
        factors: tuple[int, int, int],
        slices: int = 1,
        te_ms: float = TE_MS,
    ) -> SubVoxels:
        """Divide voxels, and compute the field of their tissues and veins.

        Args:
            tissue: ``(x, y, z)`` signal of the voxels before dephasing, relative to white matter.
            chi_ppm: their susceptibility in ppm.
            voxels: their lattice.
            veins: veins, all of one susceptibility.
            factors: number of sub-voxels along each axis of a voxel.
            slices: number of voxels along z in a voxel of the scan.
            te_ms: echo time in milliseconds.
        """
        lattice = voxels.divided(factors)
        blood = fill(veins, lattice)
        chi, magnitude = _divided(chi_ppm, factors), _divided(tissue, factors)
        if veins:
            flat = np.ascontiguousarray(blood).ravel()
            place = np.flatnonzero(flat)
            chi.ravel()[place] += veins[0].chi_ppm * flat[place]
            tissue_there = magnitude.ravel()[place]
            magnitude.ravel()[place] += flat[place] * (echo(BLOOD, te_ms) / echo(TISSUES["wm"], te_ms) - tissue_there)
        cycles = dipole_field(chi, lattice.spacing, pad_mm=PAD_MM)
        cycles *= CYCLES_PER_PPM_MS * te_ms
        blocks = (factors[0], factors[1], factors[2] * slices)
        return cls(lattice=lattice, blocks=blocks, magnitude=magnitude, cycles=cycles, te_ms=te_ms)

    @property
    def everywhere(self) -> Box:
        """The box of all sub-voxels."""
        x, y, z = (slice(0, n) for n in self.lattice.shape)
        return (x, y, z)

    def add(self, body: Inclusion) -> Box:
        """Add a bleed or calcification and return the box of sub-voxels that it changes, in whole voxels."""
        reach = PATCH_RADII * body.radii.max()
        box = self.lattice.box_around(body.points.min(0) - reach, body.points.max(0) + reach, self.blocks)
        part = self.lattice.part(box)
        share = fill([body], part)
        field_ppm = dipole_field(share * np.float32(body.chi_ppm), part.spacing, pad_mm=reach)
        self.cycles[box] += field_ppm * np.float32(CYCLES_PER_PPM_MS * self.te_ms)
        left = np.exp(-self.te_ms / 1000 * R2STAR_PER_PPM * abs(body.chi_ppm))
        self.magnitude[box] *= 1 - share * np.float32(1 - left)
        return box

    def voxels(self, box: Box) -> Box:
        """Return the box of voxels that a box of sub-voxels fills."""
        x, y, z = (slice(axis.start // n, axis.stop // n) for axis, n in zip(box, self.blocks, strict=True))
        return (x, y, z)

    def signal(self, box: Box) -> ComplexArray:
        """Return the complex signal of the voxels that a box of sub-voxels fills."""
        return voxel_signal(self.magnitude[box], self.cycles[box], self.blocks)

    def share(self, body: Inclusion, box: Box) -> FloatArray:
        """Return the share of each voxel, in a box of sub-voxels, that a body fills."""
        return block_mean(fill([body], self.lattice.part(box)), self.blocks)


def _divided(values: FloatArray, factors: tuple[int, int, int]) -> FloatArray:
    """Return the values of the sub-voxels of voxels that are uniform."""
    (x, y, z), (i, j, k) = values.shape, factors
    divided = np.empty((x, i, y, j, z * k), np.float32)
    divided[...] = np.repeat(values, k, axis=2)[:, None, :, None]
    return divided.reshape(x * i, y * j, z * k)
