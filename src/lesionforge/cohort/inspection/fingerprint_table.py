"""A fingerprint as a table that people read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from lesionforge.cohort.case import Annotation
from lesionforge.cohort.inspection.fingerprint import PERCENTILES, Fingerprint
from lesionforge.markup import markdown


def fingerprint_table(fingerprint: Fingerprint) -> str:
    """Return a fingerprint in Markdown: the cohort, its intensities, its lesions and the derived defaults."""
    sections = [f"# {markdown(fingerprint.name)}\n", _table(("", "value"), _cohort_rows(fingerprint))]
    if fingerprint.cases:
        sections += [
            "## Intensities\n",
            _table(("channel", "where", *(f"P{p:g}" for p in PERCENTILES)), _intensity_rows(fingerprint)),
        ]
    if fingerprint.lesions:
        header = ("channel", "brightest lesion, × typical tissue", "lesion voxels that intensity=percentile cuts")
        sections.append(_table(header, _limit_rows(fingerprint)))
    if fingerprint.lesions:
        sections += ["## Lesions\n", _table(("", "P5", "median", "P95"), _lesion_rows(fingerprint))]
    if fingerprint.cases:
        sections += ["## Defaults for training\n", _table(("", "value"), _default_rows(fingerprint))]
    if fingerprint.problems:
        sections += ["## Left out\n", "\n".join(f"- {markdown(problem)}" for problem in fingerprint.problems) + "\n"]
    return "\n".join(sections)


def _cohort_rows(fingerprint: Fingerprint) -> Iterable[Sequence[str]]:
    cases = fingerprint.cases
    yield "channels", ", ".join(fingerprint.channels)
    yield "labels", ", ".join(f"{value} {name}" for name, value in fingerprint.labels.items())
    yield "cases", f"{len(cases)} of {len({case.subject_id for case in cases})} subjects"
    for annotation, text in (
        (Annotation.LESION, "with lesion"),
        (Annotation.LESION_FREE, "lesion-free"),
        (Annotation.UNKNOWN, "unknown"),
    ):
        yield f"… {text}", str(fingerprint.count(annotation))
    if not cases:
        return
    free = fingerprint.lesion_free_slices
    yield "lesion-free slices", "unknown" if free is None else f"{free:.1%}"
    yield "spacing, median (range)", _spread([case.spacing for case in cases], "mm")
    yield "size, median (range)", _spread([case.size for case in cases], "voxels")
    if fingerprint.orientation:
        yield "orientation", ", ".join(sorted({case.orientation for case in cases}))


def _intensity_rows(fingerprint: Fingerprint) -> Iterable[Sequence[str]]:
    for channel, intensities in fingerprint.intensities.items():
        for where, values in (("in lesions", intensities.inside), ("outside", intensities.outside)):
            yield channel, where, *([f"{value:.4g}" for value in values] if values else ["–"] * len(PERCENTILES))


def _limit_rows(fingerprint: Fingerprint) -> Iterable[Sequence[str]]:
    for channel, reach in zip(fingerprint.channels, fingerprint.reach, strict=True):
        cut = [case.beyond[channel] for case in fingerprint.cases if channel in case.beyond]
        yield channel, f"{reach:.2f}", f"{np.mean(cut):.1%}" if cut else "–"


def _lesion_rows(fingerprint: Fingerprint) -> Iterable[Sequence[str]]:
    with_lesion = [case for case in fingerprint.cases if case.lesions]
    power = "²" if fingerprint.spatial_dims == 2 else "³"
    yield "lesions in a case", *_quantiles([len(case.lesions) for case in with_lesion])
    yield f"volume in a case, mm{power}", *_quantiles([case.lesion_volume for case in with_lesion])
    yield f"volume of a lesion, mm{power}", *_quantiles([lesion.volume for lesion in fingerprint.lesions])
    for name, value in fingerprint.labels.items():
        if value:
            volumes = [case.class_volumes.get(value, 0.0) for case in with_lesion]
            yield f"volume of class {name}, mm{power}", *_quantiles(volumes)
    for axis in range(fingerprint.spatial_dims):
        extents = [lesion.extent_mm[axis] for lesion in fingerprint.lesions]
        yield f"extent along axis {axis}, mm", *_quantiles(extents)
    for axis in range(fingerprint.spatial_dims):
        centres = [lesion.centre[axis] for lesion in fingerprint.lesions]
        yield f"place along axis {axis}, 0–1 of the head", *_quantiles(centres)


def _default_rows(fingerprint: Fingerprint) -> Iterable[Sequence[str]]:
    yield "spacing", " × ".join(f"{step:.4g}" for step in fingerprint.spacing) + " mm"
    for spatial_dims in range(2, fingerprint.spatial_dims + 1):
        roi = fingerprint.roi_size(spatial_dims)
        yield f"{spatial_dims}D crop", " × ".join(map(str, roi)) + " voxels"
        yield f"{spatial_dims}D batch", f"{fingerprint.batch_size(roi)} crops"


def _spread(rows: Sequence[Sequence[float]], unit: str) -> str:
    parts = []
    for column in np.asarray(rows, float).T:
        middle, low, high = np.median(column), column.min(), column.max()
        parts.append(f"{middle:.4g}" + (f" ({low:.4g}–{high:.4g})" if low < high else ""))
    return " × ".join(parts) + f" {unit}"


def _quantiles(values: Sequence[float]) -> list[str]:
    return [f"{value:.4g}" for value in np.percentile(values, (5, 50, 95))]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(markdown, line))} |" for line in lines) + "\n"
