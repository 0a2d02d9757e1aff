"""Items of a source that draws lesions during training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lesionforge.augmentation.seeded import apply_seeded
from lesionforge.cohort.scan import BoolArray
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.seeding import derive_seed
from lesionforge.training.items.lesion_planes import Planes
from lesionforge.training.items.source import Source

ATTEMPTS = 10


class DrawnItems:
    """Draws lesions into lesion-free slices or scans of a source, or into others if it has none.

    Args:
        source: samples with the ``transform`` that draws.
        spatial_dims: 2 draws into slices of volumes.
        seed: seed of all randomness, together with the item number.
        planes: the slices or scans of the source, if they are known already.
    """

    def __init__(self, source: Source, spatial_dims: int, *, seed: int, planes: Planes | None = None) -> None:
        self.source, self.seed = source, seed
        self.planes = planes or Planes(source.samples, spatial_dims, known=source.known)

    def item(self, draw: int, rng: np.random.Generator) -> tuple[Sample, dict[str, Any]]:
        """Return a sample and the transform's output; if nothing was drawn, try other samples."""
        assert self.source.transform is not None
        for attempt in range(ATTEMPTS):
            sample = self.planes.pick(False, rng)
            before = sample.as_item()
            item = apply_seeded(self.source.transform, before, derive_seed(self.seed, "transform", draw, attempt))
            if not np.array_equal(np.asarray(item["label"]), before["label"]) or negative_in(item).any():
                break
        return sample, item


def negative_in(item: Mapping[str, Any]) -> BoolArray:
    """Return where an item was redrawn without a lesion, ``(x, y[, z])``; see the transform ``SynthesizeLesiond``."""
    found = item.get("negative")
    return np.zeros(item["label"].shape[1:], bool) if found is None else np.asarray(found)[0] > 0
