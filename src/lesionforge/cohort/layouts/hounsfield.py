"""Computed tomography in Hounsfield units, clipped to a window before training."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lesionforge.cohort.scan import FloatArray
from lesionforge.errors import CohortError

Window = tuple[float, float]


def in_window(image: FloatArray, window: Window, file: Path) -> FloatArray:
    """Return a scan clipped to a window, whose lower end becomes 0.

    Args:
        image: ``(x, y[, z])`` in Hounsfield units.
        window: its two ends, such as 0 and 80 for the brain.
        file: the file that the error names.

    Raises:
        CohortError: if no intensity of the scan lies in the window.
    """
    low, high = window
    if image.max() <= low or image.min() >= high:
        what = f"holds {image.min():g} … {image.max():g}, nothing in the window {low:g} … {high:g}"
        raise CohortError(file, what, "give a window in the units of the file")
    return np.clip(image, low, high) - low
