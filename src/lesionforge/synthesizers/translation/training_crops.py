"""Training items of image translation: crops around real lesions and, for label maps, also elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose, RandSpatialCropd, Resized, ScaleIntensityRanged, Transform
from torch import Tensor
from torch.utils.data import Dataset

from lesionforge.augmentation.affine import affine_augmentation
from lesionforge.augmentation.head_ct import published_ct_augmentation
from lesionforge.augmentation.moves import RandMirrord, RandMoved
from lesionforge.augmentation.scanner import RandScannerd
from lesionforge.augmentation.seeded import apply_seeded
from lesionforge.cohort.scan import BoolArray, FloatArray
from lesionforge.errors import PlacementError
from lesionforge.masks.base import MaskSource
from lesionforge.preprocessing.crops import Crop
from lesionforge.preprocessing.lesions.lesion_intensity import Intensities, relative, surroundings
from lesionforge.preprocessing.lesions.margin import greatest, hole_around, one_of_range
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.seeding import derive_seed, generator
from lesionforge.synthesizers.translation.conditions import Condition, without_lesion
from lesionforge.synthesizers.translation.crop_config import CropConfig
from lesionforge.training.items.lesion_planes import Planes

KEYS = ("image", "mask", "anatomy")
ENLARGED = 286 / 256
REDRAWS = 10
AIR, BRIGHTEST = -1.0, 1.0
"""Ends of the range that generators see and draw."""
WIDEST = 1.25
"""Margins of training crops are up to so much wider, or narrower, than the margin in use, if that is a number."""


def clipped(image: FloatArray) -> FloatArray:
    """Return an image clipped to the range that generators see and draw."""
    return np.clip(image, AIR, BRIGHTEST)


class TrainingCrops(Dataset[dict[str, Tensor]]):
    """Dataset of random training crops: ``condition``, ``image`` and ``hole``.

    The hole is what is drawn: a mask, with the condition ``label`` one for each channel, without those that the scan
    lacks.

    A crop lies around a lesion voxel: a case, a slice of it with a lesion, and a lesion voxel are chosen in turn, each
    with equal probability. With the condition ``label``, only a fraction of the crops shows a lesion; the others lie
    anywhere in lesion-free slices or scans. An epoch, ``len(crops)``, has as many crops as there are slices (3D: scans)
    to choose from.

    Args:
        samples: samples in model space; with ``masks``, they know their region.
        config: options of the method.
        condition: the condition that the options ask for.
        seed: seed of all randomness, together with the number of the crop.
        masks: the shapes of the holes of ``healthy_holes``; ``None`` for no such holes.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        config: CropConfig,
        condition: Condition,
        *,
        seed: int,
        masks: MaskSource | None = None,
    ) -> None:
        assert config.roi_size is not None
        self.samples, self.config, self.condition, self.seed, self.masks = samples, config, condition, seed, masks
        self.planes = Planes(samples, config.spatial_dims)
        self.lesion_share = lesion_share(config)
        self.roi_size = config.roi_size
        self.augment = augmentation(config, samples[0].spacing)

    def __len__(self) -> int:
        return epoch_items(self.planes, self.config)

    def __getitem__(self, draw: int) -> dict[str, Tensor]:
        rng = generator(self.seed, "crop", draw)
        lesion = rng.random() < self.lesion_share
        hole = None if self.masks is None else self._healthy_hole(self.masks, rng)
        sample = self.planes.pick(lesion, rng) if hole is None else hole
        parts, spacing = self._cut(sample, rng), sample.spacing
        if self.augment is not None:
            varied = apply_seeded(self.augment, parts, derive_seed(self.seed, "augment", draw))
            if varied["mask"].any() or not parts["mask"].any():
                parts = varied
        return self._item(
            np.asarray(parts["image"], np.float32),
            np.asarray(parts["mask"]).astype(np.int16)[0],
            np.asarray(parts["anatomy"]).astype(np.int16)[0],
            spacing,
            rng,
            lacks=sample.lacks,
            healthy=hole is not None,
        )

    def intensities(self, n: int) -> Intensities:
        """Return the intensities of the lesions in ``n`` random crops, relative to their surroundings.

        The result is ``(n, class, channel)``, or 3 for each channel; NaN marks a class that a crop does not show.
        """
        found = []
        for draw in range(n):
            rng = generator(self.seed, "intensity", draw)
            sample = self.planes.pick(True, rng)
            parts = self._cut(sample, rng)
            image, mask = parts["image"], parts["mask"][0].astype(np.int16)
            around = surroundings(image, mask, sample.spacing, margin_mm=greatest(self.config.margin_mm))
            found.append(relative(self.condition.measure(image, mask), around))
        return np.stack(found)

    def _healthy_hole(self, masks: MaskSource, rng: np.random.Generator) -> Sample | None:
        """Return a slice or scan whose label is a hole beside its lesions, if this crop is to have one and it fits."""
        if rng.random() >= self.config.healthy_holes:
            return None
        sample = self.planes.pick(bool(rng.integers(2)), rng)
        assert sample.label is not None
        margin = greatest(self.config.margin_mm) * (1 if isinstance(self.config.margin_mm, tuple) else WIDEST)
        near, _ = hole_around(sample.label, margin, sample.spacing)
        beside = replace(sample, label=near.astype(np.int16))
        try:
            return replace(sample, label=masks.sample(beside.as_scan(), rng, max_redraws=REDRAWS).mask)
        except PlacementError:
            return None

    def _cut(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        """Return image, mask and anatomy of a random crop of a sample, around a voxel of its label if there is one."""
        assert sample.label is not None
        centre = rng.integers(sample.label.shape)
        if sample.label.any():
            voxels = np.argwhere(sample.label > 0)
            centre = voxels[rng.integers(len(voxels))] + rng.integers(-4, 5, voxels.shape[1])
        crop = Crop.around(centre.tolist(), self.roi_size, sample.label.shape)
        anatomy = np.zeros_like(sample.label) if sample.anatomy is None else sample.anatomy
        return {
            "image": clipped(crop.cut(sample.image, fill=AIR)),
            "mask": crop.cut(sample.label[None]).astype(np.float32),
            "anatomy": crop.cut(anatomy[None]).astype(np.float32),
        }

    def _item(
        self,
        image: Any,
        mask: Any,
        anatomy: Any,
        spacing: tuple[float, ...],
        rng: np.random.Generator,
        *,
        lacks: tuple[int, ...],
        healthy: bool,
    ) -> dict[str, Tensor]:
        """Return the item of a crop; in a ``healthy`` one, the mask is where the hole is, and not a lesion."""
        hole = np.ones(mask.shape, bool)
        shown = image
        if self.config.condition == "inpaint":
            hole, _ = hole_around(mask, self._margin(rng), spacing)
            mask = np.zeros_like(mask) if healthy else mask
        elif self.config.condition == "scan":
            shown = without_lesion(image, mask, spacing, rng)
        intensities = self.condition.measure(image, mask) if self.condition.lesion_intensity else None
        noise = rng.standard_normal((self.condition.noise_channels, *mask.shape), np.float32)
        return {
            "condition": torch.from_numpy(self.condition.encode(shown, mask, anatomy, hole, noise, intensities)),
            "image": torch.from_numpy(image),
            "hole": torch.from_numpy(self._drawn(hole, lacks)),
        }

    def _drawn(self, hole: BoolArray, lacks: tuple[int, ...]) -> BoolArray:
        """Return ``(1 or channel, x, y[, z])``: what the generator draws."""
        if self.config.condition != "label":
            return hole[None]
        drawn = np.repeat(hole[None], self.condition.image_channels, 0)
        drawn[list(lacks)] = False
        return drawn

    def _margin(self, rng: np.random.Generator) -> float:
        """Return a random margin for a training crop, in mm."""
        margin = self.config.margin_mm
        if isinstance(margin, tuple):
            return one_of_range(margin, rng)
        return margin * rng.uniform(2 - WIDEST, WIDEST)


def lesion_share(config: CropConfig) -> float:
    """Return the fraction of the crops that lie around a lesion."""
    return 1.0 if config.lesions_only else config.lesion_share


def epoch_items(planes: Planes, config: CropConfig) -> int:
    """Return the number of crops in an epoch."""
    shares = {True: lesion_share(config), False: 1 - lesion_share(config)}
    return sum(planes.count(lesion=lesion) for lesion, share in shares.items() if share > 0)


def augmentation(config: CropConfig, spacing: Sequence[float]) -> Compose | None:
    """Return the augmentation of a crop and its maps, or ``None`` if all of it is off; the size stays."""
    steps: list[Transform] = []
    if isinstance(config.augment, str):
        vary = affine_augmentation(background=AIR, maps=KEYS[1:])
        if config.augment == "ct_published":
            dims = config.spatial_dims
            vary = published_ct_augmentation(dims, background=AIR, spacing=spacing, maps=KEYS[1:])
        steps += [vary, ScaleIntensityRanged("image", AIR, BRIGHTEST, AIR, BRIGHTEST, clip=True)]
    elif config.augment:
        steps += _flipped_turned_scaled(config.spatial_dims)
    if config.mirror:
        steps.append(RandMirrord(KEYS, (0,)))
    if config.jitter:
        assert config.roi_size is not None
        steps += _enlarged_and_cut(config.roi_size)
    if config.intensity_variation:
        steps.append(RandScannerd(KEYS[:1], air=AIR, brightest=BRIGHTEST))
    return Compose(steps) if steps else None


def _flipped_turned_scaled(spatial_dims: int) -> list[Transform]:
    """Return random flips, in-plane rotations and scalings."""
    return [
        RandMirrord(KEYS, (0, 1)),
        RandMoved(KEYS, prob=0.7, rotate=(0.5,) if spatial_dims == 2 else (0.0, 0.0, 0.5), scale=(0.2,) * spatial_dims),
    ]


def _enlarged_and_cut(roi_size: Sequence[int]) -> list[Transform]:
    """Return the jitter of pix2pix: resize from 256 to 286 and crop (Isola et al. 2017, section 6.2)."""
    modes = ["bilinear" if len(roi_size) == 2 else "trilinear", "nearest-exact", "nearest-exact"]
    return [
        Resized(KEYS, spatial_size=[round(ENLARGED * n) for n in roi_size], mode=modes),
        RandSpatialCropd(KEYS, roi_size=roi_size, random_size=False),
    ]
