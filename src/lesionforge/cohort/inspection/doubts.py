"""Doubts about readable data: copies, names that read alike, and intensities that harm training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lesionforge.cohort.case import Annotation, Case, Cohort
from lesionforge.cohort.grid import FORMS_APART, forms_apart
from lesionforge.cohort.image_file import read_header
from lesionforge.cohort.people import alike, hash_voxels, visits
from lesionforge.cohort.scan import FloatArray, Scan
from lesionforge.errors import CohortError

HOUNSFIELD_AIR = -200.0
HOUNSFIELD_BONE = 300.0
HOUNSFIELD_ENDS = (-5000.0, 70000.0)
"""Padding and metal, in files of 16 bits."""
LEAST_AIR = 0.01
"""Share of voxels of air, as ``below`` counts them; MRI has negative voxels from interpolation alone."""
NEAR_0 = 0.1
BELOW_0 = 0.05
NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One channel of a scan in a few numbers.

    Attributes:
        low: least intensity.
        high: greatest intensity.
        below: share of negative voxels among those that are not near 0, 0 … 1. Near means within a tenth of the 99.5th
            percentile of absolute intensities, so that traces of interpolation in the background do not count.
        voxels: hash of the voxels, see :func:`~lesionforge.cohort.people.hash_voxels`.
    """

    low: float
    high: float
    below: float
    voxels: str

    @property
    def hounsfield(self) -> bool:
        """Whether it holds air and bone in Hounsfield units."""
        lowest, highest = HOUNSFIELD_ENDS
        inside = lowest <= self.low <= HOUNSFIELD_AIR and HOUNSFIELD_BONE <= self.high <= highest
        return inside and self.below >= LEAST_AIR


@dataclass(frozen=True, kw_only=True)
class Look:
    """A summary of a scan for comparison with others.

    Attributes:
        case: the case.
        shape: ``(x, y[, z])``.
        channels: by name.
        forms_apart: distance in mm between the places by sform and by qform; the largest of all channels.
    """

    case: Case
    shape: tuple[int, ...]
    channels: Mapping[str, Channel]
    forms_apart: float = 0.0


def look_at(scan: Scan) -> Look:
    """Return the summary of a scan."""
    pairs = zip(scan.channels, scan.image, strict=True)
    channels = {name: _channel(image, hash_voxels(image, scan.affine)) for name, image in pairs}
    headers = [read_header(scan.case.images[name]) for name in scan.channels]
    apart = max(0.0 if header is None else forms_apart(header) for header in headers)
    return Look(case=scan.case, shape=scan.spatial_shape, channels=channels, forms_apart=apart)


def _channel(image: FloatArray, voxels: str) -> Channel:
    size = np.abs(image)
    far = size > NEAR_0 * np.percentile(size, 99.5)
    below = float((image[far] < 0).mean()) if far.any() else 0.0
    return Channel(low=float(image.min()), high=float(image.max()), below=below, voxels=voxels)


def copies(looks: Sequence[Look]) -> Iterator[CohortError]:
    """Yield an error for each image that two subjects share."""
    for one, other in _pairs(looks):
        if one.subject_id != other.subject_id:
            what = f"hold the same image, but belong to two subjects ({one.subject_id}, {other.subject_id})"
            remedy = "give both the same subject_id in cases.csv, or leave one out"
            yield CohortError(f"{one.case_id} and {other.case_id}", what, remedy)


def doubts(cohort: Cohort, looks: Sequence[Look]) -> Iterator[CohortError]:
    """Yield a warning for each thing to look at before training.

    Args:
        cohort: the cases.
        looks: summaries of the readable cases.
    """
    for one, other in _pairs(looks):
        if one.subject_id == other.subject_id:
            what = "hold the same image, which counts twice"
            yield CohortError(f"{one.case_id} and {other.case_id}", what, "leave one out")
    yield from name_doubts(cohort)
    if len(cohort) and all(case.annotation is Annotation.UNKNOWN for case in cohort):
        remedy = "put label files named like the cases into labelsTr, or say lesion_free in cases.csv"
        yield CohortError(cohort.name, f"the lesions of all {len(cohort)} cases are unknown", remedy)
    thin = [look for look in looks if len(look.shape) == 3 and 1 in look.shape]
    if thin:
        what = f"{_ids(thin)} of one slice, stored as volumes"
        yield CohortError(cohort.name, what, "train in 2D, or combine the slices of a scan in one file")
    apart = [look for look in looks if look.forms_apart > FORMS_APART]
    if apart:
        furthest = max(look.forms_apart for look in apart)
        what = f"the sform and the qform of {_ids(apart)} put voxels up to {furthest:.3g} mm apart"
        yield CohortError(cohort.name, what, "lesionforge uses the sform, other readers may use the qform: correct one")
    yield from intensity_doubts(cohort, looks)


