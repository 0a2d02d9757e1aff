"""Real lesion masks of single slices, for 2D models that draw during the training of a task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionforge.cohort.scan import Scan
from lesionforge.errors import ConfigError
from lesionforge.masks.bank import CroppedMask, MaskBank
from lesionforge.masks.mask import DrawnMask
from lesionforge.masks.placement import brain_mm, crop_to_lesion, relative_place
from lesionforge.preprocessing.brain.region import find_region
from lesionforge.preprocessing.pipeline import Sample

NEAR_HEIGHT = 0.1


class SliceBank(MaskBank):
    """The lesion maps of all slices with a lesion; a slice gets a map from about its own height.

    Args:
        samples: 2D samples, or volumes as a 2D model sees them.
        flatten_sizes: see :class:`~lesionforge.masks.bank_config.BankConfig`; the sizes are areas.

    Raises:
        ConfigError: if no slice has a lesion inside the brain.
    """

    def __init__(self, samples: Iterable[Sample], *, flatten_sizes: float = 0.0) -> None:
        self.flatten_sizes = flatten_sizes
        found = [(lesion, height) for sample in samples for lesion, height in _lesions(sample)]
        if not found:
            raise ConfigError("masks", "no slice has a lesion to take as mask", "name a cohort with lesion labels")
        self.lesions, self.heights = tuple(lesion for lesion, _ in found), [height for _, height in found]
        self.subjects = frozenset(lesion.subject for lesion in self.lesions)

    def draw(self, scan: Scan, rng: np.random.Generator) -> DrawnMask:
        """Draw the lesion map of a random slice of about the scan's height."""
        return self.pick(near_height(self.heights, scan.height), rng).drawn_for(scan)


def near_height(heights: Sequence[float], height: float) -> NDArray[Any]:
    """Return the indices of the heights within a tenth of ``height``, or of the nearest if there is none."""
    gaps = np.abs(np.asarray(heights) - height)
    return np.flatnonzero(gaps <= max(NEAR_HEIGHT, gaps.min()))


def sample_with_region(sample: Sample) -> Sample:
    """Return the sample with the region to whose box the places of its lesions are relative."""
    return replace(sample, region=find_region(sample.as_scan()))


def _lesions(sample: Sample) -> list[tuple[CroppedMask, float]]:
    """Return the lesion map of each slice that has a lesion, with its height."""
    assert sample.label is not None
    whole = sample_with_region(sample)
    parts = [whole] if sample.label.ndim == 2 else whole.slices()
    return [(lesion, part.height) for part in parts if (lesion := _lesion(part)) is not None]


def _lesion(part: Sample) -> CroppedMask | None:
    """Return the lesion map of a slice; ``None`` if the slice shows no brain or no lesion."""
    if part.label is None or part.region is None or not part.label.any() or not part.region.any():
        return None
    return CroppedMask(
        mask=crop_to_lesion(part.label)[0],
        spacing=part.spacing,
        centre=relative_place(part.label, part.region),
        brain_mm=brain_mm(part.region, part.spacing),
        mask_id=part.case_id,
        subject=part.subject_id,
    )
