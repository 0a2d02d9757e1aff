"""Scans brought to model space once and kept in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from monai.data import CacheDataset
from monai.transforms import Transform

from lesionforge.cohort.case import Case
from lesionforge.cohort.scan import load_scan
from lesionforge.preprocessing.pipeline import Preprocessing, Sample

CACHED_CASES = 500


class ToSample(Transform):
    """Reads a case and brings it to model space."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self.preprocessing = preprocessing

    def __call__(self, case: Case) -> Sample:
        """Read one case."""
        return self.preprocessing.forward(load_scan(case, self.preprocessing.channels))


def cached_samples(
    cases: Iterable[Case], preprocessing: Preprocessing, *, limit: int = CACHED_CASES, progress: bool = False
) -> Sequence[Sample]:
    """Return the samples of ``cases``; the first ``limit`` are read now and kept, others are read when asked for."""
    samples: Sequence[Sample] = CacheDataset(
        list(cases), ToSample(preprocessing), cache_num=limit, num_workers=None, progress=progress, copy_cache=False
    )
    return samples
