"""What a segmentation network is trained on: crops or slices of real and synthetic samples, in fixed shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose, Randomizable
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from lesionforge.cohort.scan import LabelArray
from lesionforge.preprocessing.crops import Crop
from lesionforge.preprocessing.intensity import Range
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.seeding import derive_seed, generator

ATTEMPTS = 10

Slices = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Samples that take a fixed share of every batch.

    Attributes:
        samples: in model space.
        share: of the draws, 0 to 1; all sources' shares add up to 1.
        transform: a dictionary transform that draws a lesion, such as
            :class:`~lesionforge.synthesizers.transforms.SynthesizeLesiond`, before cropping and augmentation; seeded
            per draw.
        lesion_share: share of the items that show a lesion: a slice with one, or a crop centred on one. With a
            ``transform`` it is one that the transform has drawn, into a slice or scan without any if there is such a
            one. All others are slices without a lesion, or crops at any place of a scan, without a lesion if there are
            such scans. Thus lesions are equally frequent in all sources, however many of their cases have any.
        known: for each synthetic sample, the ``(x, y[, z])`` lesions that its scan had before, or ``None``. Slices
            with a lesion are then those that show a drawn one, without known ones beside it if there are such slices.
    """

    samples: Sequence[Sample]
    share: float = 1.0
    transform: Compose | None = None
    lesion_share: float = 0.5
    known: Sequence[LabelArray | None] | None = None


class Planes:
    """What items are cut from, by whether it shows a lesion: samples, or their slices for a 2D network on volumes.

    Args:
        source: its samples, in model space, with annotated lesions.
        spatial_dims: 2 takes slices of volumes.
    """

    def __init__(self, source: Source, spatial_dims: int) -> None:
        self.samples, self.spatial_dims = source.samples, spatial_dims
        known = source.known or [None] * len(source.samples)
        found = [_find(*pair, spatial_dims) for pair in zip(source.samples, known, strict=True)]
        self.slices = {True: [lesion for lesion, _ in found], False: [free for _, free in found]}

    def pick(self, lesion: bool, rng: np.random.Generator) -> Sample:
        """Return one with or without a lesion, of a random sample that has such; of the other kind if none has."""
        having = [number for number, slices in enumerate(self.slices[lesion]) if len(slices)]
        if not having:
            return self.pick(not lesion, rng)
        number = int(rng.choice(having))
        sample, z = self.samples[number], int(rng.choice(self.slices[lesion][number]))
        return sample.slice(z) if sample.image.ndim - 1 > self.spatial_dims else sample


class TrainingSet(Dataset[dict[str, Tensor]]):
    """``items[draw]`` is an image and its label, ``(channel, *roi_size)`` and ``(1, *roi_size)``.

    Args:
        sources: where items come from; draw numbers are dealt out so that every stretch of them has the shares.
        spatial_dims: 2 takes slices of volumes.
        roi_size: size of an item.
        background: intensity with which a crop that reaches over the edge is filled.
        augment: a dictionary transform for every item, seeded per draw.
        seed: all randomness comes from it and the draw number.
        relative_to: the samples' range; given, every item is made relative to its sample's tissue.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        spatial_dims: int,
        roi_size: tuple[int, ...],
        background: float,
        augment: Compose | None,
        seed: int,
        relative_to: Range | None = None,
    ) -> None:
        self.relative_to = relative_to
        self.sources, self.spatial_dims, self.roi_size = sources, spatial_dims, roi_size
        self.background, self.augment, self.seed = background, augment, seed
        self.ends = np.cumsum([source.share for source in sources])
        self.planes = [Planes(source, spatial_dims) for source in sources]

    def __len__(self) -> int:
        return sum(len(source.samples) for source in self.sources)

    def __getitem__(self, draw: int) -> dict[str, Tensor]:
        rng = generator(self.seed, "item", draw)
        number = self._deal(draw)
        source, planes = self.sources[number], self.planes[number]
        on_lesion = bool(rng.random() < source.lesion_share)
        if on_lesion and source.transform is not None:
            sample, item = self._with_drawn_lesion(source.transform, planes, draw, rng)
        else:
            sample = planes.pick(on_lesion, rng)
            item = sample.as_item()
        if self.relative_to is not None:
            item["image"] = sample.relative_to_tissue(item["image"], self.relative_to)
        item = self._crop(item, on_lesion, rng)
        if self.augment is not None:
            item = apply_seeded(self.augment, item, derive_seed(self.seed, "augment", draw))
        return {
            "image": torch.as_tensor(np.asarray(item["image"], np.float32)),
            "label": torch.as_tensor(np.rint(np.asarray(item["label"])).astype(np.int64)),
        }

    def _deal(self, draw: int) -> int:
        """Return the source of a draw: the golden ratio's multiples fill [0, 1) evenly."""
        return min(int(np.searchsorted(self.ends, (draw * 0.6180339887498949) % 1.0, side="right")), len(self.ends) - 1)

    def _with_drawn_lesion(
        self, transform: Compose, planes: Planes, draw: int, rng: np.random.Generator
    ) -> tuple[Sample, dict[str, Any]]:
        """Return a sample and what the transform made of it; another sample is tried where no lesion fitted."""
        for attempt in range(ATTEMPTS):
            sample = planes.pick(False, rng)
            before = sample.as_item()
            item = apply_seeded(transform, before, derive_seed(self.seed, "transform", draw, attempt))
            if not np.array_equal(np.asarray(item["label"]), before["label"]):
                break
        return sample, item

    def _crop(self, item: dict[str, Any], on_lesion: bool, rng: np.random.Generator) -> dict[str, Any]:
        shape = item["label"].shape[1:]
        centre = [rng.integers(n) for n in shape]
        if on_lesion and item["label"].any():
            voxels = np.argwhere(item["label"][0] > 0)
            centre = list(voxels[rng.integers(len(voxels))])
        crop = Crop.around(centre, self.roi_size, shape)
        return {
            "image": crop.cut(np.asarray(item["image"]), fill=self.background),
            "label": crop.cut(np.asarray(item["label"])).astype(np.float32),
        }


def _find(sample: Sample, known: LabelArray | None, spatial_dims: int) -> tuple[Slices, Slices]:
    """Return the slices of a volume, or 0 for what is not sliced, that are to show a lesion, and those without one."""
    label = sample.as_item()["label"][0] > 0
    axes = tuple(range(min(spatial_dims, label.ndim)))
    shown = np.atleast_1d(label.any(axis=axes))
    choices = [shown]
    if known is not None and known.shape == label.shape:
        drawn, beside = (np.atleast_1d(part.any(axis=axes)) for part in (label & (known == 0), known))
        choices = [drawn & ~beside, drawn, shown]
    wanted = next((planes for planes in choices if planes.any()), shown)
    return np.flatnonzero(wanted), np.flatnonzero(~shown)


def apply_seeded(transform: Compose, item: dict[str, Any], seed: int) -> dict[str, Any]:
    """Apply a MONAI transform whose randomness comes from ``seed`` alone."""
    assert isinstance(transform, Randomizable)
    transform.set_random_state(seed % 2**32)
    return dict(transform(item))
