"""One scan in numbers: its grid, its lesions, and samples of its intensities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Self

import numpy as np
from nibabel.orientations import aff2axcodes
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy import ndimage

from lesionforge.cohort.case import Annotation
from lesionforge.cohort.scan import BoolArray, FloatArray, LabelArray, Scan

SAMPLES_PER_CASE = 5000
FOREGROUND_LEVEL = 0.1
HIGHEST = 99.5
SLABS = 16
"""Number of slabs in which voxels are counted, since numpy makes 64-bit numbers of all voxels it counts at once."""


class Frozen(BaseModel):
    """An immutable record; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class LesionMeasures(Frozen):
    """One connected lesion, all classes together; voxels that touch at a corner are connected.

    Attributes:
        volume: mm³, or mm² in 2D.
        extent: size of the bounding box along each axis, in voxels.
        extent_mm: the same in mm.
        centre: centroid relative to the bounding box of the head, 0 … 1 along each axis.
    """

    volume: float
    extent: tuple[int, ...]
    extent_mm: tuple[float, ...]
    centre: tuple[float, ...]


class CaseMeasures(Frozen):
    """One case in numbers.

    Attributes:
        size: voxels along each axis.
        spacing: mm along each axis; see :func:`~lesionforge.cohort.scan.slicing_spacing`.
        orientation: directions of the axes, such as ``RAS``; empty for 2D.
        slices: slices along :func:`slice_axis` (1 for 2D).
        lesion_free_slices: number of slices without lesion; ``None`` if the lesions are unknown.
        class_volumes: label value → mm³ or mm².
        reach: channel → height of the brightest lesion voxels (their 99.5th percentile) above the lower end of the
            :class:`HeadLevels`, as a multiple of the height of typical voxels; empty without a lesion.
        beyond: channel → share of the lesion voxels below 0 or above the 99.5th percentile of the whole scan, which
            the published clipping would flatten; empty without a lesion.
        lesions: every connected lesion; empty if there is none or the lesions are unknown.
    """

    case_id: str
    subject_id: str
    annotation: Annotation
    size: tuple[int, ...]
    spacing: tuple[float, ...]
    orientation: str
    slices: int
    lesion_free_slices: int | None
    class_volumes: dict[int, float]
    lesions: tuple[LesionMeasures, ...]
    reach: dict[str, float] = {}
    beyond: dict[str, float] = {}

    @property
    def lesion_volume(self) -> float:
        """Volume of all lesions together, in mm³ or mm²."""
        return sum(lesion.volume for lesion in self.lesions)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The numbers of one case, with samples of its intensities by channel, inside and outside lesions."""

    case: CaseMeasures
    inside: Mapping[str, FloatArray]
    outside: Mapping[str, FloatArray]

    def as_arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything as arrays, by name."""
        parts = {"inside": self.inside, "outside": self.outside}
        samples = {f"{part} {channel}": values for part, of in parts.items() for channel, values in of.items()}
        return {"case": np.array(self.case.model_dump_json()), **samples}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return what :meth:`as_arrays` was made of."""
        parts: dict[str, dict[str, FloatArray]] = {"inside": {}, "outside": {}}
        for name, values in arrays.items():
            part, _, channel = name.partition(" ")
            if part in parts:
                parts[part][channel] = values
        return cls(case=CaseMeasures.model_validate_json(str(arrays["case"])), **parts)


def measure(scan: Scan) -> Measured:
    """Return a scan's numbers, lesions and intensity samples."""
    head = foreground(scan.image[0])
    label = np.zeros(scan.spatial_shape, np.int16) if scan.label is None else scan.label
    lesion = label > 0
    voxel = prod(scan.spacing)
    values, counts = np.unique(label[lesion], return_counts=True)
    orientation = "".join(aff2axcodes(scan.affine)) if scan.spatial_dims == 3 else ""
    across = slice_axis(scan.slicing_spacing, orientation) if orientation else None
    in_plane = tuple(axis for axis in range(scan.spatial_dims) if axis != across)
    pairs = list(zip(scan.channels, scan.image, strict=True))
    with_lesion = np.atleast_1d(lesion.any(axis=in_plane))
    case = CaseMeasures(
        case_id=scan.case.case_id,
        subject_id=scan.case.subject_id,
        annotation=scan.case.annotation,
        size=scan.spatial_shape,
        spacing=tuple(round(step, 6) for step in scan.spacing),
        orientation=orientation,
        slices=with_lesion.size,
        lesion_free_slices=None if scan.label is None else int((~with_lesion).sum()),
        class_volumes={int(value): count * voxel for value, count in zip(values, counts, strict=True)},
        lesions=_measure_lesions(lesion, head, scan.spacing),
        reach={channel: _reach(image, lesion) for channel, image in pairs if lesion.any()},
        beyond={channel: _beyond(image, lesion) for channel, image in pairs if lesion.any()},
    )
    return Measured(
        case=case,
        inside={channel: _sample(image[lesion]) for channel, image in pairs},
        outside={channel: _sample(image[head & ~lesion]) for channel, image in pairs},
    )


