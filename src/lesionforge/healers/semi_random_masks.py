"""Semi-random masks for healthy training images, and the training items of ``mask_cyclegan``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesionforge.cohort.scan import BoolArray, LabelArray, Scan
from lesionforge.errors import CohortError
from lesionforge.healers.healing_items import HealingItems, Plane, box_sums
from lesionforge.masks.semi_random import diameter, eroded, scatter
from lesionforge.preprocessing.brain.region import with_region
from lesionforge.preprocessing.crops import Crop
from lesionforge.preprocessing.pipeline import Sample

EDGE_MM = 2.0
"""Distance from the edge of the brain that semi-random lesions keep."""


def with_inner_region(scan: Scan) -> Scan:
    """Return the scan with its region, without fluid and what lies within :data:`EDGE_MM` of the region's edge."""
    scan = with_region(scan)
    assert scan.region is not None
    inner = eroded(scan.region, scan.spacing, EDGE_MM)
    return replace(scan, region=inner if scan.fluid is None else inner & ~scan.fluid)


@dataclass(frozen=True, kw_only=True)
class SemiRandomMasks:
    """Draws masks like those of training images: real lesions, turned and scaled, at random places.

    Source: the semi-random masks of Faryna et al. 2021 (arXiv 2101.06468), who do not define them.

    Attributes:
        lesions: ``(x, y[, z])`` label crop of every training lesion.
        counts: number of lesions of every training image.
        room: median number of voxels of a training image in which lesions may lie.
        max_diameter_mm: greatest distance in mm between two corners of the voxels of a lesion.
    """

    lesions: Sequence[LabelArray]
    counts: Sequence[int]
    room: float
    max_diameter_mm: float

    @classmethod
    def of(cls, images: Iterable[Sample], *, max_diameter_mm: float | None) -> Self:
        """Return masks like those of images with lesions.

        Args:
            images: images, each with a lesion and a region.
            max_diameter_mm: greatest diameter of a lesion; ``None`` takes that of the largest training lesion.
        """
        lesions, counts, rooms, largest = list[LabelArray](), list[int](), list[int](), 0.0
        for image in images:
            assert image.label is not None
            assert image.region is not None
            found = connected_lesions(image.label)
            lesions += found
            counts.append(len(found))
            rooms.append(int(np.count_nonzero(image.region)))
            if max_diameter_mm is None:
                largest = max(largest, *(diameter(lesion, image.spacing) for lesion in found))
        return cls(
            lesions=lesions, counts=counts, room=float(np.median(rooms)), max_diameter_mm=max_diameter_mm or largest
        )

    def draw(self, allowed: BoolArray, spacing: Sequence[float], rng: np.random.Generator) -> LabelArray:
        """Return the mask of at least one lesion, or an empty one if nothing is allowed.

        A training crop shows the lesion that it was cut around, and each other lesion of its image with the share of
        the image that it covers. The number of lesions follows the same law. Lesions that find no room are drawn
        smaller.

        Args:
            allowed: ``(x, y[, z])`` where lesions may lie.
            spacing: millimetres along each axis.
            rng: source of all randomness.
        """
        share = min(1.0, np.count_nonzero(allowed) / max(self.room, 1.0))
        count = 1 + int(rng.binomial(int(rng.choice(self.counts)) - 1, share))
        limit, mask = self.max_diameter_mm, np.zeros(allowed.shape, np.int16)
        while allowed.any() and not mask.any():
            mask = scatter(self.lesions, allowed, rng, count=count, spacing=spacing, max_diameter_mm=limit)
            limit /= 2
        return mask


def connected_lesions(label: LabelArray) -> list[LabelArray]:
    """Return the crop of every connected lesion of a label map; voxels that touch at a corner are connected."""
    parts, _ = ndimage.label(label > 0, np.ones((3,) * label.ndim))
    boxes = ndimage.find_objects(parts)
    return [np.where(parts[box] == number, label[box], 0) for number, box in enumerate(boxes, start=1)]


class SemiRandomItems(HealingItems):
    """Training items with the mask of the pathological image, and ``semi_random``, a mask for the healthy image.

    Healthy crops lie where lesions may lie, see :func:`~lesionforge.healers.healing_items.draw_places`.

    Args:
        samples: annotated samples with a region.
        max_diameter_mm: see :meth:`SemiRandomMasks.of`.
        options: see :class:`HealingItems`.

    Raises:
        CohortError: see :class:`HealingItems`; or if no lesion-free crop has room for a lesion.
    """

    def __init__(self, samples: Sequence[Sample], *, max_diameter_mm: float | None, **options: Any) -> None:
        super().__init__(samples, **options)
        self.masks = SemiRandomMasks.of(map(self._plane, self.pathological), max_diameter_mm=max_diameter_mm)

    def _check(self, name: str) -> None:
        if self.pathological and not self.healthy:
            what = "has no lesion-free scan with room for a lesion inside the brain"
            raise CohortError(name, what, "add lesion-free cases, or give the scans anatomy labels")
        super()._check(name)

    def _room(self, sample: Sample, size: tuple[int, ...]) -> NDArray[np.int64]:
        """Return the number of voxels in every box where a lesion may lie; 0 for boxes with too little tissue."""
        assert sample.region is not None
        return np.where(super()._room(sample, size) > 0, box_sums(sample.region, size), 0)

    def _healthy_parts(self, sample: Sample, crop: Crop) -> dict[str, Any]:
        assert sample.region is not None
        return {**super()._healthy_parts(sample, crop), "mask": crop.cut(sample.region[None]).astype(np.float32)}

    def _semi_random(self, plane: Plane, healthy: dict[str, Any], rng: np.random.Generator) -> Any:
        spacing = self.samples[plane.sample].spacing[: self.spatial_dims]
        return self.masks.draw(np.asarray(healthy["mask"])[0] > 0, spacing, rng)[None]
