"""Training items of pseudo-healthy synthesis: a pathological image, a healthy one, and for some methods a mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod, radians
from typing import Any, Literal

import numpy as np
import torch
from monai.transforms import Compose
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from lesionforge.augmentation.moves import RandMirrord, RandMoved
from lesionforge.augmentation.seeded import apply_seeded
from lesionforge.cohort.inspection.levels import central_slices, level_auc, match_levels, slice_heights
from lesionforge.cohort.inspection.measure import foreground
from lesionforge.cohort.scan import BoolArray, FloatArray, LabelArray
from lesionforge.errors import CohortError
from lesionforge.preprocessing.crops import Crop
from lesionforge.preprocessing.intensity import Range
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.seeding import derive_seed, generator
from lesionforge.synthesizers.translation.conditions import one_hot

Pairing = Literal["paired", "unpaired", "none"]
KEPT_PLACES = 256
TISSUE_SHARE = 0.05


@dataclass(frozen=True, kw_only=True)
class Plane:
    """A slice of a volume, or a whole 2D or 3D sample.

    Attributes:
        sample: index of the sample.
        z: index of the slice, or ``None`` for the whole sample.
        height: height of the slice in the head, 0 (bottom) to 1 (top); for a whole sample, its ``height``.
        places: ``(n, spatial_dims)`` first voxels of lesion-free crops; empty for a pathological plane.
    """

    sample: int
    z: int | None
    height: float
    places: NDArray[np.intp]


class HealingItems(Dataset[dict[str, Tensor]]):
    """Dataset of training items: ``pathological`` image, ``healthy`` image and, if masks are used, ``mask``.

    Images are ``(channel, x, y[, z])``, 0 to 1; masks are ``(class, x, y[, z])``, 0 or 1. A pathological slice shows a
    lesion and a healthy slice shows none; in volumes the same holds for crops.

    With ``paired``, the mask is that of the pathological image. With ``unpaired``, the mask is of another subject; the
    mask of the image itself is used only to choose crops that show part of the lesion.

    Args:
        samples: annotated samples. A 2D sample without label shows a lesion at an unknown position.
        spatial_dims: 2 or 3; 2 takes the slices of volumes.
        roi_size: size of the items, in voxels.
        output: intensity range of the samples' images.
        classes: lesion classes, one mask channel each.
        pairing: ``paired``, ``unpaired``, or ``none`` for no masks.
        augment: whether to mirror left and right at random, and to rotate by up to 5°.
        fraction: fraction of the height of the head, around its middle, from which slices of volumes are taken.
        seed: seed of all randomness, together with the index of the item.
        name: name of the cohort, for error messages.

    Attributes:
        pathological: planes with a lesion, which are equally likely.
        healthy: planes with lesion-free crops, which are equally likely unless :meth:`weigh` is called.

    Raises:
        CohortError: if no plane is pathological or none is healthy, or if required masks are missing.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        *,
        spatial_dims: int,
        roi_size: tuple[int, ...],
        output: Range,
        classes: tuple[int, ...],
        pairing: Pairing,
        augment: bool,
        fraction: float = 1.0,
        seed: int,
        name: str = "the training cohort",
    ) -> None:
        self.samples, self.spatial_dims, self.roi_size = samples, spatial_dims, roi_size
        self.output, self.classes, self.pairing, self.seed = output, classes, pairing, seed
        self.fraction = fraction
        self.pathological: list[Plane] = []
        self.healthy: list[Plane] = []
        for number, sample in enumerate(samples):
            self._sort(number, sample)
        self._index_masks()
        self._check(name)
        self.augment = light_augmentation(spatial_dims) if augment else None
        self.chances: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, draw: int) -> dict[str, Tensor]:
        rng = generator(self.seed, "healing", draw)
        plane = self.pathological[int(rng.integers(len(self.pathological)))]
        shown = self._around_lesion(plane, rng)
        beside = self.healthy[int(rng.choice(len(self.healthy), p=self.chances))]
        free = self._without_lesion(beside, rng)
        if self.pairing == "paired":
            shown = self._varied(shown, draw, "pathological")
            lesion = shown["mask"]
        else:
            shown = self._varied({"image": shown["image"]}, draw, "pathological")
            lesion = self._mask_of_another(plane, draw, rng) if self.pairing == "unpaired" else None
        healthy = self._varied(free, draw, "healthy")
        images = {"pathological": shown["image"], "healthy": healthy["image"]}
        masks = {"mask": lesion, "semi_random": self._semi_random(beside, healthy, rng)}
        return {name: torch.from_numpy(np.asarray(image, np.float32)) for name, image in images.items()} | {
            name: torch.from_numpy(one_hot(np.asarray(mask)[0].astype(np.int16), self.classes))
            for name, mask in masks.items()
            if mask is not None
        }

    def weigh(self, weights: Sequence[float]) -> None:
        """Set the probabilities of healthy planes, for example to match the heights of pathological planes.

        Call it before training.

        Args:
            weights: one weight per plane in :attr:`healthy`; 0 or more, not all 0.

        Raises:
            ValueError: if the weights have another length, or if they are negative or all 0.
        """
        chances = np.asarray(weights, float)
        if chances.shape != (len(self.healthy),) or chances.min() < 0 or not chances.sum() > 0:
            raise ValueError(f"weights must be {len(self.healthy)} numbers of 0 or more, not all 0")
        self.chances = chances / chances.sum()

    def match_levels(self, bins: int) -> dict[str, Any]:
        """Draw healthy slices at the levels of pathological slices, and leave out slices without a counterpart.

        Args:
            bins: number of bins of the height, see :func:`~lesionforge.cohort.inspection.levels.match_levels`.

        Returns:
            The number of ``bins``; ``what`` was left out; and ``auc`` and ``auc_matched``, the area under the ROC curve
            of a classifier that sees only the level, before and after matching (``None`` for fewer than two slices of a
            kind).

        Raises:
            CohortError: if no healthy slice lies at the level of a pathological slice, or the slices that are left
                cannot be trained on.
        """
        pathological, healthy = (np.array([p.height for p in part]) for part in (self.pathological, self.healthy))
        match = match_levels(pathological, healthy, bins)
        self.pathological = [p for p, kept in zip(self.pathological, match.matched, strict=True) if kept]
        self._index_masks()
        self._check("the slices at matched levels")
        self.weigh(match.weights.tolist())
        enough = min(len(self.pathological), match.kept) > 1
        return {
            "bins": bins,
            "what": match.describe(),
            "auc": level_auc(pathological, healthy) if enough else None,
            "auc_matched": level_auc(pathological[match.matched], healthy, match.weights) if enough else None,
        }

    def _index_masks(self) -> None:
        self.masked = [plane for plane in self.pathological if self.samples[plane.sample].label is not None]
        self.subjects = np.array([self.samples[plane.sample].subject_id for plane in self.masked])

    def _sort(self, number: int, sample: Sample) -> None:
        """Add the pathological and healthy planes of a sample."""
        shape = sample.image.shape[1:]
        sliced = len(shape) > self.spatial_dims
        if sample.label is None and len(shape) == 3:
            what = "has a lesion but no mask, so its lesion-free slices and crops are unknown"
            raise CohortError(sample.case_id, what, "add the mask, or leave the case out")
        lesion = np.ones(shape, bool) if sample.label is None else sample.label > 0
        if sliced or self.spatial_dims == 2:
            lesion = np.broadcast_to(lesion.any(axis=(0, 1)), shape)
        size = tuple(min(roi, n) for roi, n in zip(self.roi_size, shape, strict=False))
        free = (box_sums(lesion, size) == 0) * self._room(sample, size)
        heights = slice_heights(foreground(sample.image[0])) if sliced else np.array([sample.height])
        rng = generator(self.seed, "places", number)
        for z in np.flatnonzero(central_slices(heights, self.fraction)).tolist():
            height, plane = float(heights[z]), z if sliced else None
            places = draw_places(free[..., z] if sliced else free, rng)
            if (lesion[..., z] if sliced else lesion).any():
                self.pathological.append(Plane(sample=number, z=plane, height=height, places=places[:0]))
            if len(places):
                self.healthy.append(Plane(sample=number, z=plane, height=height, places=places))

    def _room(self, sample: Sample, size: tuple[int, ...]) -> NDArray[np.int64]:
        """Return the number of tissue voxels in every box of a size, indexed by its first voxel; 0 for too few."""
        tissue = to_unit(sample.image[0], self.output) > sample.level[0] / 2
        room = box_sums(tissue, size)
        return np.where(room >= TISSUE_SHARE * prod(size), room, 0)

    def _check(self, name: str) -> None:
        kind = "slice" if self.spatial_dims == 2 else "crop"
        if not self.pathological:
            raise CohortError(name, f"has no {kind} with a lesion", "add cases whose lesions are annotated")
        if not self.healthy:
            raise CohortError(name, f"has no {kind} that is annotated as lesion-free", "add lesion-free cases")
        if self.pairing == "paired" and len(self.masked) < len(self.pathological):
            missing = next(p for p in self.pathological if self.samples[p.sample].label is None)
            where = self.samples[missing.sample].case_id
            raise CohortError(where, "has a lesion but no mask, which paired training needs", "train with `unpaired`")
        if self.pairing == "unpaired" and len(set(self.subjects)) < 2:
            what = "has masks of fewer than two subjects, but unpaired training needs masks of other subjects"
            raise CohortError(name, what, "add annotated cases")

    def _plane(self, plane: Plane) -> Sample:
        sample = self.samples[plane.sample]
        return sample if plane.z is None else sample.slice(plane.z)

    def _around_lesion(self, plane: Plane, rng: np.random.Generator) -> dict[str, Any]:
        """Return image and mask of a crop with a random lesion voxel at a random position in it."""
        sample = self._plane(plane)
        shape = sample.image.shape[1:]
        voxels = np.argwhere(np.ones(shape) if sample.label is None else sample.label > 0)
        crop = Crop.around((voxels[rng.integers(len(voxels))] + self._shift(rng)).tolist(), self.roi_size, shape)
        parts = {"image": self._image(sample, crop)}
        if sample.label is not None:
            parts["mask"] = crop.cut(sample.label[None]).astype(np.float32)
        return parts

    def _mask_of_another(self, plane: Plane, draw: int, rng: np.random.Generator) -> Any:
        """Return the mask of a crop of another subject."""
        others = np.flatnonzero(self.subjects != self.samples[plane.sample].subject_id)
        mask = self._around_lesion(self.masked[int(rng.choice(others))], rng)["mask"]
        return self._varied({"mask": mask}, draw, "mask")["mask"]

    def _without_lesion(self, plane: Plane, rng: np.random.Generator) -> dict[str, Any]:
        """Return the image of a random lesion-free crop."""
        place = plane.places[int(rng.integers(len(plane.places)))]
        return self._healthy_parts(self._plane(plane), Crop(tuple(place.tolist()), self.roi_size))

    def _healthy_parts(self, sample: Sample, crop: Crop) -> dict[str, Any]:
        """Return what an item takes from a lesion-free crop, before augmentation."""
        return {"image": self._image(sample, crop)}

    def _semi_random(self, plane: Plane, healthy: dict[str, Any], rng: np.random.Generator) -> Any:
        """Return the mask of lesions to draw into a crop of a healthy plane, ``(1, x, y[, z])``, or ``None``."""
        return None

    def _shift(self, rng: np.random.Generator) -> NDArray[np.intp]:
        return np.array([size // 2 - int(rng.integers(size)) for size in self.roi_size])

    def _image(self, sample: Sample, crop: Crop) -> FloatArray:
        return to_unit(crop.cut(sample.image, fill=self.output[0]), self.output)

    def _varied(self, parts: dict[str, Any], draw: int, name: str) -> dict[str, Any]:
        if self.augment is None:
            return parts
        return apply_seeded(self.augment, parts, derive_seed(self.seed, "augment", draw, name))


def draw_places(room: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.intp]:
    """Return first voxels of boxes, each box as often as it has room.

    A pathological crop shows a lesion at a random place in it, so it lies where tissue is. Healthy crops lie there as
    often, so that no critic can tell the two apart by the edge of the head.

    Args:
        room: room in every box, indexed by its first voxel; 0 for boxes that are left out.
        rng: source of all randomness.

    Returns:
        ``(n, spatial_dims)``, :data:`KEPT_PLACES` of them; fewer only where there is one box or none.
    """
    places, chances = np.argwhere(room), room[room > 0]
    if len(places) < 2:
        return places
    return places[rng.choice(len(places), KEPT_PLACES, p=chances / chances.sum())]


def to_unit(image: FloatArray, output: Range) -> FloatArray:
    """Return an image rescaled from the range ``output`` to 0 to 1; values beyond the range are clipped."""
    low, high = output
    return np.clip((image - low) / (high - low), 0, 1).astype(np.float32)


def from_unit(image: FloatArray, output: Range) -> FloatArray:
    """Return an image rescaled from 0 to 1 to the range ``output``."""
    low, high = output
    return (image * (high - low) + low).astype(np.float32)


def box_sums(array: BoolArray | LabelArray, size: Sequence[int]) -> NDArray[np.int64]:
    """Return the sum over every box of a given size, indexed by the first voxel of the box.

    Only the first ``len(size)`` axes are summed.

    Args:
        array: ``(x, y[, z])``.
        size: size of the box along the first axes, at most that of the array.
    """
    sums = np.asarray(array, np.int64)
    for axis, n in enumerate(size):
        total = np.insert(np.cumsum(sums, axis), 0, 0, axis)
        last = total.shape[axis]
        sums = total.take(range(n, last), axis) - total.take(range(last - n), axis)
    return sums


def light_augmentation(spatial_dims: int) -> Compose:
    """Return random left-right mirroring and in-plane rotation by up to 5°, for an image, a mask or both.

    Source: the released code of Xia et al. 2019.
    """
    keys = ("image", "mask")
    turn = (radians(5),) if spatial_dims == 2 else (0.0, 0.0, radians(5))
    return Compose(
        [
            RandMirrord(keys, (0,)),
            RandMoved(keys, prob=0.5, rotate=turn),
        ]
    )
