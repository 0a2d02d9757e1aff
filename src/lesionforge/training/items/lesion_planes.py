"""Choice of the slices and scans that training items are cut from, with or without a lesion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lesionforge.cohort.scan import BoolArray, LabelArray
from lesionforge.preprocessing.pipeline import Sample

Slices = NDArray[np.intp]


class Planes:
    """Samples, or their slices for a 2D network on volumes, grouped by whether they show a lesion.

    Args:
        samples: samples in model space with annotated lesions.
        spatial_dims: 2 takes slices of volumes.
        known: for each synthetic sample, the ``(x, y[, z])`` lesions that its scan had before drawing, or ``None``. For
            such a sample, the slices with a lesion are those that show a drawn lesion and no earlier one; if there are
            none, those that show a drawn lesion.
    """

    def __init__(
        self, samples: Sequence[Sample], spatial_dims: int, *, known: Sequence[LabelArray | None] | None = None
    ) -> None:
        self.samples, self.spatial_dims = samples, spatial_dims
        self.known = known or [None] * len(samples)
        found = [_find(*pair, spatial_dims) for pair in zip(samples, self.known, strict=True)]
        self.slices = {True: [lesion for lesion, _ in found], False: [free for _, free in found]}
        self.having = {
            lesion: [number for number, slices in enumerate(of_samples) if len(slices)]
            for lesion, of_samples in self.slices.items()
        }

    def count(self, *, lesion: bool) -> int:
        """Return the number of slices or scans with or without a lesion."""
        return sum(len(slices) for slices in self.slices[lesion])

    def pick(self, lesion: bool, rng: np.random.Generator) -> Sample:
        """Return a random slice or scan with or without a lesion; see :meth:`choose`."""
        number, z = self.choose(lesion, rng)
        sample = self.samples[number]
        return sample.slice(z) if self._sliced(sample) else sample

    def choose(self, lesion: bool, rng: np.random.Generator) -> tuple[int, int]:
        """Return the number of a sample and of one of its slices, with or without a lesion.

        A sample that has such slices is chosen first, then one of its slices. If no sample has any, a slice or scan of
        the other kind is returned.
        """
        if not self.having[lesion]:
            return self.choose(not lesion, rng)
        number = int(rng.choice(self.having[lesion]))
        return number, int(rng.choice(self.slices[lesion][number]))

    def lesions(self, number: int, z: int) -> tuple[BoolArray, BoolArray]:
        """Return the lesions of a slice or scan, ``(x, y[, z])``, and those of them that were drawn."""
        sample, known = self.samples[number], self.known[number]
        label = sample.as_item()["label"][0]
        if known is None or known.shape != label.shape:
            known = np.zeros_like(label)
        if self._sliced(sample):
            label, known = label[..., z], known[..., z]
        return label > 0, (label > 0) & (known == 0)

    def _sliced(self, sample: Sample) -> bool:
        return sample.image.ndim - 1 > self.spatial_dims


def _find(sample: Sample, known: LabelArray | None, spatial_dims: int) -> tuple[Slices, Slices]:
    """Return the slice numbers to use as slices with a lesion, and those without one; 0 stands for an uncut sample."""
    label = sample.as_item()["label"][0] > 0
    axes = tuple(range(min(spatial_dims, label.ndim)))
    shown = np.atleast_1d(label.any(axis=axes))
    choices = [shown]
    if known is not None and known.shape == label.shape:
        drawn, beside = (np.atleast_1d(part.any(axis=axes)) for part in (label & (known == 0), known))
        choices = [drawn & ~beside, drawn, shown]
    wanted = next((planes for planes in choices if planes.any()), shown)
    return np.flatnonzero(wanted), np.flatnonzero(~shown)
