"""Lesion masks before and after placement in a scan."""

from dataclasses import dataclass

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
class PlacedMask:
    """A lesion label map on the grid of a scan.

    Attributes:
        mask: ``(x, y[, z])`` the new lesion only, 0 elsewhere; it overlaps no lesion that the scan already has.
        mask_id: see :class:`DrawnMask`.
        subjects: the subjects that it comes from.
        redraws: number of masks that did not fit before this one.
    """

    mask: LabelArray
    mask_id: str
    subjects: frozenset[str]
    redraws: int
