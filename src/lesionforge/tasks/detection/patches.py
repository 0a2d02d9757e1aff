"""Training items of the second stage of detection: patches around lesions and around false candidates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai.transforms import Compose
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.utils.data import Dataset

from lesionforge.augmentation.seeded import apply_seeded
from lesionforge.cohort.scan import BoolArray, FloatArray, LabelArray
from lesionforge.preprocessing.intensity import Range
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.scores.detections.hits import Hits
from lesionforge.seeding import derive_seed, generator
from lesionforge.tasks.detection.candidates import Candidates
from lesionforge.training.items.deal import Fade, deal
from lesionforge.training.items.drawn_items import DrawnItems, negative_in
from lesionforge.training.items.source import Source

ROOM = 1.5
"""Size of what is cut out for an augmented patch, relative to the patch, so that its corners are image, too."""

Place = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class Found:
    """The candidates of a sample and what they hit.

    Attributes:
        sample: the sample, in model space.
        candidates: all candidates that count.
        hits: what they hit.
    """

    sample: Sample
    candidates: Candidates
    hits: Hits

    def of_lesions(self, known: LabelArray | None = None) -> list[NDArray[np.intp]]:
        """Return, for each lesion, the ``(n, dimensions)`` candidates that hit it, or its middle if none does.

        Args:
            known: lesions that the scan had before others were drawn; with them, only drawn lesions count, if there are
                any.
        """
        assert self.sample.label is not None
        truth = self.sample.label > 0
        lesions, count = ndimage.label(truth, np.ones((3,) * truth.ndim))
        numbers = np.arange(1, count + 1)
        if known is not None and known.shape == truth.shape:
            drawn = np.unique(lesions[truth & (known == 0)])
            numbers = drawn if drawn.size else numbers
        hit = self.hits.lesion
        return [
            self.candidates.places[hit == number] if (hit == number).any() else middle_of(lesions == number)[None]
            for number in numbers
        ]

    @property
    def false(self) -> NDArray[np.intp]:
        """The ``(n, dimensions)`` candidates that hit no lesion."""
        return self.candidates.places[self.hits.lesion == 0]


def middle_of(lesion: BoolArray) -> Place:
    """Return the voxel of a lesion that is nearest to its centre."""
    voxels = np.argwhere(lesion)
    return np.asarray(voxels[np.square(voxels - voxels.mean(0)).sum(1).argmin()])


def cut_patch(sample: Sample, place: Sequence[int] | Place, size: Sequence[int], output: Range) -> FloatArray:
    """Return the ``(channel, *size)`` patch around a voxel, relative to typical tissue; beyond the image it is air.

    Args:
        sample: the sample, in model space; a 2D patch of a volume is cut within the slice.
        place: the voxel in the middle.
        size: size of the patch in voxels, with 2 or 3 numbers.
        output: intensity range of the sample.
    """
    if len(place) > len(size):
        return cut_patch(sample.slice(int(place[-1])), place[:-1], size, output)
    patch = np.full((len(sample.image), *size), output[0], np.float32)
    low = np.asarray(place) - np.array(size) // 2
    first, last = np.maximum(low, 0), np.minimum(low + size, sample.image.shape[1:])
    here, there = (
        tuple(slice(a, b) for a, b in zip(*ends, strict=True)) for ends in ((first - low, last - low), (first, last))
    )
    patch[(slice(None), *here)] = sample.image[(slice(None), *there)]
    return np.asarray(sample.relative_to_tissue(patch, output), np.float32)


class PatchSet(Dataset[dict[str, Tensor]]):
    """Dataset of patches ``(channel, *roi_size)``, each with whether it shows a lesion, ``(1,)``.

    An item depends only on its number. All lesions of a source are equally likely, and so are all false candidates.
    A source that draws lesions on the fly shares the false candidates of the first source, the real samples.

    Args:
        sources: where the items come from, the real samples first.
        found: for each source, the candidates of its samples; empty for a source that draws on the fly.
        roi_size: size of a patch in voxels.
        augment: dictionary transform for every patch, seeded per item.
        output: intensity range of the samples, relative to whose typical tissue the patches are scaled.
        seed: seed of all randomness, together with the item number.
        fade: fall of the shares of all sources but the first during the run.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        found: Sequence[Sequence[Found]],
        *,
        roi_size: tuple[int, ...],
        augment: Compose | None,
        output: Range,
        seed: int,
        fade: Fade | None = None,
    ) -> None:
        self.sources, self.roi_size, self.augment, self.seed, self.fade = sources, roi_size, augment, seed, fade
        self.output, self.ends = output, np.cumsum([source.share for source in sources])
        self.lesions = [_lesions_of(*pair) for pair in zip(sources, found, strict=True)]
        self.false = [[(of.sample, place) for of in of_source for place in of.false] for of_source in found]
        self.drawn = [
            None if source.transform is None else DrawnItems(source, len(roi_size), seed=seed) for source in sources
        ]
        wider = tuple(math.ceil(ROOM * n) for n in roi_size)
        self.cut_size = roi_size if augment is None else wider
        low = [cut // 2 - n // 2 for cut, n in zip(self.cut_size, roi_size, strict=True)]
        self.middle = tuple(slice(start, start + n) for start, n in zip(low, roi_size, strict=True))

    def __len__(self) -> int:
        return sum(len(source.samples) for source in self.sources)

    def __getitem__(self, draw: int) -> dict[str, Tensor]:
        rng = generator(self.seed, "item", draw)
        number = deal(draw, self.ends, self.fade)
        patch, lesion = self._patch(number, bool(rng.random() < self.sources[number].lesion_share), draw, rng)
        if self.augment is not None:
            patch = apply_seeded(self.augment, {"image": patch}, derive_seed(self.seed, "augment", draw))["image"]
        middle = np.asarray(patch, np.float32)[(slice(None), *self.middle)]
        return {"image": torch.tensor(middle), "lesion": torch.tensor([float(lesion)])}

    def _patch(self, number: int, on_lesion: bool, draw: int, rng: np.random.Generator) -> tuple[FloatArray, bool]:
        """Return a patch of a source, and whether it shows a lesion; none of a source without lesions does."""
        drawn, lesions = self.drawn[number], self.lesions[number]
        if on_lesion and drawn is not None:
            return self._drawn_patch(drawn, draw, rng)
        if on_lesion and lesions:
            of, places = lesions[rng.integers(len(lesions))]
            return self._cut(of.sample, places[rng.integers(len(places))]), True
        false = self.false[number] or self.false[0]
        sample, place = false[rng.integers(len(false))] if false else self._elsewhere(number, rng)
        return self._cut(sample, place), False

    def _elsewhere(self, number: int, rng: np.random.Generator) -> tuple[Sample, Place]:
        """Return a voxel of a source that shows no lesion, for training cases without any false candidate."""
        samples = self.sources[number].samples
        sample = samples[int(rng.integers(len(samples)))]
        free = np.argwhere(sample.as_item()["label"][0] == 0)
        return sample, free[rng.integers(len(free))]

    def _drawn_patch(self, drawn: DrawnItems, draw: int, rng: np.random.Generator) -> tuple[FloatArray, bool]:
        """Return a patch around a lesion or a negative that is drawn now; anywhere in the scan if none fits."""
        sample, item = drawn.item(draw, rng)
        label, before = np.asarray(item["label"])[0], sample.as_item()["label"][0]
        now = sample.edited(np.asarray(item["image"], np.float32), label)
        negative = negative_in(item)
        drawn_now = negative | ((label != before) & (label > 0))
        new, count = ndimage.label(drawn_now, np.ones((3,) * label.ndim))
        if not count:
            return self._cut(now, rng.integers(label.shape)), False
        return self._cut(now, middle_of(new == rng.integers(1, count + 1))), not negative.any()

    def _cut(self, sample: Sample, place: Place) -> FloatArray:
        return cut_patch(sample, place, self.cut_size, self.output)


def _lesions_of(source: Source, found: Sequence[Found]) -> list[tuple[Found, NDArray[np.intp]]]:
    """Return a sample and the places of its patches for each lesion of a source."""
    known = source.known or [None] * len(found)
    return [(of, places) for of, before in zip(found, known, strict=True) for places in of.of_lesions(before)]
