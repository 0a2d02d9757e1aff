"""``transformed_copy``: a rotated, scaled, sheared, cropped, blurred or brightened copy of a scan with its own lesions.

This is classical augmentation as a cohort on disk: one copy of each case doubles a training set, as in the paper on
haemorrhage CT (LcGAN, section 4.3). The transforms are those of
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
from lesionforge.training.callbacks.checkpoint import check_same_model
from lesionforge.training.fitting import TrainingData
from lesionforge.training.inference import one_thread
from lesionforge.training.loop import TrainingConfig
from lesionforge.training.model_folder import ModelInfo, describe


class TransformedCopyConfig(ScanConfig):
    """Options of ``transformed_copy``: those of :class:`ScanConfig` only, as the ranges are the published ones."""


class TransformedCopy(Synthesizer):
    """Synthesizer that returns transformed copies of scans.

    It learns no weights, ignores the given mask and changes the whole image.

    All slices of a volume get the same transform, on the grid of the scan.
    """

    method = "transformed_copy"
    needs_mask = False
    copies_scan = True
    draws_on_the_fly = False
    Config: ClassVar[type[ScanConfig]] = TransformedCopyConfig

    @property
    def draws_whole_image(self) -> bool:
        """Always true."""
        return True

    @classmethod
    def prepare(cls, facts: Fingerprint, options: Any, given: Preprocessing | None) -> Preprocessing:
        """Return the preprocessing with its intensity scaling, but with each scan on its own grid."""
        known = given or Preprocessing.fit(facts, spatial_dims=2, intensity=options.intensity)
        return known.model_copy(update={"spatial_dims": 2, "spacing": None, "shape": None})

    @classmethod
    def learn(cls, data: TrainingData, options: Any, *, training: TrainingConfig, out: Path, resume: bool) -> Self:
        """Return a model that stores only the preprocessing and the training cases."""
        info = describe(cls.method, options, data.preprocessing, data.cases)
        check_same_model(out, info)
        return cls(info)

    def synthesize(self, sample: Sample, mask: LabelArray, rng: np.random.Generator) -> Sample:
        """Return a transformed copy of the sample and its label; the mask is not used."""
        assert sample.label is not None
        air = self.info.preprocessing.output[0]
        transform = published_ct_augmentation(sample.image.ndim - 1, background=air, spacing=sample.spacing)
        before = {"image": sample.image, "label": sample.label[None]}
        with one_thread():
            after = apply_seeded(transform, before, int(rng.integers(2**32)))
        return sample.edited(np.asarray(after["image"], np.float32), np.asarray(after["label"])[0])

    def tensors(self) -> dict[str, Tensor]:
        """Return no tensors."""
        return {}

    @classmethod
    def from_tensors(cls, info: ModelInfo, tensors: dict[str, Tensor]) -> Self:
        """Return a model; there are no tensors to load."""
        return cls(info)
