"""Apparent diffusion coefficients: scanners and converters store them in different units."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from lesionforge.cohort.scan import read_image
from lesionforge.files import atomic

PLAUSIBLE = (0.3, 4.0)
"""Median over a head, in 10⁻³ mm²/s: tissue has 0.6 to 1, cerebrospinal fluid about 3."""


def adc_to_common_unit(file: Path) -> bool:
    """Rewrite an ADC map in mm²/s or 10⁻⁶ mm²/s in 10⁻³ mm²/s, as float32; return whether that was done.

    The unit is told by the median of the values that are not 0. A map that fits no unit stays as it is.

    Raises:
        CohortError: if the file cannot be read.
    """
    values, affine = read_image(file)
    median = float(np.median(np.abs(values[values != 0])))
    factor = next((f for f in (1.0, 1e3, 1e-3) if PLAUSIBLE[0] <= f * median <= PLAUSIBLE[1]), 1.0)
    if factor == 1.0:
        return False
    with atomic(file) as temporary:
        nib.save(nib.Nifti1Image((values * factor).astype(np.float32), affine), temporary)
    return True
