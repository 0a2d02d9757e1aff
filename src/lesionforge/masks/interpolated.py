"""Lesions between two real lesions, and a little beyond them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator
from scipy import ndimage

from lesionforge.cohort.scan import BoolArray, LabelArray, Scan
from lesionforge.config import MethodConfig, parse_options
from lesionforge.errors import ConfigError
from lesionforge.masks.bank import MaskBank
from lesionforge.masks.bank_config import BankConfig
from lesionforge.masks.base import MaskRequest, MaskSource
from lesionforge.masks.deformation import each_redrawn
from lesionforge.masks.mask import DrawnMask
from lesionforge.masks.placement import centroid, crop_to_lesion
from lesionforge.preprocessing.lesions.merging import by_class, by_depth, check_nested
from lesionforge.preprocessing.lesions.single_lesions import split_lesions

TRIES = 10
"""Draws of another case, and of a lesion that is not empty."""


class InterpolationConfig(BankConfig):
    """Options of the masks ``interpolated``.

    Attributes:
        weight: range of the weight λ of the second lesion, −0.5 to 1.5: 0 is the first lesion, 1 the second, and what
            lies beyond is extrapolated.
        nested: lesion classes from the outermost to the innermost, as values; by default in ascending order, but
            ED, RC, NCR, NET, CC, ET for the classes of BraTS.
    """

    weight: tuple[float, float] = (-0.2, 1.2)
    nested: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _in_range(self) -> Self:
        if not -0.5 <= self.weight[0] <= self.weight[1] <= 1.5:
            raise ValueError(f"weight is {self.weight}: give a range within −0.5 to 1.5")
        check_nested(self.nested)
        return self


class InterpolatedMasks(MaskSource):
    """Lesions whose signed distance is the weighted mean of those of two real lesions, ``(1 − λ) a + λ b``.

    Each lesion of a random case is replaced by one between it and a random lesion of another case, about its own
    centre, so numbers and places of lesions are those of real cases. Both cases are parents. Where an extrapolation
    leaves nothing, another is drawn.

    Args:
        source: the real lesions, of two cases or more.
        config: options; see :class:`InterpolationConfig`. Sizes are flattened by the source.

    Raises:
        ConfigError: if all lesions are of one case, or ``nested`` lacks a class of theirs.

    Example:
        >>> from pathlib import Path
        >>> from lesionforge.testing import tiny_cohort
        >>> cohort = tiny_cohort(Path("tiny"), spatial_dims=2)
        >>> source = InterpolatedMasks(MaskBank(cohort))
        >>> from lesionforge.cohort.scan import load_scan
        >>> drawn = source.draw(load_scan(cohort.cases[0], ["FLAIR"]), np.random.default_rng(0))
        >>> len(drawn.subjects)
        2
    """

    method = "interpolated"
    Config: ClassVar[type[MethodConfig]] = InterpolationConfig
    made_of = 2

    def __init__(self, source: MaskBank, config: InterpolationConfig = InterpolationConfig()) -> None:
        if len({lesion.mask_id for lesion in source.lesions}) < 2:
            what = "needs the lesions of two cases to interpolate between"
            raise ConfigError("masks 'interpolated'", what, "name a cohort with more, or use edited")
        classes = sorted({int(value) for lesion in source.lesions for value in np.unique(lesion.mask[lesion.mask > 0])})
        self.nested = config.nested or tuple(classes)
        if missing := set(classes) - set(self.nested):
            what = f"lacks the lesion class {min(missing)} of the masks"
            raise ConfigError("nested", what, "name all classes, from the outermost to the innermost")
        self.source, self.subjects, self.weight = source, source.subjects, config.weight

    @classmethod
    def from_request(cls, request: MaskRequest) -> Self:
        """Take the lesions of the cohort that the user named."""
        options = parse_options(InterpolationConfig, request.options)
        options = options.model_copy(update={"nested": options.nested or request.nested})
        return cls(MaskBank.of(options, request), options)

    def least_volume(self, scan: Scan) -> float:
        """Return that of the source."""
        return self.source.least_volume(scan)

    @property
    def digest(self) -> str:
        """The digest of the source, with the weights and the order of the classes."""
        return f"{self.source.digest}, interpolated {(self.weight, self.nested)}"

    def draw(self, scan: Scan, rng: np.random.Generator) -> DrawnMask:
        """Draw two cases and interpolate between their lesions."""
        first = self.source.draw(scan, rng)
        others = (self.source.draw(scan, rng) for _ in range(TRIES))
        second = next((other for other in others if other.mask_id != first.mask_id), first)
        partners = [lesion for lesion, _ in split_lesions(second.mask, scan.spacing)]
        mask, moved = each_redrawn(
            first.mask, scan.spacing, lambda lesion: self._interpolated(lesion, partners, scan.spacing, rng)
        )
        centre = first.centre
        if centre is not None:
            centre = tuple(float(c) for c in np.array(centre) + moved / np.array(first.brain_mm))
        return replace(
            first,
            mask=mask,
            mask_id=f"{first.mask_id}+{second.mask_id}+interpolated",
            subjects=first.subjects | second.subjects,
            centre=centre,
        )

    def _interpolated(
        self, lesion: LabelArray, partners: Sequence[LabelArray], spacing: Sequence[float], rng: np.random.Generator
    ) -> LabelArray:
        """Return a lesion between one and a random partner, or the lesion itself if all of several tries are empty."""
        for _ in range(TRIES):
            partner, weight = partners[int(rng.integers(len(partners)))], rng.uniform(*self.weight)
            pair = by_depth(lesion, self.nested), by_depth(partner, self.nested)
            found = interpolate(*pair, spacing, weight)
            if found.any():
                return by_class(crop_to_lesion(found)[0], self.nested)
        return lesion


def interpolate(first: LabelArray, second: LabelArray, spacing: Sequence[float], weight: float) -> LabelArray:
    """Return the lesion whose signed distance is ``(1 − weight) · first + weight · second``, for each depth.

    The centroids of the two lie on each other, to the voxel. Each depth lies within the one before it.

    Args:
        first: ``(x, y[, z])`` lesion, 1 for its outermost class, 2 for the next one, and so on.
        second: another lesion.
        spacing: millimetres along each axis.
        weight: 0 gives the first lesion, 1 the second; values beyond extrapolate.

    Returns:
        ``(x, y[, z])`` depths on a grid that holds the whole lesion, which may be empty if extrapolated.
    """
    one, other = _aligned(first, second, spacing, max(0.0, -weight, weight - 1))
    found, inside = np.zeros(one.shape, np.int16), np.ones(one.shape, bool)
    for depth in range(1, int(max(one.max(), other.max())) + 1):
        distances = _distance(one >= depth, spacing), _distance(other >= depth, spacing)
        a, b = (_vanished(*pair) for pair in (distances, distances[::-1]))
        inside = inside & ((1 - weight) * a + weight * b > 0)
        found[inside] = depth
    return found


def _aligned(
    first: LabelArray, second: LabelArray, spacing: Sequence[float], beyond: float
) -> tuple[LabelArray, LabelArray]:
    """Return two lesions on one grid, centroid on centroid, with room for an extrapolation by ``beyond``."""
    centres = [np.rint(centroid(lesion)).astype(int) for lesion in (first, second)]
    before = np.max(centres, axis=0)
    after = np.max([lesion.shape - centre for lesion, centre in zip((first, second), centres, strict=True)], axis=0)
    reach = beyond * np.linalg.norm((before + after) * np.array(spacing))
    room = 1 + np.ceil(reach / np.array(spacing)).astype(int)
    one, other = np.zeros((2, *(before + after + 2 * room)), np.int16)
    for grid, lesion, centre in zip((one, other), (first, second), centres, strict=True):
        corner = before - centre + room
        grid[tuple(slice(a, a + n) for a, n in zip(corner, lesion.shape, strict=True))] = lesion
    return one, other


def _distance(inside: BoolArray, spacing: Sequence[float]) -> NDArray[np.float64] | None:
    """Return the distance to the border in mm, negative outside; ``None`` if there is no inside.

    The border lies between voxels, half the smaller spacing from the centres of those beside it.
    """
    if not inside.any():
        return None
    within, outside = (ndimage.distance_transform_edt(part, sampling=spacing) for part in (inside, ~inside))
    return np.asarray(within - outside - np.where(inside, 0.5, -0.5) * min(spacing))


def _vanished(distance: NDArray[np.float64] | None, other: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Return a distance; a missing one is everywhere as far outside as the other is deep, which thus shrinks away."""
    if distance is not None:
        return distance
    assert other is not None
    return np.full(other.shape, -other.max())
