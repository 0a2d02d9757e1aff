"""Training items of a segmentation network: crops or slices of real and synthetic samples, in fixed shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose
from torch import Tensor
from torch.utils.data import Dataset

from lesionforge.augmentation.seeded import apply_seeded
from lesionforge.cohort.scan import BoolArray
from lesionforge.preprocessing.crops import Crop
from lesionforge.preprocessing.intensity import Range
from lesionforge.seeding import derive_seed, generator
from lesionforge.training.items.deal import Fade, deal
from lesionforge.training.items.drawn_items import DrawnItems, negative_in
from lesionforge.training.items.lesion_planes import Planes
from lesionforge.training.items.source import Source


class TrainingSet(Dataset[dict[str, Tensor]]):
    """Dataset of images with labels, ``(channel, *roi_size)`` and ``(1, *roi_size)``.

    An item depends only on its number. Items are assigned to the sources so that every run of consecutive numbers has
    nearly the given shares.

    Args:
        sources: where the items come from.
        spatial_dims: 2 takes slices of volumes.
        roi_size: size of an item in voxels.
        background: intensity that fills the part of a crop outside the image.
        augment: dictionary transform for every item, seeded per item.
        seed: seed of all randomness, together with the item number.
        relative_to: intensity range of the samples; if given, every item is scaled relative to its sample's tissue.
        fade: fall of the shares of all sources but the first during the run.
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
        fade: Fade | None = None,
    ) -> None:
        self.relative_to, self.fade = relative_to, fade
        self.sources, self.spatial_dims, self.roi_size = sources, spatial_dims, roi_size
        self.background, self.augment, self.seed = background, augment, seed
        self.ends = np.cumsum([source.share for source in sources])
        self.planes = [Planes(source.samples, spatial_dims, known=source.known) for source in sources]

    def __len__(self) -> int:
        return sum(len(source.samples) for source in self.sources)

    def __getitem__(self, draw: int) -> dict[str, Tensor]:
        rng = generator(self.seed, "item", draw)
        number = deal(draw, self.ends, self.fade)
        source, planes = self.sources[number], self.planes[number]
        on_lesion = bool(rng.random() < source.lesion_share)
        if on_lesion and source.transform is not None:
            sample, item = DrawnItems(source, self.spatial_dims, seed=self.seed, planes=planes).item(draw, rng)
        else:
            sample = planes.pick(on_lesion, rng)
            item = sample.as_item()
        if self.relative_to is not None:
            item["image"] = sample.relative_to_tissue(item["image"], self.relative_to)
        crop = self._crop(item["label"].shape[1:], _shown(item) if on_lesion else None, rng)
        item = {
            "image": crop.cut(np.asarray(item["image"]), fill=self.background),
            "label": crop.cut(np.asarray(item["label"])).astype(np.float32),
        }
        if self.augment is not None:
            item = apply_seeded(self.augment, item, derive_seed(self.seed, "augment", draw))
        return {
            "image": torch.as_tensor(np.asarray(item["image"], np.float32)),
            "label": torch.as_tensor(np.rint(np.asarray(item["label"])).astype(np.int64)),
        }

    def shows_new_lesion(self, draw: int) -> bool:
        """Return whether an item shows a drawn lesion where its scan had none before; augmentation is left out.

        A lesion that a source draws on the fly is drawn for this, as it is in training.
        """
        rng = generator(self.seed, "item", draw)
        number = deal(draw, self.ends, self.fade)
        source, planes = self.sources[number], self.planes[number]
        on_lesion = bool(rng.random() < source.lesion_share)
        if source.known is not None:
            lesions, drawn = planes.lesions(*planes.choose(on_lesion, rng))
            crop = self._crop(lesions.shape, lesions if on_lesion else None, rng)
        elif source.transform is not None and on_lesion:
            sample, item = DrawnItems(source, self.spatial_dims, seed=self.seed, planes=planes).item(draw, rng)
            drawn = (np.asarray(item["label"][0]) > 0) & (sample.as_item()["label"][0] == 0)
            crop = self._crop(drawn.shape, _shown(item), rng)
        else:
            return False
        return bool(crop.cut(drawn).any())

    @property
    def draws_on_the_fly(self) -> bool:
        """Whether a source draws lesions into its samples during training."""
        return any(source.transform is not None for source in self.sources)

    def _crop(self, shape: tuple[int, ...], shown: BoolArray | None, rng: np.random.Generator) -> Crop:
        """Return a crop around a random voxel, or around one of the voxels to be shown, if there are any."""
        centre: list[Any] = [rng.integers(n) for n in shape]
        if shown is not None:
            voxels = np.argwhere(shown)
            centre = list(voxels[rng.integers(len(voxels))]) if len(voxels) else centre
        return Crop.around(centre, self.roi_size, shape)


def _shown(item: Mapping[str, Any]) -> BoolArray:
    """Return the voxels of an item that its crop may be centred on: its lesions, and where one was erased."""
    return (np.asarray(item["label"][0]) > 0) | negative_in(item)
