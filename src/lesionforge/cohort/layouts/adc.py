"""Apparent diffusion coefficients, which scanners and converters store in different units."""

from __future__ import annotations

import numpy as np

from lesionforge.cohort.scan import Scan

ADC = "ADC"
"""The name of the channel."""
PLAUSIBLE = (0.3, 4.0)
"""Median over a head, in 10⁻³ mm²/s: tissue has 0.6 to 1, cerebrospinal fluid about 3."""


def adc_factor(scan: Scan) -> float:
    """Return the factor that brings the ADC map of a volume from mm²/s or 10⁻⁶ mm²/s to 10⁻³ mm²/s.

    The median of the non-zero values determines the unit. It is 1 for a map that fits no unit, and without a map.
    """
    if scan.spatial_dims == 2 or ADC not in scan.channels:
        return 1.0
    values = scan.image[scan.channels.index(ADC)]
    median = float(np.median(np.abs(values[values != 0])))
    return next((f for f in (1.0, 1e3, 1e-3) if PLAUSIBLE[0] <= f * median <= PLAUSIBLE[1]), 1.0)
