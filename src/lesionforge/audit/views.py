"""What the audit compares of each case: the whole image, its lesions, and their masks, each on a small grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn.functional import adaptive_avg_pool2d, adaptive_avg_pool3d

from lesionforge.audit.audit_config import SIDES
from lesionforge.audit.origin import whole_images
from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.inspection.contact_sheet import pick_evenly
from lesionforge.cohort.inspection.fingerprint import Fingerprint
from lesionforge.cohort.inspection.measure import foreground
from lesionforge.cohort.scan import BoolArray, FloatArray, LabelArray, Scan, load_scan, read_label
from lesionforge.errors import CohortError, LesionforgeError
from lesionforge.preprocessing.pipeline import Preprocessing, Sample

WHOLE, LESION, MASK = "whole image", "lesion", "mask"
VIEWS = (WHOLE, LESION, MASK)
HEADS_MEASURED, MOST_LESIONS, FEWEST_VOXELS = 20, 3, 4


@dataclass(frozen=True, kw_only=True)
class View:
    """One view of the cases of a cohort.

    Attributes:
        images: ``(item, channel, x, y[, z])``; each channel has mean 0 over the head or lesion, 0 elsewhere, and each
            item has norm 1. Masks are not centred.
        owner: ``(item,)`` number of the item's case in the cohort.
    """

    images: FloatArray
    owner: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, kw_only=True)
class CohortViews:
    """The readable cases of a cohort, and their views by name.

    Attributes:
        cohort: the cases that could be read.
        views: ``"whole image"``, ``"lesion"`` and ``"mask"`` → the view; the last two hold no item of a case without a
            lesion.
        problems: errors of the cases that could not be read.
    """

    cohort: Cohort
    views: Mapping[str, View]
    problems: tuple[LesionforgeError, ...] = ()

    @property
    def subjects(self) -> NDArray[np.str_]:
        """The subject of each case."""
        return np.array([case.subject_id for case in self.cohort])


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The grids of the views, which all cohorts of an audit share.

    Attributes:
        preprocessing: spacing and intensities, fitted on training cases.
        whole: size of the box around a head, in voxels of ``preprocessing``.
        lesion: size of the box around a lesion.
        side: most voxels along each axis of a view.
    """

    preprocessing: Preprocessing
    whole: tuple[int, ...]
    lesion: tuple[int, ...]
    side: int

    @classmethod
    def fit(cls, training: Cohort, facts: Fingerprint, *, side: int | None) -> Self:
        """Fit the frame on training cases.

        Heads are measured in at most 20 cases. The box of lesions holds 95 % of them.

        Args:
            training: the training cases.
            facts: their fingerprint.
            side: see :class:`~lesionforge.audit.audit_config.AuditConfig`.
        """
        dims: Literal[2, 3] = 3 if facts.spatial_dims == 3 else 2
        preprocessing = Preprocessing.fit(facts, spatial_dims=dims)
        spacing = preprocessing.spacing or facts.spacing
        heads = [_head_size(case, preprocessing) for case in pick_evenly(training, HEADS_MEASURED)]
        lengths = [max(lesion.extent_mm) for lesion in facts.lesions]
        across = float(np.percentile(lengths, 95)) if lengths else 0.0
        return cls(
            preprocessing=preprocessing,
            whole=tuple(int(n) for n in np.max(heads, axis=0)),
            lesion=tuple(max(FEWEST_VOXELS, ceil(across / step)) for step in spacing),
            side=side or SIDES[dims],
        )


def _head_size(case: Case, preprocessing: Preprocessing) -> tuple[int, ...]:
    sample = preprocessing.forward(load_scan(case, preprocessing.channels))
    return tuple(part.stop - part.start for part in _box(foreground(sample.image[0])))


def read_views(
    cohort: Cohort,
    frame: Frame,
    *,
    sources: Mapping[str, Case] | None = None,
) -> CohortViews:
    """Read the views of a cohort; unreadable cases are left out and listed.

    Args:
        cohort: the cases.
        frame: the grids.
        sources: case id → real case. Lesions that a synthetic case has in common with the scan it was drawn into are
            left out of its views, unless the whole image is new.
    """
    kept, problems = list[Case](), list[LesionforgeError]()
    parts: dict[str, list[list[FloatArray]]] = {name: [] for name in VIEWS}
    whole = whole_images(cohort) if sources else frozenset()
    for case in cohort:
        try:
            scan = load_scan(case, frame.preprocessing.channels)
            if sources and case.case_id not in whole:
                scan = new_lesions_of(scan, sources)
            items = _items(frame.preprocessing.forward(scan), frame)
        except CohortError as problem:
            problems.append(problem)
            continue
        kept.append(case)
        for name in VIEWS:
            parts[name].append(items[name])
    views = {name: _stacked(of_cases) for name, of_cases in parts.items()}
    return CohortViews(cohort=cohort.with_cases(kept), views=views, problems=tuple(problems))


