"""Semi-random masks: real lesions, turned and scaled, at random places apart from each other.

This is our reading of the semi-random masks of Faryna et al. 2021 (arXiv 2101.06468), who do not define them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from lesionforge.cohort.scan import BoolArray, LabelArray, Scan, slicing_spacing
from lesionforge.config import MethodConfig, parse_options
from lesionforge.errors import PlacementError
from lesionforge.masks.bank import CroppedMask, MaskBank
from lesionforge.masks.bank_config import BankConfig
from lesionforge.masks.base import MaskRequest, MaskSource
from lesionforge.masks.deformation import commonest_class, deform, one_voxel, random_rotation
from lesionforge.masks.ellipsoids import ellipsoid_distance
from lesionforge.masks.mask import DrawnMask
from lesionforge.masks.placement import allowed_region, crop_to_lesion, paste_apart
from lesionforge.preprocessing.brain.region import with_region
from lesionforge.preprocessing.lesions.single_lesions import split_lesions

TRIES = 50
"""Places that are tried for each lesion."""

_SHRINK = 0.95
"""Factor by which a lesion shrinks until its voxels keep to the greatest diameter."""


class SemiRandomConfig(MethodConfig):
    """Options of the masks ``semi_random``.

    Attributes:
        shapes: ``real`` lesions, or ``ellipsoids`` of their sizes and elongations.
        scale: range of the scale factor.
        max_diameter_mm: greatest distance between two corners of the voxels of a lesion, as drawn; larger lesions are
            scaled down, to a voxel at least.
        erode_mm: lesions lie deeper than this below the surface of the region for lesions.
    """

    shapes: Literal["real", "ellipsoids"] = "real"
    scale: tuple[float, float] = (0.8, 1.25)
    max_diameter_mm: float = Field(default=10.0, gt=0)
    erode_mm: float = Field(default=2.0, ge=0)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale is {self.scale}: give two numbers above 0, the smaller first")
        return self


class SemiRandom(MaskSource):
    """Real lesions, or ellipsoids like them, turned, mirrored and scaled, at random places inside the brain.

    A mask has as many lesions as a random training scan, each of them a random lesion of any scan.

    Args:
        bank: the lesion maps of the training scans.
        config: options; see :class:`SemiRandomConfig`.

    Raises:
        ConfigError: if an option is out of range.

    Example:
        >>> from pathlib import Path
        >>> from lesionforge.testing import tiny_cohort
        >>> cohort = tiny_cohort(Path("tiny"), spatial_dims=2)
        >>> from lesionforge.cohort.scan import load_scan
        >>> from lesionforge.seeding import generator
        >>> source = SemiRandom(MaskBank(cohort), SemiRandomConfig(max_diameter_mm=6))
        >>> placed = source.sample(load_scan(cohort.cases[0], ["FLAIR"]), generator(0))
        >>> placed.mask.shape, placed.mask_id
        ((64, 64), 'semi_random')
    """

    method = "semi_random"
    Config: ClassVar[type[MethodConfig]] = SemiRandomConfig

    def __init__(self, bank: MaskBank, config: SemiRandomConfig = SemiRandomConfig()) -> None:
        self.bank, self.subjects, self.config = bank, bank.subjects, config
        self.lesions, self.counts = list[CroppedMask](), list[int]()
        for whole in bank.lesions:
            found = split_lesions(whole.mask, whole.spacing)
            self.lesions += [replace(whole, mask=lesion, centre=None, brain_mm=None) for lesion, _ in found]
            self.counts.append(len(found))

    @classmethod
    def from_request(cls, request: MaskRequest) -> Self:
        """Take the lesions of the cohort that the user named."""
        return cls(MaskBank.of(BankConfig(), request), parse_options(SemiRandomConfig, request.options))

    @property
    def digest(self) -> str:
        """The digest of the lesions, with the options."""
        options = self.config
        return f"{self.bank.digest}, {(options.shapes, options.scale, options.max_diameter_mm, options.erode_mm)}"

    def draw(self, scan: Scan, rng: np.random.Generator) -> DrawnMask:
        """Draw as many lesions as a random training scan has.

        Raises:
            ConfigError: if the lesions have another number of dimensions than the scan.
            PlacementError: if the scan has no room for lesions.
        """
        scan, options = with_region(scan), self.config
        assert scan.region is not None
        allowed = allowed_region(scan) & eroded(scan.region, scan.spacing, options.erode_mm)
        if not allowed.any():
            what = f"has no room for a lesion {options.erode_mm:g} mm below the surface of the brain"
            raise PlacementError(scan.case.case_id, what, "leave this scan out, or use other masks")
        count = int(rng.choice(self.counts))
        lesions = [self._lesion_for(scan, int(number)) for number in rng.integers(len(self.lesions), size=count)]
        mask = _turned_apart(
            lesions, allowed, rng, spacing=scan.spacing, scale=options.scale, max_diameter_mm=options.max_diameter_mm
        )
        mask, corner = crop_to_lesion(mask) if mask.any() else (mask, None)
        return DrawnMask(mask=mask, mask_id=self.method, subjects=self.subjects, corner=corner)

    def _lesion_for(self, scan: Scan, number: int) -> LabelArray:
        """Return a lesion, or the ellipsoid like it, on the axes and spacing of a scan; a voxel or more."""
        whole = self.lesions[number]
        drawn = whole.drawn_for(scan).mask
        lesion = drawn if drawn.any() else one_voxel(whole.mask)
        return ellipsoid_like(lesion, scan.spacing) if self.config.shapes == "ellipsoids" else lesion


def eroded(region: BoolArray, spacing: Sequence[float], depth_mm: float) -> BoolArray:
    """Return the voxels of a region that lie deeper than this below its surface; the end of the grid is no surface.

    Args:
        region: ``(x, y[, z])``.
        spacing: millimetres along each axis.
        depth_mm: the depth in mm, from the centre of the nearest voxel outside.
    """
    if depth_mm == 0 or region.all() or not region.any():
        return region
    tight = ndimage.find_objects(region.view(np.uint8))[0]
    box = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in tight)
    deep = np.zeros_like(region)
    deep[box] = ndimage.distance_transform_edt(region[box], sampling=spacing) > depth_mm
    return deep


def scatter(
    components: Sequence[LabelArray],
    allowed: BoolArray,
    rng: np.random.Generator,
    *,
    count: int,
    spacing: Sequence[float],
    scale: tuple[float, float] = (0.8, 1.25),
    max_diameter_mm: float = 10.0,
) -> LabelArray:
    """Return a label map of random lesions, turned, mirrored and scaled, at random places apart from each other.

    A lesion that fits nowhere after some tries is left out.

    Args:
        components: ``(x, y[, z])`` label crops of real lesions on ``spacing``, at least one; each as likely as another,
            again and again.
        allowed: ``(x, y[, z])`` where lesions may lie, whole.
        rng: source of all randomness.
        count: number of lesions.
        spacing: millimetres along each axis.
        scale: range of the scale factor.
        max_diameter_mm: greatest distance between two corners of the voxels of a lesion, as drawn; larger lesions are
            scaled down, to a voxel at least.

    Returns:
        ``(x, y[, z])``, 0 elsewhere; at least one voxel lies between two lesions.

    Example:
        >>> lesion, allowed = np.ones((3, 3), np.int16), np.ones((20, 20), bool)
        >>> drawn = scatter([lesion], allowed, np.random.default_rng(0), count=4, spacing=(1.0, 1.0))
        >>> ndimage.label(drawn)[1]
        4
    """
    chosen = [components[number] for number in rng.integers(len(components), size=count)]
    return _turned_apart(chosen, allowed, rng, spacing=spacing, scale=scale, max_diameter_mm=max_diameter_mm)


def ellipsoid_like(lesion: LabelArray, spacing: Sequence[float]) -> LabelArray:
    """Return the ellipsoid with the second moments of a lesion, of the lesion's commonest class."""
    voxels = np.argwhere(lesion) * np.array(spacing)
    offsets = voxels - voxels.mean(0)
    moments = offsets.T @ offsets / len(voxels) + np.diag(np.square(spacing)) / 12
    variances, directions = np.linalg.eigh(moments)
    radii = np.sqrt((lesion.ndim + 2) * variances)
    shape = tuple(2 * int(np.ceil(radii.max() / step)) + 1 for step in spacing)
    inside = ellipsoid_distance(shape, np.array(shape) // 2, directions.T, radii, spacing) <= 1
    return crop_to_lesion(np.where(inside, commonest_class(lesion), 0).astype(np.int16))[0]


def diameter(lesion: LabelArray, spacing: Sequence[float]) -> float:
    """Return the greatest distance in mm between two corners of the voxels of a lesion.

    Args:
        lesion: ``(x, y[, z])`` with at least one lesion voxel.
        spacing: millimetres along each axis.
    """
    inside = lesion > 0
    surface = np.argwhere(inside & ~ndimage.binary_erosion(inside))
    offsets = np.indices((2,) * lesion.ndim).reshape(lesion.ndim, -1).T
    corners = (surface[:, None] + offsets).reshape(-1, lesion.ndim) * np.array(spacing)
    return float(pdist(corners[ConvexHull(corners).vertices]).max())


def _turned_apart(
    lesions: Sequence[LabelArray],
    allowed: BoolArray,
    rng: np.random.Generator,
    *,
    spacing: Sequence[float],
    scale: tuple[float, float],
    max_diameter_mm: float,
) -> LabelArray:
    """Return a label map of the lesions, turned, mirrored and scaled, whole within ``allowed`` and apart."""
    placed, taken, targets = np.zeros(allowed.shape, np.int16), np.zeros_like(allowed), np.flatnonzero(allowed)
    slicing = slicing_spacing(spacing, allowed.shape)
    for lesion in lesions:
        factor = min(rng.uniform(*scale), max_diameter_mm / diameter(lesion, spacing))
        mirrored = lesion[tuple(slice(None, None, step) for step in rng.choice((-1, 1), lesion.ndim))]
        rotation = random_rotation(slicing, np.pi, rng)
        turned = deform(mirrored, spacing, rng, factor=factor, rotation=rotation)
        while turned.size > 1 and diameter(turned, spacing) > max_diameter_mm:
            factor *= _SHRINK
            turned = deform(mirrored, spacing, rng, factor=factor, rotation=rotation)
        middle = np.array(turned.shape) // 2
        for _ in range(TRIES if len(targets) else 0):
            corner = (np.array(np.unravel_index(rng.choice(targets), allowed.shape)) - middle).tolist()
            if paste_apart(turned, corner, placed, taken, allowed=allowed, min_inside=1.0):
                break
    return placed
