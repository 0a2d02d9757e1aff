"""``injection``: tissue made brighter (or darker) under the mask, with the contrast of a real lesion.

The baseline that Platscher et al. 2020 compare with: Federau et al. 2020 put contours of real lesions into healthy
scans and raised the intensity within. Here the mean intensity within the mask, class by class, becomes the same
multiple of its surroundings' as that of a random training lesion; the tissue keeps its texture.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from lesionforge.cohort.scan import LabelArray
from lesionforge.preprocessing.lesions.lesion_intensity import DARKEST, absolute, draw, measure, relative, surroundings
from lesionforge.preprocessing.lesions.lesion_library import CutLesion
from lesionforge.preprocessing.lesions.margin import hole_around
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.synthesizers.training_free.library_method import LibraryConfig, LibrarySynthesizer
from lesionforge.training.model_folder import ModelInfo


class InjectionConfig(LibraryConfig):
    """Options of ``injection``.

    Attributes:
        context_mm: surroundings kept around a lesion; its contrast is measured against them.
        margin_mm: width over which the change fades beyond the mask.
    """

    context_mm: float = Field(default=12.0, gt=0)
    margin_mm: float = Field(default=2.0, ge=0)


class Injection(LibrarySynthesizer):
    """Scales intensities by the contrasts of its lesions."""

    method = "injection"
    Config: ClassVar[type[LibraryConfig]] = InjectionConfig

    def __init__(self, info: ModelInfo, lesions: list[CutLesion]) -> None:
        super().__init__(info, lesions)
        self.contrasts = np.stack([self._contrast(lesion) for lesion in lesions])

    def margin_mm(self) -> float:
        """How far the change fades."""
        return InjectionConfig.model_validate(self.info.config).margin_mm

    def synthesize(self, sample: Sample, mask: LabelArray, rng: np.random.Generator) -> Sample:
        """Scale; see :meth:`Synthesizer.synthesize`. The slices of a volume get one contrast."""
        if not mask.any():
            return sample
        self.check_dimensions(sample.image.ndim - 1)
        classes = self.info.classes
        spacing = sample.spacing[: mask.ndim]
        wanted = absolute(
            draw(self.contrasts, mask, classes, rng),
            surroundings(
                sample.image,
                mask,
                spacing,
                margin_mm=self.margin_mm(),
                leave_out=None if sample.label is None else sample.label > 0,
            ),
        )
        image = sample.image.copy()
        here = measure(sample.image, mask, classes)
        for number, value in enumerate(classes):
            of_class = np.where(mask == value, value, 0).astype(np.int16)
            if not of_class.any():
                continue
            _, weight = hole_around(of_class, self.margin_mm(), spacing)
            weight = np.where((mask > 0) & (mask != value), 0, weight)
            factor = (wanted[number] + 1) / np.maximum(here[number] + 1, DARKEST)
            gain = 1 + weight * (factor.reshape(-1, *[1] * mask.ndim) - 1)
            drawn = np.clip((image + 1) * gain - 1, -1, 1)
            image = np.where(weight > 0, drawn, image).astype(np.float32)
        return sample.with_lesion(image, mask)

    def _contrast(self, lesion: CutLesion) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        around = surroundings(lesion.image, lesion.label, lesion.spacing, margin_mm=self.margin_mm())
        return relative(measure(lesion.image, lesion.label, self.info.classes), around)
