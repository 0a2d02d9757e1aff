"""Scans brought to model space once and kept in memory, and how much of them an item takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from monai.data import CacheDataset
from monai.transforms import Transform

from lesionforge.cohort.case import Case
from lesionforge.cohort.fingerprint import Fingerprint
from lesionforge.cohort.scan import Scan, load_scan
from lesionforge.preprocessing.pipeline import Preprocessing, Sample

CACHED_CASES = 500


class ToSample(Transform):
    """Reads a case and brings it to model space."""

    def __init__(self, preprocessing: Preprocessing, prepare: Callable[[Scan], Scan] | None = None) -> None:
        self.preprocessing, self.prepare = preprocessing, prepare

    def __call__(self, case: Case) -> Sample:
        """Read one case."""
        scan = load_scan(case, self.preprocessing.channels)
        return self.preprocessing.forward(scan if self.prepare is None else self.prepare(scan))


def cached_samples(
    cases: Iterable[Case],
    preprocessing: Preprocessing,
    *,
    limit: int = CACHED_CASES,
    progress: bool = False,
    prepare: Callable[[Scan], Scan] | None = None,
) -> Sequence[Sample]:
    """Return the samples of ``cases``; the first ``limit`` are read now and kept, others are read when asked for.

    Args:
        cases: what to read.
        preprocessing: brings them to model space.
        limit: how many are kept in memory.
        progress: show a bar.
        prepare: applied to each scan before, such as :func:`~lesionforge.preprocessing.region.with_region`.
    """
    samples: Sequence[Sample] = CacheDataset(
        list(cases),
        ToSample(preprocessing, prepare),
        cache_num=limit,
        num_workers=None,
        progress=progress,
        copy_cache=False,
    )
    return samples


def training_size(
    facts: Fingerprint,
    samples: Sequence[Sample],
    *,
    spatial_dims: int,
    divisor: int,
    smallest: int,
    whole_slices: bool,
) -> tuple[int, ...]:
    """Return the size of training items, in voxels: the fingerprint's crop, or whole slices.

    Args:
        facts: of the training cases.
        samples: of the training cases.
        spatial_dims: 2 or 3.
        divisor: what each side must be a multiple of.
        smallest: side that the networks need at least.
        whole_slices: in 2D, take the largest slice.
    """
    sides = facts.roi_size(spatial_dims, divisor=divisor)
    if whole_slices and spatial_dims == 2:
        sides = tuple(int(n) for n in np.max([sample.image.shape[1:3] for sample in samples], axis=0))
    return tuple(-(-max(n, smallest) // divisor) * divisor for n in sides)