def slice_axis(spacing: Sequence[float], orientation: str = "RAS") -> int:
    """Return the axis of a volume with the largest spacing; among equal axes, the one that runs head to foot.

    Args:
        spacing: mm along each axis.
        orientation: directions of the axes.
    """
    thick = [axis for axis, step in enumerate(spacing) if step >= 0.99 * max(spacing)]
    upright = [axis for axis in thick if orientation[axis] in "SI"]
    return (upright or thick)[-1]


def foreground(image: FloatArray) -> BoolArray:
    """Return the head: the largest connected part of ``(x, y[, z])`` brighter than the background, holes filled.

    Brighter means above a tenth of the way from the scan's 0.5th to its 99.5th percentile. This separates air from
    tissue in MR, in Hounsfield units and in an 8-bit window.
    """
    low, high = np.percentile(image, (0.5, 99.5))
    parts, count = ndimage.label(image > low + FOREGROUND_LEVEL * (high - low))
    if count == 0:
        return np.ones(image.shape, bool)
    voxels = np.zeros(count + 1, np.int64)
    for slab in np.array_split(parts, SLABS):
        voxels += np.bincount(slab.ravel(), minlength=count + 1)
    head: BoolArray = ndimage.binary_fill_holes(parts == 1 + np.argmax(voxels[1:]))
    return head


@dataclass(frozen=True, kw_only=True)
class HeadLevels:
    """Intensities of a head that do not depend on the air around it.

    Attributes:
        low: 0, or the 0.5th percentile of all voxels if that is negative.
        typical: median of the voxels brighter than the background, see :func:`foreground`; above ``low``.
        high: 99.5th percentile of these voxels; at least ``typical``.
    """

    low: float
    typical: float
    high: float


def head_levels(image: FloatArray) -> HeadLevels:
    """Return the levels of one channel ``(x, y[, z])``."""
    low, high = (float(value) for value in np.percentile(image, (0.5, HIGHEST)))
    bright = image[image > low + FOREGROUND_LEVEL * (high - low)]
    typical, high = np.percentile(bright if bright.size else image, (50.0, HIGHEST))
    low = min(low, 0.0)
    typical = float(typical) if typical > low else low + 1.0
    return HeadLevels(low=low, typical=typical, high=max(float(high), typical))


def _reach(image: FloatArray, lesion: BoolArray) -> float:
    levels = head_levels(image)
    return (float(np.percentile(image[lesion], HIGHEST)) - levels.low) / (levels.typical - levels.low)


def _beyond(image: FloatArray, lesion: BoolArray) -> float:
    inside = image[lesion]
    return float(np.mean((inside < 0) | (inside > np.percentile(image, HIGHEST))))


def _measure_lesions(lesion: BoolArray, head: BoolArray, spacing: Sequence[float]) -> tuple[LesionMeasures, ...]:
    if not lesion.any():
        return ()
    around, of_head = _bounding_box(lesion), _bounding_box(head)
    parts: LabelArray
    parts, count = ndimage.label(lesion[around], structure=np.ones([3] * lesion.ndim))
    numbers = range(1, count + 1)
    voxels = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    centres = np.asarray(ndimage.center_of_mass(parts > 0, parts, numbers)) + [side.start for side in around]
    low = np.array([side.start for side in of_head])
    relative = np.clip((centres + 0.5 - low) / [side.stop - side.start for side in of_head], 0, 1)
    boxes = ndimage.find_objects(parts)
    extents = [tuple(side.stop - side.start for side in box) for box in boxes]
    return tuple(
        LesionMeasures(
            volume=float(voxels[index] * prod(spacing)),
            extent=extent,
            extent_mm=tuple(float(n * step) for n, step in zip(extent, spacing, strict=True)),
            centre=tuple(relative[index].tolist()),
        )
        for index, extent in enumerate(extents)
    )


def _bounding_box(mask: BoolArray) -> tuple[slice, ...]:
    (box,) = ndimage.find_objects(mask.view(np.int8))
    return tuple(box)


def _sample(values: FloatArray) -> FloatArray:
    """Return at most ``SAMPLES_PER_CASE`` values, evenly spaced over all of them."""
    if values.size <= SAMPLES_PER_CASE:
        return values
    picked: FloatArray = values[np.linspace(0, values.size - 1, SAMPLES_PER_CASE).astype(np.intp)]
    return picked
