"""Scores of scans whose lesions were removed: is it the same subject, is the lesion gone, what else changed."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from nibabel.orientations import aff2axcodes
from numpy.typing import NDArray

from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.grid import same_grid
from lesionforge.cohort.inspection.levels import central_slices, scan_heights
from lesionforge.cohort.inspection.measure import foreground, slice_axis
from lesionforge.cohort.leaks import check_no_leak
from lesionforge.cohort.scan import BoolArray, FloatArray, LabelArray, Scan, load_scan, read_label
from lesionforge.errors import CohortError
from lesionforge.preprocessing.intensity import Intensity, Percentile, Range, to_model
from lesionforge.scores.healed_scans.displacement import displacement, drawn_lesion
from lesionforge.scores.healed_scans.healthiness import Segmentor, healthiness, positive
from lesionforge.scores.healed_scans.identity import change_outside, identity
from lesionforge.scores.info import HEALED_SCORES
from lesionforge.scores.predictions.overlap import dice

Healed = Cohort | Mapping[str, FloatArray]
"""A cohort made from the originals, or case id → ``(channel, x, y[, z])`` on the original's grid and in its units."""

UNTOUCHED, BLANK = "untouched", "blank"
REFERENCES = (UNTOUCHED, BLANK)
"""What every method stands between: the input itself, and an image of nothing but background."""

_COLUMNS = ("method", "seed", "case_id", "subject_id", "slices", *HEALED_SCORES, "found", "true", "drawn", "f_pre_dice")


@dataclass(frozen=True, kw_only=True)
class _Slices:
    """A scan cut into the slices that are scored.

    Attributes:
        scan: the original.
        axis: the slices lie along it; ``None`` for a scan that is one.
        used: ``(slice,)`` which are looked at.
        masks: ``(slice, x, y)`` the true lesions.
        head: ``(slice, x, y)``.
        limits: for each channel the intensities of the original that become 0 and 1.
    """

    scan: Scan
    axis: int | None
    used: BoolArray
    masks: BoolArray
    head: BoolArray
    limits: Sequence[Range]

    @property
    def pathological(self) -> BoolArray:
        """``(slice,)`` which of them show a lesion."""
        return self.used & self.masks.any((1, 2))

    @property
    def spacing(self) -> list[float]:
        """Millimetres within a slice."""
        return [mm for axis, mm in enumerate(self.scan.spacing) if axis != self.axis]

    def scaled(self, image: FloatArray) -> FloatArray:
        """Return an image of the scan's units as ``(channel, slice, x, y)`` on the original's scale from 0 to 1."""
        pairs = zip(image, self.limits, strict=True)
        return np.stack([_cut(to_model(channel, limits, (0.0, 1.0)), self.axis) for channel, limits in pairs])


def score_healed(
    originals: Cohort,
    methods: Mapping[str, Healed],
    f_pre: Segmentor,
    *,
    reconstructions: Mapping[str, Healed] | None = None,
    maps: Mapping[str, Cohort] | None = None,
    locate: Literal["difference", "f_pre"] = "difference",
    channels: tuple[str, ...] | None = None,
    intensity: Intensity | None = None,
    fraction: float = 1.0,
    f_pre_subjects: Collection[str] = (),
    seed: int = 0,
) -> pd.DataFrame:
    """Score healed scans case by case; slices count equally within a case.

    Args:
        originals: real scans whose lesions are known; others are left out.
        methods: name → what it made of every case.
        f_pre: finds lesions, see :func:`~lesionforge.scores.healed_scans.healthiness.segmentor`; trained on other
            subjects.
        reconstructions: name → the scans with their lesions drawn again, of the methods that can.
        maps: name → the scans labelled with the lesions that the method found, of the methods that say.
        locate: how the lesion in a reconstruction is found: where it differs from the healed image, or by ``f_pre``.
        channels: image channels; all unless given. Identity and change are means over them.
        intensity: the originals' intensities that become 0 and 1; 0 and each scan's 99.5th percentile unless given.
        fraction: of the head's height that is looked at; the slices above and below are left out.
        f_pre_subjects: whom ``f_pre`` was trained on.
        seed: that the methods were trained with; tables of several seeds may be put together.

    Returns:
        a row per method (:data:`REFERENCES` included) and case: ``method, seed, case_id, subject_id``, ``slices`` that
        show a lesion, the scores of :data:`HEALED_SCORES`, ``found`` and ``true`` voxels in those slices, ``drawn``,
        the share of them whose reconstruction draws anything, and ``f_pre_dice`` of f_pre on the original.

    Raises:
        CohortError: if no case shows a lesion, a method lacks a case, or an image is not on its original's grid.
        LeakError: if ``f_pre`` was trained on a subject that is scored.
    """
    channels = channels or originals.channels
    cases = originals.annotated().having(channels).with_channels(channels)
    check_no_leak(cases.with_cases(()), cases, models={"f_pre": f_pre_subjects})
    rows = []
    for case in cases:
        slices = _slices(load_scan(case, channels), intensity or Percentile(), fraction)
        own = f_pre(slices.scan, slices.scan.image)
        facts = {"seed": seed, "case_id": case.case_id, "subject_id": case.subject_id}
        facts |= {"slices": int(slices.pathological.sum()), "f_pre_dice": _dice(own, slices.scan)}
        for name, image in _images(slices.scan, methods):
            found = own if name == UNTOUCHED else f_pre(slices.scan, image)
            row = {"method": name, **facts, **_compare(slices, image), **_still_found(slices, found)}
            if reconstructions is not None and name in reconstructions:
                again = _image_of(reconstructions[name], slices.scan, f"reconstruction of {name}")
                drawn = f_pre(slices.scan, again) if locate == "f_pre" else None
                row |= _displaced(slices, image, again, drawn)
            if maps is not None and name in maps:
                row["map_dice"] = _dice(_map_of(maps[name], slices.scan, name), slices.scan)
            rows.append(row)
    if not any(row["slices"] for row in rows):
        raise CohortError(originals.name, "shows no lesion in the slices that are scored", "score scans with lesions")
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _slices(scan: Scan, intensity: Intensity, fraction: float) -> _Slices:
    axis, used = None, np.ones(1, bool)
    if scan.spatial_dims == 3:
        axis = slice_axis(scan.slicing_spacing, "".join(aff2axcodes(scan.affine)))
        used = np.ones(scan.spatial_shape[axis], bool)
        if fraction < 1:
            used = central_slices(scan_heights(scan)[1], fraction)
    return _Slices(
        scan=scan,
        axis=axis,
        used=used,
        masks=_cut(_lesion(scan), axis),
        head=_cut(foreground(scan.image[0]), axis),
        limits=intensity.limits(scan.image),
    )


