"""``injection``: makes the tissue in the mask brighter or darker, with the contrast of a real lesion.

This is the baseline of Platscher et al. 2020. Federau et al. 2020 placed contours of real lesions in healthy scans and
raised the intensity within. Here the ratio of the mean intensity in the mask to that of its surroundings is set, class
by class, to that of a random training lesion. The tissue keeps its texture.
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
    """Options of ``injection``, in addition to those of :class:`LibraryConfig`.

    Attributes:
        context_mm: width in millimetres of the surroundings stored with each lesion, against which its contrast is
            measured.
        margin_mm: distance beyond the mask, in millimetres, over which the change fades out.
    """

    context_mm: float = Field(default=12.0, gt=0)
    margin_mm: float = Field(default=2.0, ge=0)


class Injection(LibrarySynthesizer):
    """Synthesizer that scales the intensities in the mask by the contrast of a training lesion."""

    method = "injection"
    Config: ClassVar[type[LibraryConfig]] = InjectionConfig

    def __init__(self, info: ModelInfo, lesions: list[CutLesion]) -> None:
        super().__init__(info, lesions)
        self.contrasts = np.stack([self._contrast(lesion) for lesion in lesions])

    def margin_mm(self) -> float:
        """Return how far beyond the mask the change fades out, in mm."""
        return InjectionConfig.model_validate(self.info.config).margin_mm

    def synthesize(self, sample: Sample, mask: LabelArray, rng: np.random.Generator) -> Sample:
        """Return the sample with scaled intensities in the mask; see :meth:`Synthesizer.synthesize`.

        All slices of a volume get the same contrast.
        """
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
