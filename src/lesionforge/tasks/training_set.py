"""What a segmentation network is trained on: crops or slices of real and synthetic samples, in fixed shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose, Randomizable
from torch import Tensor
from torch.utils.data import Dataset

from lesionforge.preprocessing.crops import Crop
from lesionforge.preprocessing.intensity import Range
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.seeding import derive_seed, generator


@dataclass(frozen=True, kw_only=True)
class Source:
    """Samples that take a fixed share of every batch.

    Attributes:
        samples: in model space.
        share: of the draws, 0 to 1; all sources' shares add up to 1.
        transform: a dictionary transform applied to each item before cropping and augmentation, such as
            :class:`~lesionforge.synthesizers.transforms.SynthesizeLesiond`; seeded per draw.
        lesion_share: probability that a slice, or a crop's centre, is taken from a lesion.
    """

    samples: Sequence[Sample]
    share: float = 1.0
    transform: Compose | None = None
    lesion_share: float = 0.5


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

    def __len__(self) -> int:
        return sum(len(source.samples) for source in self.sources)

    def __getitem__(self, draw: int) -> dict[str, Tensor]:
        rng = generator(self.seed, "item", draw)
        source = self.sources[self._deal(draw)]
        sample = source.samples[int(rng.integers(len(source.samples)))]
        on_lesion = bool(rng.random() < source.lesion_share)
        if sample.image.ndim - 1 > self.spatial_dims:
            sample = sample.slice(_pick_slice(sample, on_lesion, rng))
        item = sample.as_item()
        if source.transform is not None:
            item = apply_seeded(source.transform, item, derive_seed(self.seed, "transform", draw))
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


def _pick_slice(sample: Sample, on_lesion: bool, rng: np.random.Generator) -> int:
    assert sample.label is not None
    if on_lesion and sample.label.any():
        return int(rng.choice(np.flatnonzero(sample.label.any(axis=(0, 1)))))
    return int(rng.integers(sample.label.shape[-1]))


def apply_seeded(transform: Compose, item: dict[str, Any], seed: int) -> dict[str, Any]:
    """Apply a MONAI transform whose randomness comes from ``seed`` alone."""
    assert isinstance(transform, Randomizable)
    transform.set_random_state(seed % 2**32)
    return dict(transform(item))
