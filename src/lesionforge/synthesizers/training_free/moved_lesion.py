"""The base class of methods that move a real lesion, with its own shape, to another place."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from lesionforge.cohort.scan import BoolArray, FloatArray, LabelArray
from lesionforge.errors import PlacementError
from lesionforge.masks.placement import allowed_region, centroid, overlap, paste_apart, random_voxel
from lesionforge.preprocessing.lesions.lesion_library import CutLesion, one_by_one
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.synthesizers.training_free.library_method import LibrarySynthesizer

PLACES, MIN_INSIDE = 50, 0.5
"""Places that are tried for a lesion, and the least share of it that must lie in the region."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A lesion as it is put into a sample.

    Attributes:
        image: ``(channel, x, y[, z])`` intensities, read where the label is not 0.
        label: ``(x, y[, z])`` tight crop of the lesion classes.
        weight: ``(x, y[, z])`` weight of the intensities against those of the sample, 0 to 1.
    """

    image: FloatArray
    label: LabelArray
    weight: FloatArray


class MovedLesion(LibrarySynthesizer):
    """Base class of methods that put lesions of the library at random places of the region of a scan.

    They ignore the given mask and bring their own label. New lesions stay out of fluid and apart from other lesions;
    what lies beyond the region is cut off.
    """

    needs_mask: ClassVar[bool] = False
    finds_place: ClassVar[bool] = True
    slice_by_slice: ClassVar[bool] = False

    @abstractmethod
    def chosen(self, sample: Sample, rng: np.random.Generator) -> Sequence[CutLesion]:
        """Return the lesions to put into a sample."""

    @abstractmethod
    def piece(self, lesion: CutLesion, sample: Sample, rng: np.random.Generator) -> Piece:
        """Return a lesion as it is put into a sample."""

    @cached_property
    def lesions_of(self) -> Mapping[str, list[CutLesion]]:
        """The training cases and their lesions, one by one."""
        context = self.Config.model_validate(self.info.config).context_mm
        found = dict[str, list[CutLesion]]()
        for lesions in self.lesions:
            single = one_by_one(lesions, context_mm=context)
            found.setdefault(self.info.training_cases[lesions.case], []).extend(single)
        return found

    def synthesize(self, sample: Sample, mask: LabelArray, rng: np.random.Generator) -> Sample:
        """Return ``sample`` with moved lesions; the mask is not used.

        Raises:
            PlacementError: if no lesion fits.
        """
        self.check_dimensions(sample.image.ndim - 1)
        image, new = sample.image.copy(), np.zeros(sample.image.shape[1:], np.int16)
        allowed, taken = allowed_region(sample.as_scan()), np.zeros(new.shape, bool)
        for lesion in self.chosen(sample, rng):
            piece = self.piece(lesion, sample, rng)
            corner = _free_place(piece.label, new, taken, allowed, rng)
            if corner is not None:
                _put(piece, corner, image, allowed)
        if not new.any():
            what = f"no lesion fits at {PLACES} places"
            raise PlacementError(sample.case_id, what, "leave the scan out, or fit the method on smaller lesions")
        return sample.with_lesion(image, new)


def _free_place(
    label: LabelArray, new: LabelArray, taken: BoolArray, allowed: BoolArray, rng: np.random.Generator
) -> list[int] | None:
    """Paste a label into ``new`` where it fits; return the voxel of its first voxel, or ``None`` if it does not fit."""
    for _ in range(PLACES if allowed.any() else 0):
        corner = np.rint(random_voxel(allowed, rng) - centroid(label)).astype(int).tolist()
        if paste_apart(label, corner, new, taken, allowed=allowed, min_inside=MIN_INSIDE):
            return list(corner)
    return None


def _put(piece: Piece, corner: Sequence[int], image: FloatArray, allowed: BoolArray) -> None:
    """Mix a piece into an image, in place."""
    there, here = overlap(corner, piece.label.shape, allowed.shape)
    shown, target = (piece.label[here] > 0) & allowed[there], image[:, *there]
    weight = piece.weight[here][shown]
    target[:, shown] = weight * piece.image[:, *here][:, shown] + (1 - weight) * target[:, shown]
