"""``transformed_copy``: the scan itself, turned, scaled, sheared, cropped, blurred or brighter, with its own lesions.

Classical augmentation as a cohort on disk: a copy of each case doubles a training set, as in the paper on haemorrhage
CT (LcGAN, section 4.3). The transforms are those of
:func:`~lesionforge.augmentation.head_ct.published_ct_augmentation`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from torch import Tensor

from lesionforge.augmentation.head_ct import published_ct_augmentation
from lesionforge.augmentation.seeded import apply_seeded
from lesionforge.cohort.inspection.fingerprint import Fingerprint
from lesionforge.cohort.scan import LabelArray
from lesionforge.config import ScanConfig
from lesionforge.preprocessing.pipeline import Preprocessing, Sample
from lesionforge.synthesizers.base import Synthesizer
from lesionforge.training.checkpoint import check_same_model
from lesionforge.training.fitting import TrainingData
from lesionforge.training.inference import one_thread
from lesionforge.training.loop import TrainingConfig
from lesionforge.training.model_folder import ModelInfo, describe


class TransformedCopyConfig(ScanConfig):
    """``transformed_copy`` has no options: the ranges are the published ones."""


class TransformedCopy(Synthesizer):
    """Learns nothing; the mask it is given is not used, and the whole image is another one.

    All slices of a volume are moved alike, on the scan's own grid.
    """

    method = "transformed_copy"
    needs_mask = False
    draws_on_the_fly = False
    Config: ClassVar[type[ScanConfig]] = TransformedCopyConfig

    @property
    def draws_whole_image(self) -> bool:
        """Always."""
        return True

    @classmethod
    def prepare(cls, facts: Fingerprint, options: Any, given: Preprocessing | None) -> Preprocessing:
        """Return the intensities of the preprocessing, on each scan's own grid."""
        known = given or Preprocessing.fit(facts, spatial_dims=2, intensity=options.intensity)
        return known.model_copy(update={"spatial_dims": 2, "spacing": None, "shape": None})

    @classmethod
    def learn(cls, data: TrainingData, options: Any, *, training: TrainingConfig, out: Path, resume: bool) -> Self:
        """Keep what the cohort's scans are like."""
        info = describe(cls.method, options, data.preprocessing, data.cases)
        check_same_model(out, info)
        return cls(info)

    def synthesize(self, sample: Sample, mask: LabelArray, rng: np.random.Generator) -> Sample:
        """Return a transformed copy; its label is the sample's, moved with the image."""
        assert sample.label is not None
        air = self.info.preprocessing.output[0]
        transform = published_ct_augmentation(sample.image.ndim - 1, background=air, spacing=sample.spacing)
        before = {"image": sample.image, "label": sample.label[None]}
        with one_thread():
            after = apply_seeded(transform, before, int(rng.integers(2**32)))
        return sample.edited(np.asarray(after["image"], np.float32), np.asarray(after["label"])[0])

    def tensors(self) -> dict[str, Tensor]:
        """None."""
        return {}

    @classmethod
    def from_tensors(cls, info: ModelInfo, tensors: dict[str, Tensor]) -> Self:
        """Make it anew."""
        return cls(info)
