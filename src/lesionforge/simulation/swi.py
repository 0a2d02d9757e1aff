"""Susceptibility-weighted imaging: the complex signal of voxels from dephased sub-voxels, and the SWI made from it.

The phase of a voxel is -2π times the cycles by which its spins run ahead. So it is negative where the field is higher,
as in a vein along the field: the convention of a right-handed scanner (Haacke et al., Magn Reson Med 2004; 52: 612).
The phase mask suppresses negative phase, that is veins and bleeds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from lesionforge.cohort.scan import FloatArray
from lesionforge.simulation.materials import Material

ComplexArray = NDArray[np.complex64]

FIELD_T, TE_MS, TR_MS, FLIP_DEGREES = 3.0, 20.0, 27.0, 15.0
CYCLES_PER_PPM_MS = 42.577 * FIELD_T / 1000
"""Cycles for each ppm and millisecond: the gyromagnetic ratio of protons in MHz/T times the field."""
LOW_PASS_MM = 8.0
"""The high-pass filter of the phase removes what the low-pass window holds: waves longer than this, more the longer."""


def steady_state(material: Material) -> float:
    """Return the signal of a spoiled gradient echo at an echo time of 0; that of water aligned with the field is 1."""
    flip, decay = np.radians(FLIP_DEGREES), np.exp(-TR_MS / material.t1_ms)
    return float(material.density * np.sin(flip) * (1 - decay) / (1 - np.cos(flip) * decay))


def echo(material: Material, te_ms: float = TE_MS) -> float:
    """Return the signal of a material at the echo time, without dephasing by the field around it."""
    return steady_state(material) * float(np.exp(-te_ms / material.t2star_ms))


def voxel_signal(magnitude: FloatArray, cycles: FloatArray, blocks: tuple[int, int, int]) -> ComplexArray:
    """Return the complex mean of the sub-voxels of each voxel.

    The field within a sub-voxel is taken for linear; its dephasing, a product of sinc functions of the cycles across
    the sub-voxel, is that of a Gaussian with the same curvature.

    Args:
        magnitude: ``(x, y, z)`` signal of the sub-voxels before dephasing.
        cycles: cycles by which the spins of the sub-voxels run ahead at the echo time.
        blocks: number of sub-voxels along each axis of a voxel.
    """
    n, rows = blocks[0], cycles.shape[0]
    signal = np.empty(tuple(size // block for size, block in zip(cycles.shape, blocks, strict=True)), np.complex64)
    for voxel in range(signal.shape[0]):
        start, stop = voxel * n, (voxel + 1) * n
        first = max(start - 1, 0)
        spread = _squared_slope(cycles[first : min(stop + 1, rows)])[start - first : stop - first]
        weight = magnitude[start:stop] * np.exp(np.float32(-(np.pi**2) / 6) * spread)
        angle = np.float32(-2 * np.pi) * cycles[start:stop]
        signal.real[voxel] = block_mean(weight * np.cos(angle), blocks)[0]
        signal.imag[voxel] = block_mean(weight * np.sin(angle), blocks)[0]
    return signal


def _squared_slope(values: FloatArray) -> FloatArray:
    """Return the squared length of the gradient for each sub-voxel, by central differences; 0 across the ends."""
    squares = np.zeros_like(values)
    for axis in range(3):
        rows, along = np.moveaxis(squares, axis, 0), np.moveaxis(values, axis, 0)
        difference = along[2:] - along[:-2]
        difference *= difference
        rows[1:-1] += difference
    return np.multiply(squares, np.float32(0.25), out=squares)


def block_mean(values: FloatArray, blocks: tuple[int, int, int]) -> FloatArray:
    """Return the mean of each block of ``(x, y, z)`` values."""
    for axis, block in enumerate(blocks):
        rows = np.moveaxis(values, axis, 0)
        total = sum((rows[k::block] for k in range(1, block)), start=rows[::block])
        values = np.moveaxis(np.asarray(total), 0, axis)
    return np.asarray(values / np.float32(np.prod(blocks)), np.float32)


def low_pass(signal: ComplexArray, spacing: tuple[float, ...]) -> ComplexArray:
    """Return the slices of a complex ``(x, y, z)`` image, smoothed by a Hann window in the Fourier domain."""
    x, y = (fft.fftfreq(n, step) for n, step in zip(signal.shape[:2], spacing[:2], strict=True))
    radius = np.minimum(np.hypot(x[:, None], y) * LOW_PASS_MM, 1)
    window = (0.5 + 0.5 * np.cos(np.pi * radius)).astype(np.float32)[..., None]
    waves = fft.fft2(signal, axes=(0, 1))
    waves *= window
    return np.asarray(fft.ifft2(waves, axes=(0, 1), overwrite_x=True), np.complex64)


def high_pass_phase(signal: ComplexArray, smooth: ComplexArray) -> FloatArray:
    """Return the phase that remains, -π to π, when the phase of the smooth image is taken off: homodyne filtering."""
    return np.asarray(np.angle(signal * smooth.conj()), np.float32)


def weighted(signal: ComplexArray, phase: FloatArray) -> FloatArray:
    """Return the SWI: magnitude times the phase mask to the fourth power."""
    mask = np.clip(1 + phase / np.float32(np.pi), 0, 1)
    return np.asarray(np.abs(signal) * np.square(np.square(mask)), np.float32)
