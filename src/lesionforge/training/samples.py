"""Scans brought to model space once and kept in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from monai.data import CacheDataset
from monai.transforms import Transform

from lesionforge.cohort.case import Case
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
