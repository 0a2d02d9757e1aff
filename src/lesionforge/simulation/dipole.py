"""The magnetic field of a susceptibility map in the main field along z."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from lesionforge.cohort.scan import FloatArray


def dipole_field(chi_ppm: FloatArray, spacing: Sequence[float] | NDArray[np.float64], *, pad_mm: float) -> FloatArray:
    """Return the relative change of the field along z, in ppm of the main field.

    The map is convolved with the field of a unit dipole, which is D(k) = 1/3 - k_z²/k² in the Fourier domain, with
    the sphere of Lorentz taken out (Salomir et al., Concepts Magn Reson B 2003; 19B: 26, equation 8; Marques and
    Bowtell, ibid. 2005; 25B: 65). D(0) is 0.

    Args:
        chi_ppm: ``(x, y, z)`` susceptibility in ppm, 0 beyond its ends.
        spacing: distance of neighbours in mm along x, y, z.
        pad_mm: the least length in mm of the zeros between the map and its periodic copies.
    """
    shape = [
        fft.next_fast_len(int(np.ceil(n + pad_mm / step)), real=True)
        for n, step in zip(chi_ppm.shape, spacing, strict=True)
    ]
    waves = fft.rfftn(chi_ppm.astype(np.float32, copy=False), shape)
    x, y = (fft.fftfreq(n, step)[:, None] ** 2 for n, step in zip(shape[:2], spacing[:2], strict=True))
    z = fft.rfftfreq(shape[2], spacing[2]) ** 2
    for plane, kx in zip(waves, x[:, 0], strict=True):
        total = (kx + y + z).astype(np.float32)
        total[total == 0] = np.inf
        plane *= np.float32(1 / 3) - z.astype(np.float32) / total
    if waves.size:
        waves[0, 0, 0] = 0
    field = fft.irfftn(waves, shape, overwrite_x=True)
    nx, ny, nz = chi_ppm.shape
    return np.asarray(field[:nx, :ny, :nz])
