"""One named edit of lesion labels: enlarge, shrink, shift, mirror, or transplant to another brain.

Shin et al. 2018 (arXiv 1807.10225), Figures 2 and 3. All classes of a lesion move together, so nested classes
stay nested.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from lesionforge.cohort.scan import BoolArray, Scan
from lesionforge.config import MethodConfig
from lesionforge.errors import CohortError, ConfigError, PlacementError
from lesionforge.masks.bank import half_of_the_smallest
from lesionforge.masks.base import MaskRequest, MaskSource, with_brain
from lesionforge.masks.editing.donors import Donor, Lesions, read_donors
from lesionforge.masks.editing.edit_config import EDITS, EditConfig, EditName
from lesionforge.masks.editing.lesion_moves import Moved, mirrored, scaled, shifted
from lesionforge.masks.mask import DrawnMask, LesionEdit, PlacedMask
from lesionforge.masks.placement import JITTER_MM, TRIES, centroid, overlap, paste_apart
from lesionforge.preprocessing.brain.region import fluid_of, with_region
from lesionforge.preprocessing.lesions.merging import Winner, by_class, by_depth, give_way
from lesionforge.preprocessing.lesions.single_lesions import split_lesions


@dataclass(frozen=True, kw_only=True)
class _Room:
    """Where the lesions of a scan may lie after an edit.

    Attributes:
        allowed: ``(x, y[, z])``.
        fluid: ``(x, y[, z])`` fluid beside the scan's own lesions; ``None`` = none is known.
    """

    allowed: BoolArray
    fluid: BoolArray | None

    @classmethod
    def of(cls, scan: Scan, winner: Winner) -> Self:
        """Return the brain of a scan, without its fluid if that wins; own lesions are never fluid."""
        assert scan.region is not None
        own = np.zeros_like(scan.region) if scan.label is None else scan.label > 0
        fluid, allowed = fluid_of(scan), scan.region | own
        if fluid is None:
            return cls(allowed=allowed, fluid=None)
        fluid = fluid & ~own
        return cls(allowed=allowed & ~fluid if winner == "fluid" else allowed | fluid, fluid=fluid)


@dataclass(frozen=True, kw_only=True)
class _Start:
    """The lesions before an edit, on the grid of the target scan.

    Attributes:
        lesions: tight crops and first voxels, the largest lesion first.
        case_id: the case that they come from.
        subjects: the subjects that they come from.
        factor: how much longer they are than in that case.
    """

    lesions: Lesions
    case_id: str
    subjects: frozenset[str]
    factor: float = 1.0

    @classmethod
    def of(cls, scan: Scan, donor: Donor | None, edit: EditName) -> Self:
        """Return the scan's own lesions, or those of a donor.

        Raises:
            CohortError: if the scan has no lesion to edit, or one where it must have none.
        """
        case_id, label = scan.case.case_id, scan.label
        if donor is None:
            if label is None or not label.any():
                raise CohortError(case_id, f"has no lesion to {edit}", "edit scans with a lesion mask")
            lesions = _largest_first(split_lesions(label, scan.spacing))
            return cls(lesions=lesions, case_id=case_id, subjects=scan.case.ancestry)
        if label is None or label.any():
            what = "has a lesion, or unknown ones, but a transplant needs a lesion-free brain"
            raise CohortError(case_id, what, "take lesion-free scans, such as those that lesionforge heal writes")
        assert scan.region is not None
        moved, factor = donor.moved_to(scan, scan.region)
        return cls(lesions=_largest_first(moved), case_id=donor.case_id, subjects=donor.subjects, factor=factor)


class _Canvas:
    """The map that edited lesions are pasted into.

    Args:
        room: where they may lie.
    """

    def __init__(self, room: _Room) -> None:
        self.room, self.placed = room, np.zeros(room.allowed.shape, np.int16)
        self.taken = np.zeros_like(room.allowed)

    def paste(self, moved: Moved, *, apart: bool, min_inside: float) -> float:
        """Paste what has room of a lesion, and return its share; 0 if it was not pasted.

        Args:
            moved: the lesion.
            apart: whether it must not touch the lesions of the map; else they become one.
            min_inside: least share that must have room.
        """
        allowed, taken = self.room.allowed, self.taken if apart else np.zeros_like(self.taken)
        where = (moved.lesion, moved.corner, self.placed, taken)
        if not paste_apart(*where, allowed=allowed, min_inside=min_inside):
            return 0.0
        there, here = overlap(moved.corner, moved.lesion.shape, allowed.shape)
        return float(np.count_nonzero(allowed[there] & (moved.lesion[here] > 0)) / np.count_nonzero(moved.lesion))


class NamedEdits(MaskSource):
    """Makes one named edit; see :class:`EditConfig`.

    Each lesion (components that lie close to each other are one) is edited on its own, inside the brain, off the fluid
    of :func:`~lesionforge.preprocessing.brain.region.fluid_of`. What lies beyond is cut. A lesion that loses half of
    itself or touches another one is edited anew, up to ten times, and then left out; enlarged lesions may grow into
    each other. Less than the least volume of all lesions together is redrawn.

    Args:
        config: the edit and its options.
        donors: the lesions that ``transplant`` takes.

    Raises:
        ConfigError: if no edit is named, or there is nothing to transplant.
    """

    method = "edited"
    Config: ClassVar[type[MethodConfig]] = EditConfig

    def __init__(self, config: EditConfig, donors: Sequence[Donor] = ()) -> None:
        if config.edit is None or config.edit == "any":
            what = "is missing" if config.edit is None else f"{config.edit!r} is no single edit"
            raise ConfigError("edit", what, f"choose from {', '.join(EDITS)}")
        if config.edit == "transplant" and not donors:
            raise ConfigError("transplant", "no case has a lesion to transplant", "name a cohort with lesion labels")
        self.config, self.edit, self.donors = config, config.edit, tuple(donors)
        self.subjects = frozenset[str]().union(*(donor.subjects for donor in donors))

    @classmethod
    def of(cls, config: EditConfig, request: MaskRequest) -> Self:
        """Make the edit that a user named; ``transplant`` reads the cases with lesions of the request's cohort."""
        if config.edit != "transplant":
            return cls(config)
        donors = read_donors(request.needed_cohort(), channel=request.channel, on_problem=request.on_problem)
        return cls(config, donors)

    @property
    def digest(self) -> str:
        """The options and, for ``transplant``, the SHA-256 of all lesions."""
        lesions = hashlib.sha256("".join(donor.digest for donor in self.donors).encode()).hexdigest()
        return f"{self.config.model_dump_json()}, {lesions if self.donors else 'the label of each scan'}"

    @property
    def of_own_lesion(self) -> bool:
        """Whether the edit takes each scan's own lesions."""
        return self.config.of_own_lesion

    @property
    def instead(self) -> bool:
        """Whether the edited lesions take the place of the scan's own."""
        return self.config.of_own_lesion

    def draw(self, scan: Scan, rng: np.random.Generator) -> DrawnMask:
        """Return the lesions after one edit; they may be fewer than before, or none."""
        scan = with_region(scan)
        edited = self._edited(scan, rng, _Room.of(scan, self.config.over_fluid))
        return DrawnMask(
            mask=edited.mask,
            mask_id=edited.mask_id,
            subjects=edited.subjects,
            corner=(0,) * scan.spatial_dims,
            clip=False,
        )

    def sample(
        self,
        scan: Scan,
        rng: np.random.Generator,
        *,
        min_volume: float | None = None,
        max_redraws: int = 50,
        min_inside: float = 0.5,
        jitter_mm: float = JITTER_MM,
    ) -> PlacedMask:
        """Edit until enough of the lesions is left; see :meth:`MaskSource.sample`.

        Args:
            scan: the target scan.
            rng: source of all randomness.
            min_volume: least volume of the edited lesions, in mm³ (mm² in 2D); by default half that of the smallest
                lesion before, scaled down as far as the edit does.
            max_redraws: number of further edits to try, if there are others.
            min_inside: least share of an edited lesion that must lie in the brain and off its fluid, 0 to 1.
            jitter_mm: not used.

        Raises:
            PlacementError: if the scan has no brain, or no edit fits.
            CohortError: if the scan has no lesion to edit; for ``transplant``, if it has one.
        """
        scan = with_brain(scan)
        room = _Room.of(scan, self.config.over_fluid)
        tries = 1 if self.edit == "mirror" or len(self.donors) == 1 else max_redraws + 1
        for redraws in range(tries):
            edited = self._edited(scan, rng, room, min_volume=min_volume, min_inside=min_inside)
            if edited.mask.any():
                return replace(edited, redraws=redraws)
        what = f"no lesion fits after {self.edit} ({tries} tried): too little of it lies in the brain and off fluid"
        raise PlacementError(scan.case.case_id, what, "allow smaller volumes, use another edit, or leave the scan out")

    def _edited(
        self,
        scan: Scan,
        rng: np.random.Generator,
        room: _Room,
        *,
        min_volume: float | None = None,
        min_inside: float = 0.5,
    ) -> PlacedMask:
        """Return the lesions after one edit, the largest first; none if less than the least volume is left."""
        donor = self.donors[rng.integers(len(self.donors))] if self.donors else None
        start = _Start.of(scan, donor, self.edit)
        nested, canvas = self._nested(start), _Canvas(room)
        edits = tuple(
            self._edit(number, start, nested, canvas, scan, rng, min_inside=min_inside)
            for number in range(len(start.lesions))
        )
        placed = give_way(canvas.placed, room.fluid, self.config.over_fluid)
        least = self._least(start, scan) if min_volume is None else min_volume
        enough = np.count_nonzero(placed) * float(np.prod(scan.spacing)) >= least
        return PlacedMask(
            mask=by_class(placed, nested) if enough else np.zeros_like(placed),
            mask_id=f"{start.case_id}+{self.edit}",
            subjects=start.subjects,
            redraws=0,
            edits=edits,
            instead=self.instead,
        )

    def _edit(
        self,
        number: int,
        start: _Start,
        nested: tuple[int, ...],
        canvas: _Canvas,
        scan: Scan,
        rng: np.random.Generator,
        *,
        min_inside: float,
    ) -> LesionEdit:
        """Edit one lesion until it has room on the canvas, and say what was done."""
        lesion, corner = start.lesions[number]
        before = Moved(lesion=by_depth(lesion, nested), corner=corner, factor=start.factor)
        tries = TRIES if self.edit in ("enlarge", "shrink", "shift") else 1
        after, kept, redraws = before, 0.0, 0
        while not kept and redraws < tries:
            after = self._moved(before, scan, rng)
            kept = canvas.paste(after, apart=self.edit != "enlarge", min_inside=min_inside)
            redraws += not kept
        return LesionEdit(
            what=self.edit,
            source_case=start.case_id,
            lesion=number,
            factor=round(after.factor, 4),
            shift_mm=_distance_mm(before, after, scan) if self.of_own_lesion else (),
            kept=round(kept, 4),
            redraws=redraws,
        )

    def _moved(self, lesion: Moved, scan: Scan, rng: np.random.Generator) -> Moved:
        """Return a lesion after the edit; a transplanted one lies on the scan's grid already."""
        here = (lesion.lesion, lesion.corner, scan)
        if self.edit in ("enlarge", "shrink"):
            return scaled(*here, rng, self.config.factors)
        if self.edit == "shift":
            return shifted(*here, rng, self.config.distance_mm)
        if self.edit == "mirror":
            assert scan.region is not None
            return mirrored(*here, scan.region)
        return lesion

    def _nested(self, start: _Start) -> tuple[int, ...]:
        """Return the lesion classes from the outermost to the innermost."""
        found = sorted({int(value) for lesion, _ in start.lesions for value in np.unique(lesion[lesion > 0])})
        missing = set(found) - set(self.config.nested)
        if self.config.nested and missing:
            what = f"does not name the lesion class {min(missing)} of {start.case_id}"
            raise ConfigError("nested", what, "name every class, from the outermost to the innermost")
        return self.config.nested or tuple(found)

    def _least(self, start: _Start, scan: Scan) -> float:
        """Return the least volume of all edited lesions together, in mm³ (mm² in 2D)."""
        smallest = half_of_the_smallest((lesion, scan.spacing) for lesion, _ in start.lesions)
        return smallest * min(1.0, self.config.factors[0]) ** scan.spatial_dims


def _largest_first(lesions: Lesions) -> Lesions:
    return sorted(lesions, key=lambda found: -np.count_nonzero(found[0]))


def _distance_mm(before: Moved, after: Moved, scan: Scan) -> tuple[float, ...]:
    """Return how far the centroid of a lesion moved along each axis, in mm."""
    voxels = np.add(after.corner, centroid(after.lesion)) - before.corner - centroid(before.lesion)
    return tuple(round(float(mm), 3) for mm in voxels * np.array(scan.spacing))
