"""``copy_paste``: pastes the intensities of a real lesion at the mask.

Each lesion of the mask is pasted by itself. If it has the shape of a training lesion, that lesion is pasted. Otherwise
the training lesion that is most similar in shape and size is stretched to it. The edge is hard, feathered, or blended
by Poisson's equation (Pérez et al. 2003), which keeps the gradients of the lesion and matches the target at the border.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from scipy import ndimage
from scipy.sparse import csr_array
from scipy.sparse.linalg import cg
from skimage.transform import resize

from lesionforge.cohort.scan import BoolArray, FloatArray, LabelArray
from lesionforge.preprocessing.lesions.lesion_library import CutLesion, one_by_one, shape_thumbnail, spread
from lesionforge.preprocessing.lesions.margin import hole_around
from lesionforge.preprocessing.lesions.single_lesions import split_lesions
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.synthesizers.training_free.library_method import LibraryConfig, LibrarySynthesizer


class CopyPasteConfig(LibraryConfig):
    """Options of ``copy_paste``, in addition to those of :class:`LibraryConfig`.

    Attributes:
        edge: ``hard``, ``feathered`` or ``poisson``.
        margin_mm: width in millimetres of the feather, or of the ring around the mask in which Poisson's equation is
            solved; not used with ``hard``.
    """

    edge: Literal["hard", "feathered", "poisson"] = "feathered"
    margin_mm: float = Field(default=4.0, gt=0)


class CopyPaste(LibrarySynthesizer):
    """Synthesizer that pastes the training lesion that fits the mask best."""

    method = "copy_paste"
    Config: ClassVar[type[LibraryConfig]] = CopyPasteConfig

    def margin_mm(self) -> float:
        """Return how far beyond the mask the scan may change, in mm; 0 with a hard edge."""
        options = CopyPasteConfig.model_validate(self.info.config)
        return 0.0 if options.edge == "hard" else options.margin_mm

    def synthesize(self, sample: Sample, mask: LabelArray, rng: np.random.Generator) -> Sample:
        """Return the sample with a pasted lesion; see :meth:`Synthesizer.synthesize`."""
        if not mask.any():
            return sample
        self.check_dimensions(sample.image.ndim - 1)
        image = sample.image.copy()
        places: list[tuple[Any, ...]] = [(Ellipsis,)]
        if mask.ndim > self.lesions[0].label.ndim:
            places = [(Ellipsis, int(z)) for z in np.flatnonzero(mask.any(axis=(0, 1)))]
        for place in places:
            part = mask[place]
            for lesion, corner in split_lesions(part, sample.spacing[: part.ndim]):
                self._paste(image[(slice(None), *place)], part, lesion, corner, sample, rng)
        return sample.with_lesion(image, mask)

    @cached_property
    def single_lesions(self) -> list[CutLesion]:
        """The lesions of the library one by one."""
        context = CopyPasteConfig.model_validate(self.info.config).context_mm
        return [lesion for lesions in self.lesions for lesion in one_by_one(lesions, context_mm=context)]

    def _paste(
        self,
        image: FloatArray,
        mask: LabelArray,
        lesion: LabelArray,
        corner: tuple[int, ...],
        sample: Sample,
        rng: np.random.Generator,
    ) -> None:
        """Paste the training lesion that fits one lesion of a mask best into ``image``, beside the other lesions."""
        spacing, edge = sample.spacing[: mask.ndim], CopyPasteConfig.model_validate(self.info.config).edge
        box, own = _with_margin(lesion, corner, mask.shape, self.margin_mm(), spacing)
        others = (mask[box] > 0) & (own == 0)
        cut = best_fit(self.single_lesions, own, spacing, rng)
        hole, weight = hole_around(own, self.margin_mm(), spacing)
        hole, weight = hole & ~others, np.where(others, 0, weight)
        target = image[(slice(None), *box)]
        if edge == "poisson":
            texture = stretch(cut, cut.image_for(sample), own, ndimage.binary_dilation(hole))
            drawn = np.stack([solve_poisson(s, t, hole) for s, t in zip(texture, target, strict=True)])
            lowest, highest = min(-1, texture.min(), image.min()), max(1, texture.max(), image.max())
            target[:, hole] = np.clip(drawn, lowest, highest)[:, hole]
        else:
            target[...] = (1 - weight) * target + weight * stretch(cut, cut.image_for(sample), own, hole)


def _with_margin(
    lesion: LabelArray,
    corner: tuple[int, ...],
    shape: tuple[int, ...],
    margin_mm: float,
    spacing: tuple[float, ...],
) -> tuple[tuple[slice, ...], LabelArray]:
    """Return a box on a grid of ``shape`` that holds a lesion and more than its margin, and the lesion in it."""
    reach = [int(np.ceil(margin_mm / step)) + 2 for step in spacing]
    sides = list(zip(corner, lesion.shape, reach, shape, strict=True))
    box = tuple(slice(max(0, c - r), min(s, c + n + r)) for c, n, r, s in sides)
    own = np.pad(lesion, [(c - b.start, b.stop - c - n) for b, (c, n, *_) in zip(box, sides, strict=True)])
    return box, own


def best_fit(
    lesions: list[CutLesion], mask: LabelArray, spacing: tuple[float, ...], rng: np.random.Generator
) -> CutLesion:
    """Return the lesion that is most similar to ``mask``.

    The similarity is the Dice of the two shapes, stretched to equal size, minus the absolute log ratio of their
    volumes. If several lesions are equally similar, one is chosen at random.
    """
    shape, volume = shape_thumbnail(mask > 0), np.count_nonzero(mask) * np.prod(spacing)
    thumbnails = np.stack([lesion.thumbnail for lesion in lesions]).reshape(len(lesions), -1)
    overlap = 2 * (thumbnails & shape.ravel()).sum(1) / (thumbnails.sum(1) + shape.sum())
    volumes = np.array([lesion.volume for lesion in lesions])
    fit = overlap - np.abs(np.log(volumes / volume))
    return lesions[int(rng.choice(np.flatnonzero(fit >= fit.max() - 1e-6)))]


def stretch(lesion: CutLesion, source_image: FloatArray, mask: LabelArray, hole: BoolArray) -> FloatArray:
    """Return the image of a lesion, stretched so that the lesion's bounding box coincides with that of the mask.

    Voxels of ``hole`` inside the mask take intensities only from the lesion, the other voxels only from its
    surroundings.

    Args:
        lesion: the lesion.
        source_image: ``(channel, x, y[, z])`` intensities of the lesion's crop.
        mask: ``(x, y[, z])`` target mask.
        hole: ``(x, y[, z])`` voxels to fill; the others are 0.
    """
    (source,) = ndimage.find_objects((lesion.label > 0).astype(np.int8))
    (target,) = ndimage.find_objects((mask > 0).astype(np.int8))
    scale = [(t.stop - t.start) / (s.stop - s.start) for s, t in zip(source, target, strict=True)]
    size = tuple(max(1, round(n * f)) for n, f in zip(lesion.label.shape, scale, strict=True))
    voxels = np.argwhere(hole).T
    shift = [t.start - round(s.start * f) for s, t, f in zip(source, target, scale, strict=True)]
    wanted = tuple(np.clip(v - d, 0, n - 1) for v, d, n in zip(voxels, shift, size, strict=True))
    of_lesion = mask[tuple(voxels)] > 0
    drawn = np.zeros((len(source_image), *mask.shape), np.float32)
    for part, known in ((of_lesion, lesion.label > 0), (~of_lesion, lesion.label == 0)):
        if not part.any():
            continue
        filled = spread(source_image, known, lesion.spacing)
        stretched = np.stack([resize(channel, size, order=1, preserve_range=True) for channel in filled])
        into, at = (tuple(axis[part] for axis in places) for places in (voxels, wanted))
        drawn[:, *into] = stretched[:, *at]
    return drawn


def solve_poisson(source: FloatArray, target: FloatArray, hole: BoolArray) -> FloatArray:
    """Return ``target`` with ``hole`` filled by Poisson's equation.

    The gradients in the hole are those of ``source``; the values at its border are those of ``target``.

    Args:
        source: ``(x, y[, z])``, read in the hole and in the voxels next to it.
        target: ``(x, y[, z])``.
        hole: ``(x, y[, z])``; the end of the grid sets no border value.
    """
    number = np.full(hole.shape, -1)
    number[hole] = np.arange(hole.sum())
    diagonal, right = np.zeros(hole.sum()), np.zeros(hole.sum())
    rows, columns = [], []
    for axis in range(hole.ndim):
        for step in (1, -1):
            voxels = np.argwhere(hole)
            beside = voxels.copy()
            beside[:, axis] += step
            on_grid = (beside[:, axis] >= 0) & (beside[:, axis] < hole.shape[axis])
            here, there = tuple(voxels[on_grid].T), tuple(beside[on_grid].T)
            inner = hole[there]
            row = number[here]
            diagonal[row] += 1
            rows.append(row[inner])
            columns.append(number[there][inner])
            right[row] += source[here] - source[there]
            right[row[~inner]] += target[there][~inner]
    row, column = (
        np.concatenate([*rows, np.arange(len(diagonal))]),
        np.concatenate([*columns, np.arange(len(diagonal))]),
    )
    values = np.concatenate([-np.ones(len(row) - len(diagonal)), diagonal])
    solution, _ = cg(csr_array((values, (row, column))), right, x0=source[hole].astype(float), rtol=1e-5, maxiter=2000)
    filled = target.copy()
    filled[hole] = solution
    return filled