def _cut(array: NDArray[Any], axis: int | None) -> NDArray[Any]:
    """Return ``(x, y[, z])`` as ``(slice, x, y)``."""
    return array[None] if axis is None else np.moveaxis(array, axis, 0)


def _images(scan: Scan, methods: Mapping[str, Healed]) -> Iterator[tuple[str, FloatArray]]:
    yield UNTOUCHED, scan.image
    yield BLANK, np.stack([np.full_like(channel, channel.min()) for channel in scan.image])
    for name, healed in methods.items():
        yield name, _image_of(healed, scan, name)


def _image_of(healed: Healed, scan: Scan, name: str) -> FloatArray:
    """Return what a method made of a scan.

    Raises:
        CohortError: if it lacks the case, or the image is not on the grid of the original.
    """
    case_id = scan.case.case_id
    made = of_source(healed) if isinstance(healed, Cohort) else healed
    if case_id not in made:
        raise CohortError(name, f"has no image of case {case_id}", "heal every case that is scored")
    found = made[case_id]
    if isinstance(found, Case):
        drawn = load_scan(found, scan.channels)
        image, affine = drawn.image, drawn.affine
    else:
        image, affine = np.asarray(found, np.float32), scan.affine
    if image.shape != scan.image.shape or not same_grid(scan.spatial_shape, affine, scan.affine):
        raise CohortError(f"{case_id} of {name}", "is not on the grid of the original", "write it in original space")
    return image


def of_source(made: Cohort) -> dict[str, Case]:
    """Return the cases by the id of the case that each was made from."""
    return {case.source_case or case.case_id: case for case in made}


def _map_of(maps: Cohort, scan: Scan, name: str) -> LabelArray:
    """Return the lesion that a method found in a scan.

    Raises:
        CohortError: if there is no map of the case.
    """
    found = of_source(maps).get(scan.case.case_id)
    if found is None or found.label is None:
        raise CohortError(name, f"has no map of case {scan.case.case_id}", "heal every case that is scored")
    return read_label(found.label)[0]


def _compare(slices: _Slices, image: FloatArray) -> dict[str, float]:
    """Return identity and change, averaged over slices and channels."""
    healed, original = slices.scaled(image), slices.scaled(slices.scan.image)
    sick = slices.pathological
    free = slices.used & ~slices.masks.any((1, 2)) & slices.head.any((1, 2))
    beside = slices.head & ~slices.masks
    found: dict[str, list[NDArray[np.float64]]] = {}
    for new, old in zip(healed, original, strict=True):
        if sick.any():
            same = identity(new[sick], old[sick], slices.masks[sick], head=slices.head[sick])
            found.setdefault("identity_beside", []).append(same.beside)
            found.setdefault("identity", []).append(same.masked)
            found.setdefault("identity_4", []).append(same.masked_4)
        for name, where in (("change_outside", sick), ("change_lesion_free", free)):
            found.setdefault(name, []).append(change_outside(new[where], old[where], beside[where]))
    return {name: _mean(np.concatenate(values)) for name, values in found.items()}


def _still_found(slices: _Slices, found: NDArray[Any]) -> dict[str, float]:
    """Return healthiness and the counts that it is made of, in the slices that show a lesion."""
    sick = slices.pathological
    counts = [int(_cut(voxels, slices.axis)[sick].sum()) for voxels in (positive(found), _lesion(slices.scan))]
    h = healthiness(*counts) if counts[1] else math.nan
    return {"healthiness": h, "found": counts[0], "true": counts[1]}


def _displaced(slices: _Slices, healed: FloatArray, again: FloatArray, found: NDArray[Any] | None) -> dict[str, float]:
    """Return how far from the true lesion the reconstruction draws one, and in which share of the slices it does.

    The lesion is where something was ``found``, or else where the reconstruction differs from the healed image.
    """
    sick = slices.pathological
    if found is None:
        pairs = [np.moveaxis(slices.scaled(image)[:, sick], 1, 0) for image in (again, healed)]
        drawn = [drawn_lesion(new, old) for new, old in zip(*pairs, strict=True)]
    else:
        drawn = list(_cut(positive(found), slices.axis)[sick])
    distances = [
        displacement(true, where, slices.spacing) for true, where in zip(slices.masks[sick], drawn, strict=True)
    ]
    values = np.asarray(distances, np.float64)
    return {"displacement_mm": _mean(values), "drawn": _mean(~np.isnan(values))}


def _dice(found: NDArray[Any], scan: Scan) -> float:
    lesion = _lesion(scan)
    return dice(positive(found), lesion) if lesion.any() else math.nan


def _lesion(scan: Scan) -> BoolArray:
    assert scan.label is not None
    return np.asarray(scan.label > 0)


def _mean(values: NDArray[Any]) -> float:
    """Return the mean without NaN; NaN of nothing."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan
