"""Apparent diffusion coefficients, which scanners and converters store in different units."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lesionforge.cohort.scan import read_image, save_image

PLAUSIBLE = (0.3, 4.0)
"""Median over a head, in 10⁻³ mm²/s: tissue has 0.6 to 1, cerebrospinal fluid about 3."""


def adc_to_common_unit(file: Path) -> bool:
    """Convert an ADC map from mm²/s or 10⁻⁶ mm²/s to 10⁻³ mm²/s, as float32; return whether it was converted.

    The median of the non-zero values determines the unit. A map that fits no unit stays as it is.

    Raises:
        CohortError: if the file cannot be read.
    """
    values, _ = read_image(file)
    median = float(np.median(np.abs(values[values != 0])))
    factor = next((f for f in (1.0, 1e3, 1e-3) if PLAUSIBLE[0] <= f * median <= PLAUSIBLE[1]), 1.0)
    if factor == 1.0:
        return False
    save_image(file, values * factor, file)
    return True
