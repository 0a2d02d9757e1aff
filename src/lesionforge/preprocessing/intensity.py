"""From intensities of files to intensities of models, and back."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from skimage.filters import threshold_otsu

from lesionforge.cohort.inspection.measure import head_levels
from lesionforge.cohort.scan import FloatArray

Range = tuple[float, float]


class Head(BaseModel):
    """Limits from a scan's own head, wide enough for lesions; values beyond continue linearly and are not cut.

    The lower limit is 0, or the 0.5th percentile of a scan with negative intensities. The upper limit is the 99.5th
    percentile of the head, or higher if lesions are brighter: ``reach`` times as far from the lower limit as the head's
    median. Unlike the percentile, the median is the same with and without a lesion.

    Attributes:
        reach: for each channel, the reach of the brightest lesion of the training cases; empty = 1 for all channels.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    clips: ClassVar[bool] = False

    kind: Literal["head"] = "head"
    reach: tuple[float, ...] = ()

    def limits(self, image: FloatArray) -> list[Range]:
        """Return, for each channel of ``(channel, x, y[, z])``, the intensities that map to the ends of the range."""
        pairs = zip(map(head_levels, image), self.reach or (1.0,) * len(image), strict=True)
        return [(head.low, max(head.high, head.low + reach * (head.typical - head.low))) for head, reach in pairs]


class Percentile(BaseModel):
    """Clip a scan to [0, its own percentile], as published; this flattens small bright lesions.

    Attributes:
        upper: the percentile, in %, over all voxels of the scan; 100 clips only negative values.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    clips: ClassVar[bool] = True

    kind: Literal["percentile"] = "percentile"
    upper: float = Field(default=99.5, gt=0, le=100)

    def limits(self, image: FloatArray) -> list[Range]:
        """Return, for each channel of ``(channel, x, y[, z])``, the intensities that map to the ends of the range."""
        highest = [float(np.percentile(channel, self.upper)) for channel in image]
        return [(0.0, h if h > 0 else float(max(c.max(), 1.0))) for h, c in zip(highest, image, strict=True)]


class Window(BaseModel):
    """Clip to fixed limits, such as a window in Hounsfield units.

    Attributes:
        lower: intensity that maps to the lower end of the model's range.
        upper: intensity that maps to the upper end.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    clips: ClassVar[bool] = True

    kind: Literal["window"] = "window"
    lower: float
    upper: float

    def limits(self, image: FloatArray) -> list[Range]:
        """Return the window for each channel, the same for every scan."""
        return [(self.lower, self.upper)] * len(image)


def tissue_level(channel: FloatArray) -> float:
    """Return the median intensity of tissue, which differs less between scanners than the brightest parts do.

    Tissue is everything above Otsu's threshold of the logarithm.

    Args:
        channel: ``(x, y[, z])``, 0 or more; if it is 0 everywhere, the level is 1.
    """
    if channel.max() <= 0:
        return 1.0
    logarithm = np.log1p(np.maximum(channel, 0) / max(float(channel.max()), 1e-6) * 255)
    tissue = channel[logarithm > threshold_otsu(logarithm)]
    return float(np.median(tissue)) if tissue.size else float(channel.max())


Intensity = Annotated[Head | Percentile | Window, Field(discriminator="kind")]


def to_model(values: FloatArray, limits: Range, output: Range, *, clip: bool = True) -> FloatArray:
    """Map ``limits`` linearly to ``output``; values beyond are cut, or continue linearly with ``clip=False``."""
    (low, high), (start, end) = limits, output
    unit = ((np.clip(values, low, high) if clip else values) - low) / (high - low)
    return (unit * (end - start) + start).astype(np.float32)


def to_file(values: FloatArray, limits: Range, output: Range) -> FloatArray:
    """Map ``output`` linearly back to ``limits``: the inverse of :func:`to_model` where it cuts nothing."""
    (low, high), (start, end) = limits, output
    unit = (values.astype(np.float64) - start) / (end - start)
    return (unit * (high - low) + low).astype(np.float32)
