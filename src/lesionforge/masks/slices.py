"""Real lesion masks of single slices, for 2D models that draw while a task trains."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from lesionforge.errors import ConfigError
from lesionforge.masks.bank import Lesion, MaskBank
from lesionforge.masks.place import centroid, crop_to_lesion, region_box, with_region
from lesionforge.preprocessing.pipeline import Sample


class SliceBank(MaskBank):
    """The lesion maps of every slice that has one, each as likely as any other.

    Args:
        samples: 2D samples, or volumes as a 2D model sees them.

    Raises:
        ConfigError: if no slice has a lesion inside the brain.
    """

    def __init__(self, samples: Iterable[Sample]) -> None:
        self.lesions = tuple(lesion for sample in samples for lesion in _lesions(sample))
        if not self.lesions:
            raise ConfigError("masks", "no slice has a lesion to take as mask", "name a cohort with lesion labels")
        self.subjects = frozenset(lesion.subject for lesion in self.lesions)


def sample_with_region(sample: Sample) -> Sample:
    """Return the sample with the region in which lesions may be put worked out."""
    return replace(sample, region=with_region(sample.as_scan()).region)


def _lesions(sample: Sample) -> list[Lesion]:
    assert sample.label is not None
    if sample.label.ndim == 2:
        return _lesion(sample_with_region(sample))
    whole = sample_with_region(sample)
    return [lesion for z in np.flatnonzero(sample.label.any(axis=(0, 1))) for lesion in _lesion(whole.slice(int(z)))]


def _lesion(part: Sample) -> list[Lesion]:
    """Return the lesion map of a slice; none where the slice shows no brain."""
    if part.label is None or part.region is None or not part.label.any() or not part.region.any():
        return []
    low, high = region_box(part.region)
    centre = (centroid(part.label) - low) / np.maximum(high - low, 1)
    return [
        Lesion(
            mask=crop_to_lesion(part.label)[0],
            spacing=part.spacing,
            centre=tuple(float(c) for c in centre),
            mask_id=part.case_id,
            subject=part.subject_id,
        )
    ]
