"""Lesions that are moved to another brain, by an affine alignment of the two brains."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.layouts.labels import OnProblem, fail
from lesionforge.cohort.scan import BoolArray, LabelArray, Scan, load_scan
from lesionforge.errors import CohortError, ConfigError, PlacementError
from lesionforge.masks.deformation import one_voxel
from lesionforge.masks.placement import centroid, crop_to_lesion
from lesionforge.preprocessing.brain.brain_shape import BrainShape, Matrix, inverse
from lesionforge.preprocessing.brain.region import find_region
from lesionforge.preprocessing.lesions.single_lesions import split_lesions

Lesions = list[tuple[LabelArray, tuple[int, ...]]]
"""The tight crop of each lesion, and its first voxel."""


@dataclass(frozen=True, kw_only=True)
class Donor:
    """The lesions of a case, and the place and extent of its brain.

    Attributes:
        lesions: the single lesions on the grid of the case.
        affine: voxel indices to millimetres (RAS+), 4×4 for a volume, 3×3 for a slice.
        brain: the brain that the lesions lie in.
        case_id: the case.
        subjects: the subjects that the lesions come from.
    """

    lesions: Lesions
    affine: Matrix
    brain: BrainShape
    case_id: str
    subjects: frozenset[str]

    @property
    def digest(self) -> str:
        """The SHA-256 of all lesions, their places and their brain."""
        content = hashlib.sha256(repr((self.case_id, sorted(self.subjects))).encode())
        content.update(self.affine.tobytes() + self.brain.mean.tobytes() + self.brain.covariance.tobytes())
        for lesion, corner in self.lesions:
            content.update(repr((lesion.shape, corner)).encode() + np.ascontiguousarray(lesion).tobytes())
        return content.hexdigest()

    def moved_to(self, scan: Scan, region: BoolArray) -> tuple[Lesions, float]:
        """Return the lesions on the grid of a scan, and by what factor they became longer.

        The affine gives the donor's brain the mean and covariance of the scan's brain, see
        :meth:`~lesionforge.preprocessing.brain.brain_shape.BrainShape.affine_to`. Lesions are resampled by nearest
        neighbour; one that falls between the voxels becomes a voxel.

        Args:
            scan: the target scan.
            region: ``(x, y[, z])`` its brain.

        Raises:
            ConfigError: if donor and scan differ in their number of dimensions.
            CohortError: if the scan shows no brain that can be aligned.
            PlacementError: if the lesions are larger than the brain.
        """
        dims = scan.spatial_dims
        if dims != len(self.affine) - 1:
            what = f"is a {dims}D scan, but {self.case_id} has {len(self.affine) - 1}D lesions"
            raise ConfigError(scan.case.case_id, what, "take lesions from scans with the same number of dimensions")
        grid = _square(scan.affine, dims)
        to_scan = self.brain.affine_to(_shape_of(region, grid, scan.case.case_id))
        to_voxel = inverse(grid) @ to_scan @ self.affine
        lesions = [_mapped(lesion, corner, to_voxel) for lesion, corner in self.lesions]
        voxels, room = sum(np.count_nonzero(lesion) for lesion, _ in lesions), np.count_nonzero(region)
        if voxels > room:
            what = f"the lesions of {self.case_id} ({voxels} voxels) are larger than this brain ({room} voxels)"
            raise PlacementError(scan.case.case_id, what, "check both label maps, or use other lesions")
        return lesions, float(abs(np.linalg.det(to_scan[:dims, :dims])) ** (1 / dims))


def read_donors(cohort: Cohort, *, channel: str | None = None, on_problem: OnProblem = fail) -> list[Donor]:
    """Read the lesions of all cases that have some.

    Args:
        cohort: the cases.
        channel: the channel in which the brain is found; by default each case's first.
        on_problem: called with the error of each case that is left out; raises by default.
    """
    donors = []
    for case in cohort.with_lesions().in_order():
        try:
            donors.append(_read(case, channel or next(iter(case.images))))
        except CohortError as problem:
            on_problem(problem)
    return donors


def _read(case: Case, channel: str) -> Donor:
    scan = load_scan(case, [channel])
    assert scan.label is not None
    affine = _square(scan.affine, scan.spatial_dims)
    return Donor(
        lesions=split_lesions(scan.label, scan.spacing),
        affine=affine,
        brain=_shape_of(find_region(scan), affine, case.case_id),
        case_id=case.case_id,
        subjects=case.ancestry,
    )


def _square(affine: NDArray[np.float64], dims: int) -> Matrix:
    """Return the affine of the first axes; that of a slice has no third one."""
    kept = [*range(dims), 3]
    return np.asarray(affine[np.ix_(kept, kept)])


def _shape_of(region: BoolArray, affine: Matrix, case_id: str) -> BrainShape:
    try:
        return BrainShape.of(region, affine)
    except ValueError as error:
        raise CohortError(case_id, f"cannot be aligned: {error}", "give it anatomy labels, or leave it out") from error


def _mapped(lesion: LabelArray, corner: tuple[int, ...], to_voxel: Matrix) -> tuple[LabelArray, tuple[int, ...]]:
    """Return the tight crop of a lesion on another grid, and its first voxel there.

    Args:
        lesion: ``(x, y[, z])`` tight crop.
        corner: its first voxel.
        to_voxel: voxel indices to those of the other grid.
    """
    dims, back = lesion.ndim, inverse(to_voxel)
    ends = np.array(list(product(*zip(np.array(corner) - 0.5, np.add(corner, lesion.shape) - 0.5, strict=True))))
    reached = ends @ to_voxel[:dims, :dims].T + to_voxel[:dims, dims]
    first, last = np.floor(reached.min(0)).astype(int), np.ceil(reached.max(0)).astype(int)
    offset = back[:dims, :dims] @ first + back[:dims, dims] - corner + 1
    shape = tuple(int(n) for n in last - first + 1)
    found = ndimage.affine_transform(np.pad(lesion, 1), back[:dims, :dims], offset, shape, order=0)
    if not found.any():
        middle = to_voxel[:dims, :dims] @ (corner + centroid(lesion)) + to_voxel[:dims, dims]
        return one_voxel(lesion), tuple(int(n) for n in np.rint(middle))
    crop, start = crop_to_lesion(found)
    return crop, tuple(int(n) for n in first + start)
