"""Samples that make up a fixed share of the training items of a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from monai.transforms import Compose

from lesionforge.cohort.scan import LabelArray
from lesionforge.preprocessing.pipeline import Sample


@dataclass(frozen=True, kw_only=True)
class Source:
    """Samples that make up a fixed share of the training items.

    Attributes:
        samples: samples in model space.
        share: share of the training items, 0 to 1; the shares of all sources add up to 1.
        transform: dictionary transform that draws a lesion before cropping and augmentation, such as
            :class:`~lesionforge.production.on_the_fly.SynthesizeLesiond`; seeded per item.
        lesion_share: share of the items that show a lesion: a slice with one, or a crop centred on one. With a
            ``transform``, it is a lesion that the transform draws, into a lesion-free slice or scan if there is one.
            The other items are lesion-free slices, or crops anywhere in a scan, which is lesion-free if there is such a
            scan. So lesions are equally frequent in all sources, whatever the share of their cases with lesions.
        known: lesions in the scans of synthetic samples before drawing; see
            :class:`~lesionforge.training.items.lesion_planes.Planes`.
    """

    samples: Sequence[Sample]
    share: float = 1.0
    transform: Compose | None = None
    lesion_share: float = 0.5
    known: Sequence[LabelArray | None] | None = None


def mixed(own: Source, synthetic: Source | None, share: float) -> list[Source]:
    """Return the sources of training items; if there is a synthetic source, it gets ``share`` of the items."""
    return [own] if synthetic is None else [replace(own, share=1 - share), replace(synthetic, share=share)]
