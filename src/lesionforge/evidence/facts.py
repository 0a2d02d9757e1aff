"""What a cohort has in common with those that something was measured on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from lesionforge.cohort.inspection.fingerprint import PERCENTILES, Fingerprint
from lesionforge.errors import CohortError


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A cohort in the numbers by which cohorts are compared.

    Attributes:
        subjects: number of subjects with an annotated lesion.
        diameter_mm: median, over the cases with a lesion, of the diameter of a ball (in 2D, of a circle) as large as
            the largest lesion.
        contrast: median intensity in lesions minus that of the head outside them, as a share of the range from the 5th
            to the 95th percentile outside; of the channel in which it is farthest from 0.
        channel: this channel.
    """

    subjects: int
    diameter_mm: float
    contrast: float
    channel: str

    @classmethod
    def of(cls, fingerprint: Fingerprint) -> Self:
        """Return the facts of a measured cohort.

        Raises:
            CohortError: if no case has an annotated lesion.
        """
        cases = [case for case in fingerprint.cases if case.lesions]
        if not cases:
            raise CohortError(fingerprint.name, "has no annotated lesion", "annotate the lesions of a few subjects")
        largest = np.array([max(lesion.volume for lesion in case.lesions) for case in cases])
        diameters = 2 * np.sqrt(largest / np.pi) if fingerprint.spatial_dims == 2 else np.cbrt(6 * largest / np.pi)
        contrasts = contrasts_of(fingerprint)
        channel = max(contrasts, key=lambda name: abs(contrasts[name]))
        return cls(
            subjects=len({case.subject_id for case in cases}),
            diameter_mm=float(np.median(diameters)),
            contrast=contrasts[channel],
            channel=channel,
        )


def contrasts_of(fingerprint: Fingerprint) -> dict[str, float]:
    """Return the contrast of the lesions in each channel, as in :class:`Facts`."""
    low, middle, high = (PERCENTILES.index(percentile) for percentile in (5.0, 50.0, 95.0))
    contrasts = {}
    for channel, intensities in fingerprint.intensities.items():
        inside, outside = intensities.inside, intensities.outside
        if inside and outside:
            reach = outside[high] - outside[low]
            contrasts[channel] = (inside[middle] - outside[middle]) / reach if reach else 0.0
    return contrasts or dict.fromkeys(fingerprint.channels, 0.0)
