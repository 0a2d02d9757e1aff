"""Sharpness of slices: the variance of the Laplacian, and two means of the magnitude spectrum.

Each scan's intensities are scaled so that its 0.5th percentile becomes 0 and its 99.5th percentile becomes 1, so a
linear change of intensity has no effect on the three measures. All of them depend on the pixel size, so compare only
images on the same grid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from nibabel.orientations import aff2axcodes
from numpy.typing import NDArray
from scipy import ndimage

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.inspection.measure import foreground, slice_axis
from lesionforge.cohort.scan import BoolArray, FloatArray, Scan, load_scan
from lesionforge.preprocessing.intensity import to_model
from lesionforge.scores.score import Score, by_name

Values = NDArray[np.float64]

WINDOW_PERCENTILES = (0.5, 99.5)


def laplacian_variance(slices: FloatArray, head: BoolArray) -> Values:
    """Return the variance of the Laplacian within the head; higher is sharper.

    Source: Pertuz et al. 2013 (LAPV), the measure used in the paper of the lesion-conditional GAN. It cannot tell
    detail from noise: both raise it. If there are a few strong edges, such as the skull in CT, they dominate the brain.

    Args:
        slices: ``(slice, x, y)`` from 0 to 1.
        head: ``(slice, x, y)`` mask of the head.

    Returns:
        ``(slice,)``, 0 or more; NaN for a slice without head.
    """
    edges = ndimage.laplace(np.asarray(slices, np.float64), mode="nearest", axes=(1, 2))
    with np.errstate(invalid="ignore"):
        mean = (edges * head).sum((1, 2)) / head.sum((1, 2))
        return np.asarray((np.square(edges - mean[:, None, None]) * head).sum((1, 2)) / head.sum((1, 2)))


def spectrum_mean(slices: FloatArray) -> Values:
    """Return the mean magnitude of the Fourier transform, the other measure of blur named in the paper.

    It does not measure blur, because all frequencies have equal weight: by Parseval's theorem it grows with the
    brightness and contrast of the slice. A blurred slice with high contrast has a larger mean than a sharp one with low
    contrast.

    Args:
        slices: ``(slice, x, y)`` from 0 to 1.

    Returns:
        ``(slice,)``, 0 or more. The transform is orthonormal, so white noise with standard deviation σ has 0.89 σ.
    """
    return np.asarray(_spectrum(slices)[0].mean((1, 2)))


def mean_frequency(slices: FloatArray) -> Values:
    """Return the mean frequency of the spectrum, weighted by magnitude.

    It is Σ f·|F| / Σ |F| over all frequencies f except 0. Brightness and contrast do not change it, and blur lowers it.
    It cannot tell detail from noise either.

    Args:
        slices: ``(slice, x, y)``.

    Returns:
        ``(slice,)`` cycles per pixel, 0 to 0.71; 0.38 for white noise, NaN for a constant slice.
    """
    magnitude, frequency = _spectrum(slices)
    magnitude = np.where(frequency > 0, magnitude, 0)
    total = magnitude.sum((1, 2))
    with np.errstate(invalid="ignore"):
        return np.asarray((magnitude * frequency).sum((1, 2)) / np.where(total > 1e-6, total, np.nan))


@dataclass(frozen=True, kw_only=True)
class Shown:
    """The slices of a scan whose sharpness is measured.

    Attributes:
        channels: ``(slice, x, y)`` array of each channel, from 0 to 1.
        head: ``(slice, x, y)`` mask of the head.
    """

    channels: list[FloatArray]
    head: BoolArray

    @classmethod
    def of(cls, scan: Scan) -> Shown:
        """Return the slices of a scan that show a lesion; if there are none, all slices that show the head.

        A 2D scan is one slice.
        """
        axis = slice_axis(scan.slicing_spacing, "".join(aff2axcodes(scan.affine))) if scan.spatial_dims == 3 else None
        head = _cut(foreground(scan.image[0]), axis)
        shown = head.any((1, 2))
        if scan.label is not None and scan.label.any():
            shown &= _cut(scan.label > 0, axis).any((1, 2))
        channels = []
        for channel in scan.image:
            low, high = np.percentile(channel, WINDOW_PERCENTILES)
            unit = to_model(channel, (float(low), float(max(high, low + 1e-6))), (0.0, 1.0))
            channels.append(_cut(unit, axis)[shown])
        return cls(channels=channels, head=head[shown])


SHARPNESS: Mapping[str, Score[Shown]] = by_name(
    Score(
        name="laplacian_variance",
        title="Laplacian variance",
        unit="",
        better="as real",
        level="image",
        range=(0, math.inf),
        description="sharpness within the head, intensities from 0 to 1; noise raises it too",
        function=lambda shown: _mean([laplacian_variance(slices, shown.head) for slices in shown.channels]),
    ),
    Score(
        name="spectrum_mean",
        title="Mean of the spectrum",
        unit="",
        better="neither",
        level="image",
        range=(0, math.inf),
        description="depends on brightness and contrast, so it does not measure blur",
        function=lambda shown: _mean([spectrum_mean(slices) for slices in shown.channels]),
    ),
    Score(
        name="mean_frequency",
        title="Mean frequency",
        unit="cycles per pixel",
        better="as real",
        level="image",
        range=(0, 0.71),
        description="mean frequency of the spectrum, weighted by magnitude; blur lowers it, noise raises it",
        function=lambda shown: _mean([mean_frequency(slices) for slices in shown.channels]),
    ),
)
"""Sharpness scores of a scan. To add a measure, write a function of :class:`Shown` and add a line here."""


def cohort_sharpness(cohort: Cohort, *, channels: tuple[str, ...] | None = None) -> pd.DataFrame:
    """Return the sharpness of every case of a cohort.

    Args:
        cohort: 2D slices, or volumes, which are measured slice by slice.
        channels: channels to average over; all unless given.

    Returns:
        A row per case: ``case_id, subject_id, laplacian_variance, spectrum_mean, mean_frequency``.

    Raises:
        CohortError: if a case cannot be read.
    """
    channels = channels or cohort.channels
    rows = []
    for case in cohort.having(channels):
        found = scan_sharpness(load_scan(case, channels))
        rows.append({"case_id": case.case_id, "subject_id": case.subject_id, **found})
    return pd.DataFrame(rows, columns=["case_id", "subject_id", *SHARPNESS])


def scan_sharpness(scan: Scan) -> dict[str, float]:
    """Return every sharpness score of a scan, averaged over its channels and slices."""
    shown = Shown.of(scan)
    return {name: score(shown) for name, score in SHARPNESS.items()}


def _mean(of_channels: list[Values]) -> float:
    values = np.stack(of_channels)
    return float(values.sum(1).sum() / values.size)


def _spectrum(slices: FloatArray) -> tuple[Values, Values]:
    """Return the ``(slice, x, y)`` magnitudes and the ``(x, y)`` frequencies in cycles per pixel."""
    magnitude = np.abs(np.fft.fft2(np.asarray(slices, np.float64), norm="ortho"))
    axes = [np.fft.fftfreq(n) for n in slices.shape[1:]]
    return magnitude, np.hypot(axes[0][:, None], axes[1][None])


def _cut(array: NDArray[Any], axis: int | None) -> NDArray[Any]:
    """Return ``(x, y[, z])`` as ``(slice, x, y)``."""
    return array[None] if axis is None else np.moveaxis(array, axis, 0)
