"""Intensities of files to intensities of models, and back."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from skimage.filters import threshold_otsu

from lesionforge.cohort.scan import FloatArray

Range = tuple[float, float]


class Percentile(BaseModel):
    """Clip a scan to [0, its own percentile].

    Attributes:
        upper: the percentile, in %, over all voxels of the scan; 100 clips nothing that is not negative.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["percentile"] = "percentile"
    upper: float = Field(default=99.5, gt=0, le=100)

    def limits(self, channel: FloatArray) -> Range:
        """Return the two intensities of this channel that become the ends of the model's range."""
        high = float(np.percentile(channel, self.upper))
        return 0.0, high if high > 0 else float(max(channel.max(), 1.0))


class Window(BaseModel):
    """Clip to fixed limits, such as a window in Hounsfield units.

    Attributes:
        lower: intensity that becomes the lower end of the model's range.
        upper: intensity that becomes the upper end.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["window"] = "window"
    lower: float
    upper: float

    def limits(self, channel: FloatArray) -> Range:
        """Return the window; it is the same for every scan."""
        return self.lower, self.upper


def tissue_level(channel: FloatArray) -> float:
    """Return the median intensity of tissue, which differs less between scanners than a scan's brightest parts do.

    Tissue is what lies above Otsu's threshold of the logarithm.

    Args:
        channel: ``(x, y[, z])``, 0 or more; not 0 everywhere.
    """
    logarithm = np.log1p(np.maximum(channel, 0) / max(float(channel.max()), 1e-6) * 255)
    tissue = channel[logarithm > threshold_otsu(logarithm)]
    return float(np.median(tissue)) if tissue.size else float(channel.max())


Intensity = Annotated[Percentile | Window, Field(discriminator="kind")]


def to_model(values: FloatArray, limits: Range, output: Range) -> FloatArray:
    """Clip ``values`` to ``limits`` and map these linearly to ``output``."""
    (low, high), (start, end) = limits, output
    unit = (np.clip(values, low, high) - low) / (high - low)
    return (unit * (end - start) + start).astype(np.float32)


def to_file(values: FloatArray, limits: Range, output: Range) -> FloatArray:
    """Map ``output`` linearly back to ``limits``: the inverse of :func:`to_model` for values within them."""
    (low, high), (start, end) = limits, output
    unit = (values.astype(np.float64) - start) / (end - start)
    return (unit * (high - low) + low).astype(np.float32)
