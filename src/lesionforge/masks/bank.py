"""Real lesion masks, placed in other scans."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import apply_orientation, io_orientation, ornt_transform
from numpy.typing import NDArray

from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.layouts.labels import OnProblem, fail
from lesionforge.cohort.scan import BoolArray, LabelArray, Scan, load_scan, read_label
from lesionforge.config import MethodConfig, parse_options
from lesionforge.errors import CohortError, ConfigError, told
from lesionforge.masks.bank_config import BankConfig
from lesionforge.masks.base import MaskRequest, MaskSource
from lesionforge.masks.mask import DrawnMask
from lesionforge.masks.placement import brain_mm, crop_to_lesion, relative_place
from lesionforge.preprocessing.brain.region import find_region
from lesionforge.preprocessing.lesions.single_lesions import split_lesions

_RAS = np.array([[0, 1], [1, 1], [2, 1]], float)


@dataclass(frozen=True, kw_only=True)
class CroppedMask:
    """The lesion map of one case, cropped, with its axes in the order right, anterior, superior (3D).

    Attributes:
        mask: ``(x, y[, z])`` tight crop.
        spacing: millimetres along each axis.
        centre: position of its centroid in the box of the brain, 0 to 1 along each axis, if known.
        brain_mm: size of that box in mm along each axis, if known.
        mask_id: the case that it comes from.
        subject: the subject that it comes from.
    """

    mask: LabelArray
    spacing: tuple[float, ...]
    centre: tuple[float, ...] | None
    mask_id: str
    subject: str
    brain_mm: tuple[float, ...] | None = None

    def drawn_for(self, scan: Scan) -> DrawnMask:
        """Return the lesion on the axes and spacing of a scan, by nearest neighbour.

        Raises:
            ConfigError: if mask and scan differ in their number of dimensions.
        """
        if self.mask.ndim != scan.spatial_dims:
            raise ConfigError(
                self.mask_id,
                f"is a {self.mask.ndim}D mask, but {scan.case.case_id} is a {scan.spatial_dims}D scan",
                "take masks from a cohort with the same number of dimensions as the scans",
            )
        mask, spacing, centre, brain = self.mask, self.spacing, self.centre, self.brain_mm
        if mask.ndim == 3:
            turn = ornt_transform(_RAS, io_orientation(scan.affine))
            axes = _source_axes(turn)
            mask = apply_orientation(mask, turn)
            spacing = tuple(spacing[a] for a in axes)
            brain = None if brain is None else tuple(brain[a] for a in axes)
            if centre is not None:
                turned = [c if flip > 0 else 1 - c for c, flip in zip(centre, turn[:, 1], strict=True)]
                centre = tuple(turned[a] for a in axes)
        return DrawnMask(
            mask=resample(mask, spacing, scan.spacing),
            mask_id=self.mask_id,
            subjects=frozenset({self.subject}),
            centre=centre,
            brain_mm=brain,
        )


class MaskBank(MaskSource):
    """The whole lesion maps of a cohort's cases, all equally likely unless sizes are flattened.

    Label maps are read once; the place of each lesion is stored relative to the brain of its own scan.

    Args:
        cohort: a cohort with at least one lesion; cases without a lesion are ignored.
        channel: the channel in which the brain is found; by default each case's first.
        on_problem: called with the error of each case that is left out; raises by default.
        flatten_sizes: see :class:`BankConfig`.

    Raises:
        ConfigError: if no case has a lesion.
        CohortError: if a file cannot be read.

    Example:
        >>> from lesionforge.testing import tiny_cohort
        >>> cohort = tiny_cohort(Path("tiny"), spatial_dims=2)
        >>> from lesionforge.seeding import generator
        >>> bank = MaskBank(cohort)
        >>> placed = bank.sample(load_scan(cohort.cases[0], ["FLAIR"]), generator(0), min_volume=20)
        >>> placed.mask.shape, placed.subjects <= bank.subjects
        ((64, 64), True)
    """

    method = "bank"
    Config: ClassVar[type[MethodConfig]] = BankConfig
    made_of = 1
    flatten_sizes: float = 0.0

    def __init__(
        self,
        cohort: Cohort,
        *,
        channel: str | None = None,
        on_problem: OnProblem = fail,
        flatten_sizes: float = 0.0,
    ) -> None:
        self.flatten_sizes = flatten_sizes
        found, problems = list[CroppedMask | None](), list[CohortError]()
        for case in cohort.with_lesions().in_order():
            try:
                found.append(_read_case(case, channel))
            except CohortError as problem:
                problems.append(problem)
                on_problem(problem)
        self.lesions: tuple[CroppedMask, ...] = tuple(lesion for lesion in found if lesion is not None)
        if not self.lesions:
            what, remedy = "no case has a lesion to take as mask", "name a cohort with lesion labels"
            raise ConfigError(cohort.name, told(what, problems), remedy)
        self.subjects = frozenset(lesion.subject for lesion in self.lesions)

    @classmethod
    def from_request(cls, request: MaskRequest) -> Self:
        """Take the masks of the cohort that the user named."""
        return cls.of(parse_options(BankConfig, request.options), request)

    @classmethod
    def of(cls, options: BankConfig, request: MaskRequest) -> Self:
        """Take the masks of the cohort that the user named, with these options."""
        return cls(
            request.needed_cohort(),
            channel=request.channel,
            on_problem=request.on_problem,
            flatten_sizes=options.flatten_sizes,
        )

    @property
    def digest(self) -> str:
        """The SHA-256 of all lesion maps and their origins, and how sizes are flattened."""
        content = hashlib.sha256()
        for lesion in self.lesions:
            content.update(repr((lesion.mask_id, lesion.subject, lesion.spacing, lesion.centre)).encode())
            content.update(repr(lesion.brain_mm).encode())
            content.update(repr(lesion.mask.shape).encode() + np.ascontiguousarray(lesion.mask).tobytes())
        flattened = f", sizes flattened by {self.flatten_sizes:g}" if self.flatten_sizes else ""
        return content.hexdigest() + flattened

    def least_volume(self, scan: Scan) -> float:
        """Return half the volume of the smallest lesion."""
        return self._least_volume

    @cached_property
    def _least_volume(self) -> float:
        return half_of_the_smallest((lesion.mask, lesion.spacing) for lesion in self.lesions)

    def draw(self, scan: Scan, rng: np.random.Generator) -> DrawnMask:
        """Draw the lesion map of a random case."""
        return self.pick(np.arange(len(self.lesions)), rng).drawn_for(scan)

    def pick(self, among: NDArray[np.intp], rng: np.random.Generator) -> CroppedMask:
        """Return one of the lesion maps with these numbers."""
        weights = self._volumes[among] ** -self.flatten_sizes if self.flatten_sizes else None
        return self.lesions[rng.choice(among, p=None if weights is None else weights / weights.sum())]

    @cached_property
    def _volumes(self) -> NDArray[np.float64]:
        """The volumes of the lesion maps, relative to the smallest."""
        volumes = [np.count_nonzero(lesion.mask) * float(np.prod(lesion.spacing)) for lesion in self.lesions]
        return np.array(volumes) / min(volumes)


def resample(mask: LabelArray, spacing: Sequence[float], target: Sequence[float]) -> LabelArray:
    """Resample a mask to another spacing by nearest neighbour, so that nested classes stay nested.

    Args:
        mask: ``(x, y[, z])`` classes.
        spacing: spacing of the mask in mm.
        target: target spacing in mm.
    """
    picks = []
    for size, old, new in zip(mask.shape, spacing, target, strict=True):
        count = max(1, round(size * old / new))
        middles = ((np.arange(count) + 0.5) / count * size).astype(int)
        picks.append(middles)
    return np.ascontiguousarray(mask[np.ix_(*picks)])


def read_lesion(path: Path, *, mask_id: str, subject: str, region: BoolArray | None = None) -> CroppedMask | None:
    """Read a lesion label map; ``None`` if it is empty.

    Args:
        path: the label map.
        mask_id: the id of the lesion.
        subject: the subject that it comes from.
        region: the brain on the same grid, if known.

    Raises:
        CohortError: if it cannot be read.
    """
    label, affine = read_label(path)
    if not label.any():
        return None
    spacing = tuple(float(s) for s in voxel_sizes(affine)[: label.ndim])
    if label.ndim == 3:
        turn = io_orientation(affine)
        label = apply_orientation(label, turn)
        region = None if region is None else apply_orientation(region, turn)
        spacing = tuple(spacing[a] for a in _source_axes(turn))
    brain = region if region is not None and region.any() else None
    return CroppedMask(
        mask=crop_to_lesion(label)[0],
        spacing=spacing,
        centre=None if brain is None else relative_place(label, brain),
        brain_mm=None if brain is None else brain_mm(brain, spacing),
        mask_id=mask_id,
        subject=subject,
    )


def half_of_the_smallest(maps: Iterable[tuple[LabelArray, Sequence[float]]]) -> float:
    """Return half the volume, in mm³ (mm² in 2D), of the smallest lesion of several label maps.

    It is the least volume of a mask that a source of real lesions places unless the user gives one. A half, since a
    coarser grid or the edge of the brain may take away a part of the smallest lesion.

    Args:
        maps: label map ``(x, y[, z])`` and spacing in mm, one pair or more.
    """
    volumes = (
        np.count_nonzero(lesion) * float(np.prod(spacing))
        for mask, spacing in maps
        for lesion, _ in split_lesions(mask, spacing)
    )
    return 0.5 * min(volumes)


def _read_case(case: Case, channel: str | None) -> CroppedMask | None:
    if case.label is None:
        return None
    region = find_region(load_scan(case, [channel or next(iter(case.images))]))
    return read_lesion(case.label, mask_id=case.case_id, subject=case.subject_id, region=region)


def _source_axes(turn: NDArray[np.float64]) -> list[int]:
    """Return, for each axis after an orientation transform, its axis before it."""
    return [int(a) for a in np.argsort(turn[:, 0])]