def _stacked(of_cases: Sequence[Sequence[FloatArray]]) -> View:
    images = [image for items in of_cases for image in items]
    owner = np.repeat(np.arange(len(of_cases)), [len(items) for items in of_cases])
    return View(images=np.stack(images) if images else np.empty((0,), np.float32), owner=owner)


def new_lesions_of(scan: Scan, sources: Mapping[str, Case]) -> Scan:
    """Return a scan without the lesions of the scan that it was drawn into, unless it has no others.

    Args:
        scan: the scan.
        sources: case id → real case.
    """
    source = sources.get(scan.case.source_case)
    if scan.label is None or source is None or source.label is None:
        return scan
    before, _ = read_label(source.label)
    if before.shape != scan.label.shape:
        return scan
    new = np.where(before > 0, 0, scan.label).astype(np.int16)
    return replace(scan, label=new) if new.any() else scan


def _items(sample: Sample, frame: Frame) -> dict[str, list[FloatArray]]:
    head = foreground(sample.image[0])
    items: dict[str, list[FloatArray]] = {name: [] for name in VIEWS}
    items[WHOLE].append(_seen(sample.image, head, frame.whole, frame.side))
    for lesion in _largest_lesions(sample.label):
        items[LESION].append(_seen(sample.image, lesion, frame.lesion, frame.side))
        outline = boxed(lesion[None].astype(np.float32), _box(lesion), frame.lesion)
        items[MASK].append(unit(_small(outline, frame.side)))
    return items


def _seen(image: FloatArray, region: BoolArray, size: Sequence[int], side: int) -> FloatArray:
    """Return a region of an image on the grid of a view, with norm 1."""
    around = _box(region)
    return unit(_small(_centred(boxed(image, around, size), boxed(region, around, size)), side))


def boxed(array: NDArray[Any], around: Sequence[slice], size: Sequence[int]) -> NDArray[Any]:
    """Return a box of the last axes, with its middle at that of another box, and 0 beyond the grid.

    A box that was moved into the grid would show a part near the edge at another place than its copy far from it.

    Args:
        array: ``(..., x, y[, z])``.
        around: the other box, which lies within the grid.
        size: voxels along each axis.
    """
    starts = [(part.start + part.stop - n) // 2 for part, n in zip(around, size, strict=True)]
    parts: tuple[Any, ...] = tuple(slice(max(0, start), start + n) for start, n in zip(starts, size, strict=True))
    inside = array[(..., *parts)]
    before = [max(0, -start) for start in starts]
    have = inside.shape[-len(size) :]
    widths = [(first, n - first - there) for first, n, there in zip(before, size, have, strict=True)]
    return np.pad(inside, [(0, 0)] * (array.ndim - len(size)) + widths)


def _largest_lesions(label: LabelArray | None) -> list[BoolArray]:
    if label is None or not label.any():
        return []
    parts, _ = ndimage.label(label > 0, np.ones([3] * label.ndim))
    sizes = np.bincount(parts.ravel())[1:]
    return [parts == 1 + number for number in np.argsort(-sizes, kind="stable")[:MOST_LESIONS]]


def _box(mask: BoolArray) -> tuple[slice, ...]:
    return tuple(ndimage.find_objects(mask.astype(np.int8))[0])


def _centred(image: FloatArray, region: BoolArray) -> FloatArray:
    """Return an image with mean 0 and standard deviation 1 over a region in each channel, and 0 outside it."""
    inside = image[:, region]
    shape = (-1, *[1] * region.ndim)
    mean, spread = inside.mean(1).reshape(shape), inside.std(1).reshape(shape)
    return np.asarray((image - mean) / (spread + 1e-6) * region, np.float32)


def _small(image: FloatArray, side: int) -> FloatArray:
    """Return an image averaged to at most ``side`` voxels along each axis."""
    return resampled(image[None], [min(side, n) for n in image.shape[1:]])[0]


def resampled(images: FloatArray, shape: Sequence[int]) -> FloatArray:
    """Return ``(item, channel, x, y[, z])`` images averaged to a smaller grid."""
    pool: Any = adaptive_avg_pool2d if len(shape) == 2 else adaptive_avg_pool3d
    return np.asarray(pool(torch.from_numpy(np.ascontiguousarray(images)), tuple(shape)).numpy(), np.float32)


def unit(image: FloatArray) -> FloatArray:
    """Return an image with norm 1; an image of zeros stays as it is."""
    return np.asarray(image / max(float(np.linalg.norm(image)), 1e-12), np.float32)
