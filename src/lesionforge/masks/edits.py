"""Masks of another source, shifted, scaled, rotated, mirrored and bent."""

from dataclasses import replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lesionforge.cohort.scan import LabelArray, Scan
from lesionforge.config import MethodConfig, parse_options
from lesionforge.errors import ConfigError
from lesionforge.masks.bank import MaskBank
from lesionforge.masks.base import MaskRequest, MaskSource
from lesionforge.masks.deformation import deform, each_redrawn, random_rotation
from lesionforge.masks.editing.any_edit import AnyEdit
from lesionforge.masks.editing.edit_config import EditConfig
from lesionforge.masks.editing.named_edits import NamedEdits
from lesionforge.masks.mask import DrawnMask
from lesionforge.masks.placement import brain_mm, centroid, left_right_axis, region_box, within_grid
from lesionforge.preprocessing.brain.region import with_region


class EditedMasks(MaskSource):
    """Edits the masks of another source. Classes move together, so nested classes stay nested.

    Each lesion of a mask is scaled, rotated and bent about its own centre, so that lesions far apart stay far apart;
    lesions that grow into each other become one. Shift and mirroring are those of the whole mask.

    Args:
        source: the source of the masks.
        shift_mm: range of the shift along each axis, in mm.
        scale: range of the scale factor.
        rotation_deg: greatest rotation; in the slice plane if slices are thick, else about any axis.
        mirror: mirror shape and place between left and right with probability one half.
        elastic_mm: standard deviation of a smooth random displacement, in mm; 0 = none.

    Raises:
        ConfigError: if a range has its ends swapped, or a scale is not positive.

    Example:
        >>> from pathlib import Path
        >>> from lesionforge.testing import tiny_cohort
        >>> cohort = tiny_cohort(Path("tiny"), spatial_dims=2)
        >>> from lesionforge.masks import MaskBank
        >>> source = EditedMasks(MaskBank(cohort), scale=(0.5, 1.0), mirror=False)
        >>> sorted(source.subjects)
        ['sub_00', 'sub_01', 'sub_02', 'sub_03']
    """

    method = "edited"
    Config: ClassVar[type[MethodConfig]] = EditConfig
    made_of = 1

    def __init__(
        self,
        source: MaskSource,
        *,
        shift_mm: tuple[float, float] = (-10.0, 10.0),
        scale: tuple[float, float] = (0.6, 1.4),
        rotation_deg: float = 40.0,
        mirror: bool = True,
        elastic_mm: float = 1.0,
    ) -> None:
        for name, (low, high) in {"shift_mm": shift_mm, "scale": scale}.items():
            if low > high:
                raise ConfigError(name, f"the ends of {low} to {high} are swapped", "give the smaller number first")
        if scale[0] <= 0 or elastic_mm < 0:
            raise ConfigError("scale, elastic_mm", "out of range", "use scales above 0 and elastic_mm of 0 or more")
        self.source, self.subjects = source, source.subjects
        self.shift_mm, self.scale, self.rotation_deg = shift_mm, scale, rotation_deg
        self.mirror, self.elastic_mm = mirror, elastic_mm

    @classmethod
    def from_request(cls, request: MaskRequest) -> MaskSource:
        """Edit the masks of the cohort that the user named, or make named edits; see :class:`NamedEdits`."""
        options = parse_options(EditConfig, request.options)
        if options.edit is None:
            return cls(MaskBank.of(options, request))
        options = options.model_copy(update={"nested": options.nested or request.nested})
        return AnyEdit(options) if options.edit == "any" else NamedEdits.of(options, request)

    def least_volume(self, scan: Scan) -> float:
        """Return the least volume of the source, scaled down as far as the edits scale lesions down."""
        return self.source.least_volume(scan) * min(1.0, self.scale[0]) ** scan.spatial_dims

    @property
    def digest(self) -> str:
        """The digest of the source, with the ranges of the edits."""
        ranges = (self.shift_mm, self.scale, self.rotation_deg, self.mirror, self.elastic_mm)
        return f"{self.source.digest}, edited {ranges}"

    def to(self, device: str) -> Self:
        """Move the source."""
        self.source.to(device)
        return self

    def draw(self, scan: Scan, rng: np.random.Generator) -> DrawnMask:
        """Draw a mask from the source and edit it."""
        scan = with_region(scan)
        drawn = self.source.draw(scan, rng)
        centre = _relative_place(drawn, scan)
        if not drawn.mask.any():
            return replace(drawn, centre=centre, corner=None)
        shift = within_grid(rng.uniform(*self.shift_mm, scan.spatial_dims), scan)
        mask, moved = each_redrawn(drawn.mask, scan.spacing, lambda lesion: self._edited(lesion, scan, rng))
        flip = self.mirror and rng.random() < 0.5
        axis = left_right_axis(scan)
        if flip:
            mask = np.flip(mask, axis)
        if centre is not None:
            box = _box_mm(scan)
            place = centre + moved / np.array(drawn.brain_mm or box)
            if flip:
                place[axis] = 1 - place[axis]
            centre = tuple(float(c) for c in place + shift / box)
        return replace(drawn, mask=mask, mask_id=f"{drawn.mask_id}+edited", centre=centre, corner=None)

    def _edited(self, lesion: LabelArray, scan: Scan, rng: np.random.Generator) -> LabelArray:
        """Return one lesion scaled, rotated and bent."""
        factor = rng.uniform(*self.scale)
        rotation = random_rotation(scan.slicing_spacing, np.deg2rad(self.rotation_deg), rng)
        return deform(lesion, scan.spacing, rng, factor=factor, rotation=rotation, elastic_mm=self.elastic_mm)


def _relative_place(drawn: DrawnMask, scan: Scan) -> tuple[float, ...] | None:
    """Return the relative place of a drawn mask, also if its place is fixed."""
    if drawn.corner is None or not drawn.mask.any() or scan.region is None or not scan.region.any():
        return drawn.centre
    low, high = region_box(scan.region)
    return tuple(float(c) for c in (np.array(drawn.corner) + centroid(drawn.mask) - low) / np.maximum(high - low, 1))


def _box_mm(scan: Scan) -> NDArray[np.float64]:
    """Return the size of the box of the brain in mm; that of the grid if there is no brain."""
    if scan.region is None or not scan.region.any():
        return np.asarray(np.multiply(scan.spatial_shape, scan.spacing))
    return np.array(brain_mm(scan.region, scan.spacing))
