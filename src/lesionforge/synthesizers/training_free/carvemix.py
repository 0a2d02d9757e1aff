"""``carvemix``: a lesion-shaped region of one case replaces the same region of another case, in image and label.

Zhang et al. 2021 (arXiv 2108.06883), re-implemented from the paper. With d the signed distance to the lesion's edge
(negative inside) and m its greatest depth, λ is drawn from U(−m/2, 0) or U(0, m), each with probability ½, and

    M = {d < λ},   X = X_A · (1 − M) + X_B · M,   Y = Y_A · (1 − M) + Y_B · M.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from skimage.transform import resize

from lesionforge.cohort.scan import BoolArray, LabelArray
from lesionforge.errors import ConfigError
from lesionforge.masks.slice_masks import near_height
from lesionforge.preprocessing.crops import Crop
from lesionforge.preprocessing.lesions.lesion_library import CutLesion
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.synthesizers.training_free.library_method import LibraryConfig, LibrarySynthesizer


class CarveMixConfig(LibraryConfig):
    """Options of ``carvemix``: those of :class:`LibraryConfig` only."""


class CarveMix(LibrarySynthesizer):
    """CarveMix synthesizer; it brings its own label and ignores the given mask."""

    method = "carvemix"
    needs_mask = False
    slice_by_slice = False
    least_cases = 2
    Config: ClassVar[type[LibraryConfig]] = CarveMixConfig

    def synthesize(self, sample: Sample, mask: LabelArray, rng: np.random.Generator) -> Sample:
        """Return ``sample`` with a carved region of another case; the mask is not used.

        Slices take regions from slices of about the same height.
        """
        self.check_dimensions(sample.image.ndim - 1)
        lesion = self._partner(sample, rng)
        region = carve(lesion, rng)
        return paste_region(sample, lesion, region)

    def _partner(self, sample: Sample, rng: np.random.Generator) -> CutLesion:
        others = [x for x in self.lesions if self.info.training_cases[x.case] != sample.case_id]
        if not others:
            raise ConfigError("carvemix", "has no lesion of another case to mix in", "fit it on two cases or more")
        near = near_height([lesion.height for lesion in others], sample.height)
        return others[int(rng.choice(near))]


def carve(lesion: CutLesion, rng: np.random.Generator) -> BoolArray:
    """Draw λ and return the region M on the crop of the lesion."""
    depth = lesion.depth
    level = rng.uniform(-depth / 2, 0) if rng.random() < 0.5 else rng.uniform(0, depth)
    return lesion.distance < level


def paste_region(sample: Sample, lesion: CutLesion, region: BoolArray) -> Sample:
    """Return ``sample`` with image and label of ``region`` taken from ``lesion``.

    The image of the lesion is first scaled to the tissue level of the sample, because mixing needs scans of similar
    intensities. If the two grids differ in size, the crop is stretched so that the corners of the grids coincide.
    """
    shape = sample.image.shape[1:]
    scale = [a / b for a, b in zip(shape, lesion.shape, strict=True)]
    size = tuple(max(1, round(n * s)) for n, s in zip(region.shape, scale, strict=True))
    crop = Crop(tuple(round(a * s) for a, s in zip(lesion.start, scale, strict=True)), size)
    image_of_lesion = lesion.image_for(sample)
    if size == region.shape:
        source, label, inside = image_of_lesion, lesion.label, region
    else:
        source = np.stack([resize(c, size, order=1, preserve_range=True) for c in image_of_lesion]).astype(np.float32)
        label = resize(lesion.label, size, order=0, preserve_range=True, anti_aliasing=False).astype(np.int16)
        inside = resize(region, size, order=0, preserve_range=True, anti_aliasing=False).astype(bool)
    image, labels = sample.image.copy(), np.zeros(shape, np.int16) if sample.label is None else sample.label.copy()
    crop.paste(np.where(inside, source, crop.cut(image)), image)
    crop.paste(np.where(inside, label, crop.cut(labels)), labels)
    return sample.edited(image, labels)
