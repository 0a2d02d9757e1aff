"""A cohort in numbers, and the training defaults that follow from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import ceil, prod
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import ValidationError

from lesionforge.cohort.case import Annotation, Case, Cohort
from lesionforge.cohort.digest import digest_of
from lesionforge.cohort.inspection.measure import CaseMeasures, Frozen, LesionMeasures, Measured, measure, slice_axis
from lesionforge.cohort.scan import FloatArray, load_scan, slicing_spacing
from lesionforge.errors import CohortError, ConfigError, told
from lesionforge.files import write_json
from lesionforge.kept import kept

Progress = Callable[[int, int], None]
"""Called with the number of finished cases and the total number."""

PERCENTILES = (0.5, 5.0, 50.0, 95.0, 99.5)
CONTEXT = 0.5
CROP_VOXELS = {2: 256 * 256, 3: 128 * 128 * 64}
BATCH_VOXELS = 16 * 128 * 128
BATCH_RANGE = (2, 16)


class Intensities(Frozen):
    """Percentiles of the intensities of one channel, over at most 5000 evenly spaced voxels per case.

    Attributes:
        percentiles: the percentiles, in percent.
        inside: intensities in lesions; ``None`` without lesions.
        outside: intensities in the head outside known lesions.
    """

    percentiles: tuple[float, ...] = PERCENTILES
    inside: tuple[float, ...] | None
    outside: tuple[float, ...] | None


class Fingerprint(Frozen):
    """A cohort in numbers. Bad cases are left out and listed in ``problems``.

    Training takes its defaults from :attr:`spacing`, :meth:`roi_size` and :meth:`batch_size`.
    """

    schema_version: Literal[1] = 1
    name: str
    channels: tuple[str, ...]
    labels: dict[str, int]
    spatial_dims: int
    cases: tuple[CaseMeasures, ...]
    intensities: dict[str, Intensities]
    problems: tuple[str, ...] = ()

    @property
    def spacing(self) -> tuple[float, ...]:
        """Median spacing along each axis, in mm: the default target spacing."""
        return _median([case.spacing for case in self.cases])

    @property
    def size(self) -> tuple[float, ...]:
        """Median size along each axis, in voxels."""
        return _median([case.size for case in self.cases])

    @property
    def orientation(self) -> str:
        """The most frequent directions of the axes, such as ``RAS``; empty for 2D."""
        return Counter(case.orientation for case in self.cases).most_common(1)[0][0] if self.cases else ""

    @property
    def lesions(self) -> tuple[LesionMeasures, ...]:
        """Every lesion of every case."""
        return tuple(lesion for case in self.cases for lesion in case.lesions)

    @property
    def absent_classes(self) -> tuple[str, ...]:
        """Lesion classes that no case shows."""
        shown = {value for case in self.cases for value, volume in case.class_volumes.items() if volume > 0}
        return tuple(name for name, value in self.labels.items() if value > 0 and value not in shown)

    @property
    def lesion_free_slices(self) -> float | None:
        """Share of slices without lesion in cases with known lesions, 0 … 1; ``None`` without such a case."""
        known = [(case.lesion_free_slices, case.slices) for case in self.cases if case.lesion_free_slices is not None]
        return sum(free for free, _ in known) / sum(slices for _, slices in known) if known else None

    @property
    def reach(self) -> tuple[float, ...]:
        """For each channel, ``CaseMeasures.reach`` of the brightest lesion, at least 1."""
        return tuple(max([1.0, *(case.reach.get(channel, 1.0) for case in self.cases)]) for channel in self.channels)

    def count(self, annotation: Annotation) -> int:
        """Return the number of cases with an annotation."""
        return sum(case.annotation is annotation for case in self.cases)

    def lesion_extent_mm(self, percentile: float = 90.0) -> tuple[float, ...] | None:
        """Return a percentile, over cases, of the extent of the largest lesion along each axis, in mm."""
        largest = [np.max([lesion.extent_mm for lesion in case.lesions], axis=0) for case in self.cases if case.lesions]
        return tuple(np.percentile(largest, percentile, axis=0).tolist()) if largest else None

    def roi_size(
        self, spatial_dims: int, *, divisor: int = 16, spacing: Sequence[float] | None = None
    ) -> tuple[int, ...]:
        """Return the crop to train on, in voxels.

        The largest lesion of nine cases in ten fits, with half its extent again as context (a quarter on each side). In
        plane, the crop is square in mm. Each side is rounded up to a multiple of ``divisor``, but not beyond the median
        image, and is at least ``divisor``. Without lesions the crop is the median image. To fit into memory, the
        longest side is reduced until at most 256×256 pixels, or as many voxels as 128×128×64, are left.

        Args:
            spatial_dims: 2 for slices (the axis of :func:`slice_axis` is dropped from volumes), or 3.
            divisor: each side is a multiple of it, as the network needs.
            spacing: spacing of the model's grid along each axis of the cohort, in mm; the median spacing by default.

        Raises:
            ConfigError: if the cohort is 2D and a 3D crop is asked for.
            CohortError: if no case could be read.
        """
        if not self.cases:
            problems = [CohortError(*_parts(problem)) for problem in self.problems]
            raise CohortError(self.name, told("has no readable case", problems), "see `lesionforge check`")
        if spatial_dims > self.spatial_dims:
            raise ConfigError(self.name, "is a cohort of slices, which have no third axis", "set spatial_dims to 2")
        grid = np.asarray(self.spacing if spacing is None else spacing)
        image_mm = np.asarray(self.size) * self.spacing
        thickness = slicing_spacing(self.spacing, self.size)
        across = slice_axis(thickness, self.orientation) if self.spatial_dims == 3 else None
        in_plane = [axis for axis in range(self.spatial_dims) if axis != across]
        extent = self.lesion_extent_mm()
        wanted_mm = image_mm if extent is None else np.asarray(extent) * (1 + CONTEXT)
        if extent is not None:
            wanted_mm[in_plane] = wanted_mm[in_plane].max()
        axes = in_plane if spatial_dims == 2 else range(self.spatial_dims)
        crop = [_fit(wanted_mm[axis] / grid[axis], image_mm[axis] / grid[axis], divisor) for axis in axes]
        while prod(crop) > CROP_VOXELS[spatial_dims] and max(crop) > divisor:
            crop[int(np.argmax(crop))] -= divisor
        return tuple(crop)

    def batch_size(self, roi_size: Sequence[int]) -> int:
        """Return the number of crops in a batch: as many voxels as 16 slices of 128×128, within 2 … 16 crops."""
        low, high = BATCH_RANGE
        return int(np.clip(BATCH_VOXELS // prod(roi_size), low, high))

    def save(self, path: Path) -> None:
        """Write ``path`` (``fingerprint.json``)."""
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def load(cls, path: Path) -> Fingerprint:
        """Read what :meth:`save` wrote.

        Raises:
            CohortError: if the file is missing or not a fingerprint of this version.
        """
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, ValidationError) as error:
            what = f"is not a readable fingerprint ({str(error).splitlines()[0]})"
            raise CohortError(path, what, "make it again with `lesionforge check`") from error


def fingerprint(
    cohort: Cohort,
    channels: Sequence[str],
    *,
    progress: Progress | None = None,
    on_problem: Callable[[CohortError], None] = lambda error: None,
) -> Fingerprint:
    """Measure a cohort; a case that cannot be read is left out and listed in ``problems``.

    A case that lacks a channel contributes its other channels.

    Args:
        cohort: the cohort to measure.
        channels: the channels to measure.
        progress: called after each case.
        on_problem: called with the error of each case that is left out.
    """
    measured, problems = [], []
    for done, case in enumerate(cohort, start=1):
        try:
            measured.append(_measured(case, [channel for channel in channels if channel in case.images]))
        except CohortError as error:
            problems.append(str(error))
            on_problem(error)
        if progress:
            progress(done, len(cohort))
    return collect(cohort, channels, measured, problems, on_problem=on_problem)


def _measured(case: Case, channels: Sequence[str]) -> Measured:
    """Return the measures of a case; a run does not measure the same files again."""
    inputs = (digest_of([case]), case.annotation, sorted(case.classes.items()), channels)
    return Measured.from_arrays(kept("measures", inputs, lambda: measure(load_scan(case, channels)).as_arrays()))


def collect(
    cohort: Cohort,
    channels: Sequence[str],
    measured: Sequence[Measured],
    problems: Sequence[str],
    *,
    on_problem: Callable[[CohortError], None] = lambda error: None,
) -> Fingerprint:
    """Make the fingerprint of measured cases; volumes among slices, or slices among volumes, become problems."""
    spatial_dims = len(measured[0].case.size) if measured else 0
    alike = [item for item in measured if len(item.case.size) == spatial_dims]
    odd = [
        CohortError(
            item.case.case_id,
            f"has {len(item.case.size)} axes, the cases before it {spatial_dims}",
            "keep slices and volumes in separate cohorts",
        )
        for item in measured
        if len(item.case.size) != spatial_dims
    ]
    for error in odd:
        on_problem(error)
    return Fingerprint(
        name=cohort.name,
        channels=tuple(channels),
        labels=dict(cohort.labels),
        spatial_dims=spatial_dims,
        cases=tuple(item.case for item in alike),
        intensities={
            channel: Intensities(
                inside=_percentiles([item.inside[channel] for item in alike if channel in item.inside]),
                outside=_percentiles([item.outside[channel] for item in alike if channel in item.outside]),
            )
            for channel in channels
        },
        problems=(*problems, *map(str, odd)),
    )


def _parts(problem: str) -> tuple[str, str, str]:
    """Return where, what and remedy of a problem's line."""
    where, _, rest = problem.partition(": ")
    what, _, remedy = rest.partition("; ")
    return where, what, remedy


def _percentiles(samples: Sequence[FloatArray]) -> tuple[float, ...] | None:
    pooled = np.concatenate(samples) if samples else np.empty(0, np.float32)
    return tuple(np.percentile(pooled, PERCENTILES).tolist()) if pooled.size else None


def _median(rows: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return tuple(np.median(rows, axis=0).tolist()) if rows else ()


def _fit(wanted: float, image: float, divisor: int) -> int:
    """Round ``wanted`` voxels up to a multiple of ``divisor``, within the image, at least ``divisor``."""
    largest = max(divisor, int(image / divisor + 1e-6) * divisor)
    return int(np.clip(ceil(wanted / divisor - 1e-6) * divisor, divisor, largest))
