"""A grid over the MNI152 template's brain, to and from which masks and maps of different brains are mapped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesionforge.cohort.scan import BoolArray, FloatArray, LabelArray, Scan
from lesionforge.errors import CohortError
from lesionforge.preprocessing.brain.brain_shape import BrainShape, Matrix, inverse, mni_brain
from lesionforge.preprocessing.brain.region import find_region

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, kw_only=True)
class TemplateGrid:
    """A grid over the template's brain.

    Attributes:
        size: voxels along x, y and z.
        affine: 4×4, voxel indices to MNI millimetres.
        brain: the template's brain.
    """

    size: tuple[int, ...]
    affine: Matrix
    brain: BrainShape

    @classmethod
    def covering(cls, size: Sequence[int]) -> TemplateGrid:
        """Return the grid of ``size`` voxels that just holds the MNI152 brain."""
        mask, affine = mni_brain()
        voxels = np.argwhere(mask)
        corners = np.stack([voxels.min(0) - 0.5, voxels.max(0) + 0.5]) @ affine[:3, :3].T + affine[:3, 3]
        low, high = corners.min(0), corners.max(0)
        step = (high - low) / np.array(size)
        grid = np.diag([*step, 1.0])
        grid[:3, 3] = low + step / 2
        return cls(size=tuple(size), affine=grid, brain=BrainShape.of(mask, affine))

    @property
    def spacing(self) -> tuple[float, ...]:
        """Millimetres along x, y and z."""
        return tuple(float(self.affine[a, a]) for a in range(3))

    @property
    def brain_voxels(self) -> float:
        """Approximate number of voxels of the template's brain: that of an ellipsoid with its moments."""
        return float(4 / 3 * np.pi * np.sqrt(np.linalg.det(5 * self.brain.covariance)) / self.voxel_mm3)

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel, in mm³."""
        return float(np.prod(self.spacing))

    def template_brain(self) -> BoolArray:
        """Return the template's brain ``(x, y, z)`` on this grid."""
        mask, affine = mni_brain()
        return self.resample(mask, inverse(affine), order=0)

    def resample(
        self, array: NDArray[Scalar], to_array: Matrix, *, order: Literal[0, 1], outside: float = 0
    ) -> NDArray[Scalar]:
        """Return an array on this grid, in its own data type.

        Args:
            array: ``(x, y, z)``.
            to_array: 4×4, this grid's millimetres to the array's voxel indices.
            order: 0 for the nearest voxel, 1 for linear interpolation.
            outside: value beyond the array.
        """
        to_index = to_array @ self.affine
        options = {"offset": to_index[:3, 3], "output_shape": self.size, "order": order, "cval": outside}
        values = array.view(np.uint8) if array.dtype == bool else array
        return np.asarray(ndimage.affine_transform(values, to_index[:3, :3], **options)).view(array.dtype)

    def take(self, label: LabelArray, to_label: Matrix) -> LabelArray:
        """Return a label map on this grid; its lesions keep their volume as far as whole voxels can.

        Args:
            label: ``(x, y, z)`` lesion classes.
            to_label: 4×4, this grid's millimetres to the label map's voxel indices.
        """
        to_index = to_label @ self.affine
        fine = tuple(int(np.ceil(length - 1e-6)) for length in np.linalg.norm(to_index[:3, :3], axis=0))
        padded = np.pad(label, 1).ravel()
        values = padded[_nearest(self.size, fine, label.shape, to_index.tobytes())].reshape(-1, int(np.prod(fine)))
        filled = np.count_nonzero(values, axis=1)
        volume = np.count_nonzero(label) / abs(np.linalg.det(to_index[:3, :3]))
        voxels = min(max(1, round(volume)), np.count_nonzero(filled))
        taken = np.zeros(len(values), np.int16)
        chosen = np.argsort(-filled, kind="stable")[:voxels]
        classes = np.unique(label[label > 0])
        if len(classes):
            counts = np.stack([np.count_nonzero(values[chosen] == value, axis=1) for value in classes])
            taken[chosen] = classes[counts.argmax(0)]
        return taken.reshape(self.size)

    def put(self, probabilities: FloatArray, scan: Scan) -> FloatArray:
        """Map ``(channel, x, y, z)`` from this grid to a scan by the affine between the two brains; 0 outside.

        Raises:
            CohortError: if no brain is found in the scan.
        """
        to_index = inverse(self.affine) @ self.from_scan(scan) @ scan.affine
        options = {"offset": to_index[:3, 3], "output_shape": scan.spatial_shape, "order": 1}
        return np.stack([ndimage.affine_transform(part, to_index[:3, :3], **options) for part in probabilities])

    def from_scan(self, scan: Scan) -> Matrix:
        """Return the 4×4 affine from a scan's millimetres to the template's.

        Raises:
            CohortError: if no brain is found in the scan.
        """
        try:
            return BrainShape.of(find_region(scan), scan.affine).affine_to(self.brain)
        except ValueError as error:
            raise CohortError(scan.case.case_id, "no brain was found in this scan", "give it anatomy labels") from error


@lru_cache(maxsize=2)
def _nearest(size: tuple[int, ...], fine: tuple[int, ...], shape: tuple[int, ...], to_index: bytes) -> NDArray[np.intp]:
    """Return, for ``fine`` points in every voxel of a grid, the flat index into a label map with a rim of one voxel."""
    matrix = np.frombuffer(to_index, np.float64).reshape(4, 4)
    axes = [(np.arange(n * f) + 0.5) / f - 0.5 for n, f in zip(size, fine, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1)
    wanted = np.rint(matrix[:3, :3] @ points + matrix[:3, 3:]).astype(int) + 1
    inside = np.all((wanted > 0) & (wanted <= np.array(shape)[:, None]), axis=0)
    flat = np.ravel_multi_index(tuple(wanted * inside), tuple(n + 2 for n in shape))
    blocks = flat.reshape([k for n, f in zip(size, fine, strict=True) for k in (n, f)])
    return np.ascontiguousarray(blocks.transpose(0, 2, 4, 1, 3, 5)).ravel()
