"""A healed scan beside its original, cut into slices: what scores of healed scans are computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from nibabel.orientations import aff2axcodes
from numpy.typing import NDArray

from lesionforge.cohort.inspection.levels import central_slices, scan_heights
from lesionforge.cohort.inspection.measure import foreground, slice_axis
from lesionforge.cohort.scan import BoolArray, FloatArray, LabelArray, Scan
from lesionforge.preprocessing.intensity import Intensity, Range, to_model
from lesionforge.scores.healed_scans.displacement import displacement, drawn_lesion
from lesionforge.scores.healed_scans.healthiness import positive
from lesionforge.scores.healed_scans.identity import Identity, change_outside, identity

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Slices:
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

    @classmethod
    def of(cls, scan: Scan, intensity: Intensity, fraction: float) -> Self:
        """Cut a scan; of a volume the slices within the middle ``fraction`` of the head are looked at."""
        axis, used = None, np.ones(1, bool)
        if scan.spatial_dims == 3:
            axis = slice_axis(scan.slicing_spacing, "".join(aff2axcodes(scan.affine)))
            used = np.ones(scan.spatial_shape[axis], bool)
            if fraction < 1:
                used = central_slices(scan_heights(scan)[1], fraction)
        return cls(
            scan=scan,
            axis=axis,
            used=used,
            masks=_cut(true_lesion(scan), axis),
            head=_cut(foreground(scan.image[0]), axis),
            limits=intensity.limits(scan.image),
        )

    @property
    def pathological(self) -> BoolArray:
        """``(slice,)`` which of them show a lesion."""
        return self.used & self.masks.any((1, 2))

    @property
    def lesion_free(self) -> BoolArray:
        """``(slice,)`` which of them show the head and no lesion."""
        return self.used & ~self.masks.any((1, 2)) & self.head.any((1, 2))

    @property
    def spacing(self) -> list[float]:
        """Millimetres within a slice."""
        return [mm for axis, mm in enumerate(self.scan.spacing) if axis != self.axis]

    def cut(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return ``(x, y[, z])`` as ``(slice, x, y)``."""
        return _cut(array, self.axis)

    def scaled(self, image: FloatArray) -> FloatArray:
        """Return an image of the scan's units as ``(channel, slice, x, y)`` on the original's scale from 0 to 1."""
        pairs = zip(image, self.limits, strict=True)
        return np.stack([self.cut(to_model(channel, limits, (0.0, 1.0))) for channel, limits in pairs])


@dataclass(frozen=True, kw_only=True)
class HealedCase:
    """What a method made of a scan.

    Attributes:
        slices: of the original.
        image: ``(channel, x, y[, z])`` the healed scan.
        found: ``(x, y[, z])`` the lesion that f_pre finds in it.
        again: ``(channel, x, y[, z])`` with the lesion drawn again, of methods that can.
        found_again: ``(x, y[, z])`` the lesion that f_pre finds there, where it is to say where that is.
        own_map: ``(x, y[, z])`` the lesion that the method itself finds, of methods that say.
    """

    slices: Slices
    image: FloatArray
    found: NDArray[Any]
    again: FloatArray | None = None
    found_again: NDArray[Any] | None = None
    own_map: LabelArray | None = None

    @cached_property
    def pairs(self) -> list[tuple[FloatArray, FloatArray]]:
        """The healed and the original ``(slice, x, y)`` of each channel, from 0 to 1."""
        slices = self.slices
        return list(zip(slices.scaled(self.image), slices.scaled(slices.scan.image), strict=True))

    @cached_property
    def identity(self) -> list[Identity]:
        """Of the slices with a lesion, for each channel."""
        sick, masks, head = self.slices.pathological, self.slices.masks, self.slices.head
        if not sick.any():
            return []
        return [identity(new[sick], old[sick], masks[sick], head=head[sick]) for new, old in self.pairs]

    def changes(self, where: BoolArray) -> list[Values]:
        """Return the change of some slices in the head beside the lesion, for each channel."""
        beside = (self.slices.head & ~self.slices.masks)[where]
        return [change_outside(new[where], old[where], beside) for new, old in self.pairs]

    @cached_property
    def counts(self) -> tuple[int, int]:
        """Lesion voxels that f_pre finds, and true ones, in the slices that show a lesion."""
        lesions = (positive(self.found), true_lesion(self.slices.scan))
        found, true = (int(self.slices.cut(lesion)[self.slices.pathological].sum()) for lesion in lesions)
        return found, true

    @cached_property
    def displacements(self) -> Values:
        """``(slice,)`` mm from the true lesion to the one drawn again; NaN where none is, empty without a drawing."""
        if self.again is None:
            return np.array([])
        sick, masks, spacing = self.slices.pathological, self.slices.masks, self.slices.spacing
        pairs = zip(masks[sick], self._drawn_again(self.again), strict=True)
        return np.asarray([displacement(true, drawn, spacing) for true, drawn in pairs], np.float64)

    def _drawn_again(self, again: FloatArray) -> list[BoolArray]:
        sick = self.slices.pathological
        if self.found_again is not None:
            return list(self.slices.cut(positive(self.found_again))[sick])
        pairs = [np.moveaxis(self.slices.scaled(image)[:, sick], 1, 0) for image in (again, self.image)]
        return [drawn_lesion(new, old) for new, old in zip(*pairs, strict=True)]


def true_lesion(scan: Scan) -> BoolArray:
    """Return ``(x, y[, z])`` of a scan whose lesions are known."""
    assert scan.label is not None
    return np.asarray(scan.label > 0)


def _cut(array: NDArray[Any], axis: int | None) -> NDArray[Any]:
    return array[None] if axis is None else np.moveaxis(array, axis, 0)
