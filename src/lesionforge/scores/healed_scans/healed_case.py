"""A healed scan and its original, cut into slices, from which scores of healed scans are computed."""

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
    """Original scan cut into slices, with the slices that are scored.

    Attributes:
        scan: the original scan.
        axis: axis perpendicular to the slices; ``None`` for a 2D scan.
        used: ``(slice,)`` mask of the slices that are scored.
        masks: ``(slice, x, y)`` true lesions.
        head: ``(slice, x, y)`` mask of the head.
        limits: intensities of the original that map to 0 and 1, for each channel.
    """

    scan: Scan
    axis: int | None
    used: BoolArray
    masks: BoolArray
    head: BoolArray
    limits: Sequence[Range]

    @classmethod
    def of(cls, scan: Scan, intensity: Intensity, fraction: float) -> Self:
        """Cut a scan into slices; those within the central ``fraction`` of the head's height are scored."""
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
        """``(slice,)`` mask of the scored slices that show a lesion."""
        return self.used & self.masks.any((1, 2))

    @property
    def lesion_free(self) -> BoolArray:
        """``(slice,)`` mask of the scored slices that show the head and no lesion."""
        return self.used & ~self.masks.any((1, 2)) & self.head.any((1, 2))

    @property
    def spacing(self) -> list[float]:
        """Voxel spacing within a slice in mm."""
        return [mm for axis, mm in enumerate(self.scan.spacing) if axis != self.axis]

    def cut(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return an ``(x, y[, z])`` array as ``(slice, x, y)``."""
        return _cut(array, self.axis)

    def scaled(self, image: FloatArray) -> FloatArray:
        """Return an image in the scan's units as ``(channel, slice, x, y)``, scaled to 0–1 by the original's limits."""
        pairs = zip(image, self.limits, strict=True)
        return np.stack([self.cut(to_model(channel, limits, (0.0, 1.0))) for channel, limits in pairs])


@dataclass(frozen=True, kw_only=True)
class HealedCase:
    """Output of a method for one scan.

    Attributes:
        slices: slices of the original.
        image: ``(channel, x, y[, z])`` healed scan.
        found: ``(x, y[, z])`` lesion that f_pre finds in the healed scan.
        again: ``(channel, x, y[, z])`` reconstruction with the lesion drawn again, if the method makes one.
        found_again: ``(x, y[, z])`` lesion that f_pre finds in the reconstruction, if f_pre is used to locate it.
        own_map: ``(x, y[, z])`` lesion that the method itself finds, if it outputs one.
    """

    slices: Slices
    image: FloatArray
    found: NDArray[Any]
    again: FloatArray | None = None
    found_again: NDArray[Any] | None = None
    own_map: LabelArray | None = None

    @cached_property
    def pairs(self) -> list[tuple[FloatArray, FloatArray]]:
        """Healed and original ``(slice, x, y)`` images of each channel, from 0 to 1."""
        slices = self.slices
        return list(zip(slices.scaled(self.image), slices.scaled(slices.scan.image), strict=True))

    @cached_property
    def identity(self) -> list[Identity]:
        """Identity scores of the slices with a lesion, for each channel."""
        sick, masks, head = self.slices.pathological, self.slices.masks, self.slices.head
        if not sick.any():
            return []
        return [identity(new[sick], old[sick], masks[sick], head=head[sick]) for new, old in self.pairs]

    def changes(self, where: BoolArray) -> list[Values]:
        """Return the change in the head outside the lesion for the slices ``where``, for each channel."""
        beside = (self.slices.head & ~self.slices.masks)[where]
        return [change_outside(new[where], old[where], beside) for new, old in self.pairs]

    @cached_property
    def counts(self) -> tuple[int, int]:
        """Numbers of lesion voxels that f_pre finds and of true lesion voxels, in the slices with a lesion."""
        lesions = (positive(self.found), true_lesion(self.slices.scan))
        found, true = (int(self.slices.cut(lesion)[self.slices.pathological].sum()) for lesion in lesions)
        return found, true

    @cached_property
    def displacements(self) -> Values:
        """``(slice,)`` distances in mm from the true lesion to the one drawn again.

        NaN for a slice without a drawn lesion; empty without a reconstruction.
        """
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
    """Return the ``(x, y[, z])`` lesion mask of an annotated scan."""
    assert scan.label is not None
    return np.asarray(scan.label > 0)


def _cut(array: NDArray[Any], axis: int | None) -> NDArray[Any]:
    return array[None] if axis is None else np.moveaxis(array, axis, 0)
