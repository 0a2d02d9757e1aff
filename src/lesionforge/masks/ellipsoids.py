"""Semi-random masks: ellipsoids of random size, direction and number."""

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.layouts.labels import OnProblem, fail
from lesionforge.cohort.scan import BoolArray, Scan
from lesionforge.config import MethodConfig, parse_options
from lesionforge.errors import ConfigError, PlacementError
from lesionforge.masks.bank import MaskBank
from lesionforge.masks.base import MaskRequest, MaskSource
from lesionforge.masks.mask import DrawnMask
from lesionforge.masks.noise import smooth_noise
from lesionforge.masks.placement import JITTER_MM, allowed_region, crop_to_lesion, random_voxel, region_box
from lesionforge.preprocessing.brain.region import with_region

_BUMPS_PER_AXIS = 4


class EllipsoidsConfig(MethodConfig):
    """Options of the masks ``ellipsoids``.

    Attributes:
        count: least and greatest number of ellipsoids in a mask.
        diameter_mm: range of the diameter along each axis, in mm.
        irregularity: relative standard deviation of the bumps on the surface, 0 = smooth.
    """

    count: tuple[int, int] = (1, 3)
    diameter_mm: tuple[float, float] = (6.0, 30.0)
    irregularity: float = Field(default=0.1, ge=0)


class Ellipsoids(MaskSource):
    """Draws one or a few ellipsoids (ellipses in 2D), each at its own place.

    Args:
        count: least and greatest number of ellipsoids in a mask.
        diameter_mm: range of the diameter along each axis, in mm.
        prior: a cohort near whose lesions the ellipsoids lie; without it, every place in the region is equally likely.
        irregularity: relative standard deviation of the bumps on the surface, 0 = smooth.
        label: the class of the lesions.
        channel: the channel of ``prior`` in which the brain is found.
        on_problem: called with the error of each case of ``prior`` that is left out; raises by default.

    Raises:
        ConfigError: if a range has its ends swapped or is not positive, or the prior has no lesion.

    Example:
        >>> from pathlib import Path
        >>> from lesionforge.testing import tiny_cohort
        >>> cohort = tiny_cohort(Path("tiny"), spatial_dims=2)
        >>> from lesionforge.cohort.scan import load_scan
        >>> from lesionforge.seeding import generator
        >>> scan = load_scan(cohort.cases[0], ["FLAIR"])
        >>> placed = Ellipsoids(diameter_mm=(6, 12)).sample(scan, generator(0), min_volume=20)
        >>> int(placed.mask.max()), placed.subjects
        (1, frozenset())
    """

    method = "ellipsoids"
    Config: ClassVar[type[MethodConfig]] = EllipsoidsConfig

    def __init__(
        self,
        *,
        count: tuple[int, int] = (1, 3),
        diameter_mm: tuple[float, float] = (6.0, 30.0),
        prior: Cohort | None = None,
        irregularity: float = 0.1,
        label: int = 1,
        channel: str | None = None,
        on_problem: OnProblem = fail,
    ) -> None:
        for name, (low, high) in {"count": count, "diameter_mm": diameter_mm}.items():
            if not 0 < low <= high:
                raise ConfigError(name, f"{low} to {high} is not a range above 0", "give the smaller number first")
        self.count, self.diameter_mm, self.irregularity, self.label = count, diameter_mm, irregularity, label
        self.prior = None if prior is None else MaskBank(prior, channel=channel, on_problem=on_problem)
        self.subjects = frozenset() if self.prior is None else self.prior.subjects

    @classmethod
    def from_request(cls, request: MaskRequest) -> Self:
        """Place ellipsoids near the lesions of the cohort that the user named, anywhere if it has none."""
        prior = request.cohort if request.cohort is not None and len(request.cohort.with_lesions()) else None
        options = parse_options(EllipsoidsConfig, request.options).model_dump()
        return cls(prior=prior, channel=request.channel, on_problem=request.on_problem, **options)

    @property
    def digest(self) -> str:
        """The ranges, and the hash of the prior's lesions."""
        ranges = (self.count, self.diameter_mm, self.irregularity, self.label)
        return f"{ranges} {None if self.prior is None else self.prior.digest}"

    def draw(self, scan: Scan, rng: np.random.Generator) -> DrawnMask:
        """Draw the ellipsoids of one mask.

        Raises:
            PlacementError: if the scan has no room for lesions.
        """
        scan = with_region(scan)
        allowed = allowed_region(scan)
        if not allowed.any():
            raise PlacementError(scan.case.case_id, "has no room for a lesion", "leave this scan out")
        together = np.zeros(scan.spatial_shape, np.int16)
        for _ in range(rng.integers(self.count[0], self.count[1] + 1)):
            radii = rng.uniform(*self.diameter_mm, scan.spatial_dims) / 2
            self._paint(together, self._centre(scan, allowed, rng), radii, scan.spacing, rng)
        if not together.any():
            return DrawnMask(mask=together, mask_id="ellipsoids", subjects=self.subjects)
        mask, corner = crop_to_lesion(together)
        return DrawnMask(mask=mask, mask_id="ellipsoids", subjects=self.subjects, corner=corner)

    def _centre(self, scan: Scan, allowed: BoolArray, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return a random centre in voxels; with a prior, near one of its lesions."""
        relative = None if self.prior is None else self.prior.draw(scan, rng).centre
        if relative is None or scan.region is None:
            return random_voxel(allowed, rng)
        low, high = region_box(scan.region)
        jitter = rng.normal(0, JITTER_MM, len(relative)) / np.array(scan.spacing)
        return np.asarray(low + np.array(relative) * (high - low) + jitter)

    def _paint(
        self,
        mask: NDArray[np.int16],
        centre: NDArray[np.float64],
        radii: NDArray[np.float64],
        spacing: Sequence[float],
        rng: np.random.Generator,
    ) -> None:
        """Set the voxels of one ellipsoid."""
        directions = np.linalg.qr(rng.normal(size=(centre.size, centre.size)))[0]
        reach = radii.max() * (1 + 3 * self.irregularity) / np.array(spacing)
        low = np.maximum(0, np.floor(centre - reach)).astype(int)
        high = np.minimum(mask.shape, np.ceil(centre + reach) + 1).astype(int)
        shape = tuple(np.maximum(0, high - low))
        bumps = smooth_noise(shape, [_BUMPS_PER_AXIS] * centre.size, rng)
        distance = ellipsoid_distance(shape, centre - low, directions, radii, spacing)
        inside = distance < 1 + self.irregularity * bumps
        mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))][inside] = self.label


def ellipsoid_distance(
    shape: Sequence[int],
    centre: NDArray[np.float64],
    directions: NDArray[np.float64],
    radii: NDArray[np.float64],
    spacing: Sequence[float],
) -> NDArray[np.float64]:
    """Return the distance of each voxel from the centre of an ellipsoid, 1 on its surface.

    Args:
        shape: the size of the grid.
        centre: the centre in voxels.
        directions: its axes, one per row.
        radii: its radii in mm.
        spacing: millimetres along each axis.
    """
    offset = (np.indices(shape).reshape(len(shape), -1) - centre[:, None]) * np.array(spacing)[:, None]
    return np.asarray(np.linalg.norm((directions @ offset) / radii[:, None], axis=0).reshape(shape))
