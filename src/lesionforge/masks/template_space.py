"""Masks of different brains on one grid: that of the MNI152 template, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesionforge.cohort.brain_shape import BrainShape, Matrix, mni_brain
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.layouts.labels import OnProblem, fail
from lesionforge.cohort.scan import FloatArray, LabelArray, Scan, load_scan, read_label
from lesionforge.errors import CohortError
from lesionforge.masks.place import with_region

FEWEST_MASKS = 20


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
        """About how many voxels the template's brain has: as an ellipsoid of its moments would."""
        return float(4 / 3 * np.pi * np.sqrt(np.linalg.det(5 * self.brain.covariance)) / self.voxel_mm3)

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel."""
        return float(np.prod(self.spacing))

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
        """Return ``(channel, x, y, z)`` maps of this grid in a scan, by the affine between the two brains; 0 outside.

        Raises:
            CohortError: if the scan has no brain to go by.
        """
        to_index = np.linalg.inv(self.affine) @ self.from_scan(scan) @ scan.affine
        options = {"offset": to_index[:3, 3], "output_shape": scan.spatial_shape, "order": 1}
        return np.stack([ndimage.affine_transform(part, to_index[:3, :3], **options) for part in probabilities])

    def from_scan(self, scan: Scan) -> Matrix:
        """Return the 4×4 affine from a scan's millimetres to the template's.

        Raises:
            CohortError: if the scan has no brain to go by.
        """
        region = with_region(scan).region
        assert region is not None
        try:
            return BrainShape.of(region, scan.affine).affine_to(self.brain)
        except ValueError as error:
            raise CohortError(scan.case.case_id, "no brain was found in this scan", "give it anatomy labels") from error


def take_masks(cohort: Cohort, grid: TemplateGrid, *, on_problem: OnProblem = fail) -> tuple[Cohort, LabelArray]:
    """Return the lesion cases of ``cohort`` that can be used, and their masks in template space.

    A case with a scan is brought there by the affine between its brain and the template's; one without is taken to be
    there already.

    Args:
        cohort: volumes with lesions.
        grid: where the masks are wanted.
        on_problem: called with the error of each case that is left out; raises unless given.

    Returns:
        the cases, and ``(n, x, y, z)`` classes.

    Raises:
        CohortError: if fewer than 20 masks are left, or all of them are alike.
    """
    cases, masks = [], []
    for case in cohort.with_lesions():
        try:
            assert case.label is not None
            label, affine = read_label(case.label)
            if label.ndim != 3:
                raise CohortError(case.label, "is a slice, but the mask generator draws volumes", "leave it out")
            to_label: Matrix = np.asarray(np.linalg.inv(affine), np.float64)
            if case.images:
                to_label = to_label @ np.linalg.inv(grid.from_scan(load_scan(case, [next(iter(case.images))])))
            mask = grid.take(label, to_label)
            if not mask.any():
                raise CohortError(case.label, "lies outside the MNI152 brain", "bring it to MNI space, or add scans")
        except CohortError as problem:
            on_problem(problem)
            continue
        cases.append(case)
        masks.append(mask)
    if len(masks) < FEWEST_MASKS:
        what = f"has {len(masks)} usable lesion masks, fewer than {FEWEST_MASKS}"
        raise CohortError(cohort.name, what, "add masks, or draw them with --masks edited instead")
    if all(np.array_equal(mask, masks[0]) for mask in masks[1:]):
        raise CohortError(cohort.name, "all its lesion masks are alike", "name a folder of different masks")
    return cohort.with_cases(cases), np.stack(masks)


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