def intensity_doubts(cohort: Cohort, looks: Sequence[Look]) -> Iterator[CohortError]:
    """Yield a warning for each channel whose intensities harm training; see :func:`doubts`."""
    for channel in cohort.channels:
        yield from _intensities(cohort.name, channel, [look for look in looks if channel in look.channels])


def name_doubts(cohort: Cohort) -> Iterator[CohortError]:
    """Yield a warning for subjects that may be one person, by their names."""
    subject_of = {case.case_id: case.subject_id for case in cohort}
    groups = alike(cohort.subjects)
    groups += [group for group in alike(subject_of) if len({subject_of[name] for name in group}) > 1]
    for group in dict.fromkeys(groups):
        what = "read alike, but are different subjects"
        remedy = "if they are one person, give them the same subject_id in cases.csv"
        yield CohortError(" and ".join(group), what, remedy)
    found = visits(cohort.subjects)
    if found:
        count = sum(len(subjects) for subjects in found.values())
        person, subjects = next(iter(found.items()))
        example = f"{', '.join(subjects[:NAMED])}: {person}?"
        people = f"{len(found)} people" if len(found) > 1 else "one person"
        what = f"{count} subjects look like visits of {people} ({example})"
        remedy = "give a person's cases one subject_id in cases.csv, or import them with `subject_pattern`"
        yield CohortError(cohort.name, what, remedy)


def _intensities(name: str, channel: str, looks: Sequence[Look]) -> Iterator[CohortError]:
    """Yield a warning for each kind of doubt about a channel; a case counts only for its first doubt."""
    below = max((look.channels[channel].below for look in looks), default=0.0)
    window = "import it through a window, such as `window=0,80`"
    faults: list[tuple[Callable[[Channel], bool], str, str]] = [
        (
            lambda one: one.low == one.high,
            "is constant",
            "check the export, or list the channel in missing_channels",
        ),
        (
            lambda one: one.high <= 0,
            "is nowhere above 0",
            "check the offset of the export, or leave the case out",
        ),
        (
            lambda one: one.hounsfield,
            "is in Hounsfield units, of whose range lesions are a small part",
            window if channel == "CT" else f"name the channel CT and {window}",
        ),
        (
            lambda one: one.below > BELOW_0,
            f"is below 0 in up to {below:.0%} of the voxels that are not near 0",
            "give the scans as they were before normalisation, if you have them",
        ),
    ]
    left = list(looks)
    for fault, what, remedy in faults:
        found = [look for look in left if fault(look.channels[channel])]
        left = [look for look in left if look not in found]
        if found:
            low = min(look.channels[channel].low for look in found)
            high = max(look.channels[channel].high for look in found)
            span = f"{low:.4g}" if low == high else f"{low:.4g} … {high:.4g}"
            text = f"{channel} {what} ({span})"
            if len(looks) > 1:
                yield CohortError(name, f"{text} in {_ids(found)}", remedy)
            else:
                yield CohortError(found[0].case.case_id, text, remedy)


def _ids(looks: Sequence[Look]) -> str:
    """Return the number of cases, with the names of the first ones."""
    named = ", ".join(look.case.case_id for look in looks[:NAMED]) + (", …" if len(looks) > NAMED else "")
    return f"{len(looks)} case{'s' * (len(looks) > 1)} ({named})"


def _pairs(looks: Sequence[Look]) -> Iterator[tuple[Case, Case]]:
    """Yield pairs of an earlier case and a later case that shares an image with it."""
    first: dict[str, Case] = {}
    for look in looks:
        values = {channel.voxels for channel in look.channels.values()} - {""}
        earlier = [first[value] for value in sorted(values) if value in first]
        first |= {value: look.case for value in values if value not in first}
        if earlier:
            yield earlier[0], look.case
