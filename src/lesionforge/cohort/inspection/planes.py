"""Planes through a scan as pictures show them: the patient's right at the picture's right, front or head up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel.orientations import aff2axcodes, apply_orientation, io_orientation
from numpy.typing import NDArray
from scipy import ndimage

from lesionforge.cohort.inspection.measure import slice_axis
from lesionforge.cohort.scan import LabelArray, Scan

PLANES = ("sagittal", "coronal", "axial")


@dataclass(frozen=True, kw_only=True)
class Plane:
    """A plane through a scan's grid.

    Attributes:
        name: ``axial``, ``coronal`` or ``sagittal``; ``slice`` if the scan is a slice.
        turn: nibabel orientation of the file's axes, or ``None`` for a slice.
        axis: the axis across the plane, after turning to RAS+.
        index: position of the plane along this axis.
        aspect: height of a pixel divided by its width.
    """

    name: str
    turn: NDArray[Any] | None
    axis: int
    index: int
    aspect: float

    def cut(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the ``(row, column)`` picture of an ``(x, y[, z])`` array on the scan's grid."""
        if self.turn is None:
            return array
        plane: NDArray[Any] = np.take(apply_orientation(array, self.turn), self.index, self.axis)
        return plane.T[::-1]


def key_plane(scan: Scan) -> Plane:
    """Return the plane across :func:`slice_axis` with most lesion; without lesion, the middle plane."""
    if scan.spatial_dims == 2:
        return _only_plane(scan)
    turn = io_orientation(scan.affine)
    axis = int(turn[slice_axis(scan.slicing_spacing, "".join(aff2axcodes(scan.affine))), 0])
    lesion = np.zeros(scan.spatial_shape, bool) if scan.label is None else scan.label > 0
    area = apply_orientation(lesion, turn).sum(axis=tuple(other for other in range(3) if other != axis))
    return _plane(scan, axis, int(np.argmax(area)) if area.any() else len(area) // 2)


def planes_through(scan: Scan, lesion: LabelArray) -> list[Plane]:
    """Return the axial, coronal and sagittal plane through the middle of the largest lesion, or the slice of a 2D scan.

    The middle is the lesion voxel nearest to the lesion's centre of mass, so each plane shows the lesion.

    Args:
        scan: the scan.
        lesion: ``(x, y[, z])`` on its grid; not all zero.
    """
    if scan.spatial_dims == 2:
        return [_only_plane(scan)]
    parts, _ = ndimage.label(apply_orientation(lesion > 0, io_orientation(scan.affine)), np.ones((3, 3, 3)))
    points = np.argwhere(parts == 1 + np.argmax(np.bincount(parts[parts > 0])[1:]))
    middle = points[np.argmin(np.square(points - points.mean(0)).sum(1))]
    return [_plane(scan, axis, int(middle[axis])) for axis in (2, 1, 0)]


def _only_plane(scan: Scan) -> Plane:
    return Plane(name="slice", turn=None, axis=0, index=0, aspect=scan.spacing[0] / scan.spacing[1])


def _plane(scan: Scan, axis: int, index: int) -> Plane:
    turn = io_orientation(scan.affine)
    width, height = np.delete(np.asarray(scan.spacing)[np.argsort(turn[:, 0])], axis)
    return Plane(name=PLANES[axis], turn=turn, axis=axis, index=index, aspect=float(height / width))
