"""Lesion masks before and after placement in a scan."""

from dataclasses import asdict, dataclass
from typing import Any

from lesionforge.cohort.scan import LabelArray


@dataclass(frozen=True, kw_only=True)
class DrawnMask:
    """A lesion label map drawn for a scan, not yet placed in it.

    Attributes:
        mask: ``(x, y[, z])`` tight crop around the lesion, on the axes and spacing of the target scan; integer
            classes, 0 = no lesion.
        mask_id: its origin, e.g. ``"case_07"``, ``"case_07+edited"``, ``"ellipsoids"``.
        subjects: the subjects that it comes from.
        centre: position of its centroid in the box of the source's brain, 0 to 1 along each axis of the target scan;
            ``None`` = anywhere.
        brain_mm: size of that box in mm, so that lesions far apart keep their relative places; ``None`` = that of the
            target's brain.
        corner: voxel of the target scan for the first voxel of ``mask``, if its place is fixed.
        clip: whether a mask with a fixed place is cut to the allowed region; ``False`` = it stays whole.
    """

    mask: LabelArray
    mask_id: str
    subjects: frozenset[str]
    centre: tuple[float, ...] | None = None
    brain_mm: tuple[float, ...] | None = None
    corner: tuple[int, ...] | None = None
    clip: bool = True


@dataclass(frozen=True, kw_only=True)
class LesionEdit:
    """What a named edit did to one lesion: a line of provenance.

    Attributes:
        what: name of the edit.
        source_case: the case that the lesion comes from.
        lesion: its number among the lesions of that case, the largest is 0.
        factor: how much longer the lesion is afterwards.
        shift_mm: how far it was moved along each axis of the scan, in mm; empty if it comes from another brain.
        kept: share of the edited lesion that was placed, the rest lay outside the brain or in fluid; 0 = left out.
        redraws: number of edits of this lesion that did not fit.
    """

    what: str
    source_case: str
    lesion: int
    factor: float
    shift_mm: tuple[float, ...]
    kept: float
    redraws: int

    def line(self) -> dict[str, Any]:
        """Return the line of a provenance record."""
        facts = asdict(self)
        return {"from": facts.pop("source_case"), **facts, "shift_mm": list(self.shift_mm)}


@dataclass(frozen=True, kw_only=True)
class PlacedMask:
    """A lesion label map on the grid of a scan.

    Attributes:
        mask: ``(x, y[, z])`` the new lesion only, 0 elsewhere; it overlaps no lesion that the scan already has, unless
            it takes their place.
        mask_id: see :class:`DrawnMask`.
        subjects: the subjects that it comes from.
        redraws: number of masks that did not fit before this one.
        edits: what was done to each lesion, if the edit has a name.
        instead: whether the mask takes the place of all lesions of the scan.
    """

    mask: LabelArray
    mask_id: str
    subjects: frozenset[str]
    redraws: int
    edits: tuple[LesionEdit, ...] = ()
    instead: bool = False
