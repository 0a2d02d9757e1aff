"""A synthesizer that needs no training, in one file: it makes tissue brighter under the mask.

Run it with ``python examples/training_free_method.py``.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, Self

import numpy as np
from pydantic import Field
from torch import Tensor

from lesionforge import MaskBank, TrainingConfig, synthesize_cohort
from lesionforge.cohort.inspection.fingerprint import Fingerprint
from lesionforge.cohort.scan import LabelArray
from lesionforge.config import ScanConfig
from lesionforge.preprocessing.lesions.margin import hole_around
from lesionforge.preprocessing.pipeline import Preprocessing, Sample
from lesionforge.synthesizers.base import Synthesizer
from lesionforge.synthesizers.registry import load_model
from lesionforge.testing import check_synthesizer, tiny_cohort
from lesionforge.training.fitting import TrainingData
from lesionforge.training.model_folder import ModelInfo, describe


class BrighterTissueConfig(ScanConfig):
    """Options of ``brighter_tissue``.

    Attributes:
        gain: what is added under the mask, as a share of the model's range.
        margin_mm: width over which the change fades beyond the mask.
    """

    gain: float = Field(default=0.2, gt=0, le=1)
    margin_mm: float = Field(default=2.0, ge=0)


class BrighterTissue(Synthesizer):
    """Makes tissue brighter under the mask."""

    method = "brighter_tissue"
    Config: ClassVar[type[BrighterTissueConfig]] = BrighterTissueConfig

    def __init__(self, info: ModelInfo) -> None:
        super().__init__(info)
        self.config = self.Config.model_validate(info.config)

    @classmethod
    def prepare(cls, facts: Fingerprint, options: BrighterTissueConfig, given: Preprocessing | None) -> Preprocessing:
        """Return the preprocessing: the one that is given, or one that is fitted on the training scans."""
        return given or Preprocessing.fit(facts, spatial_dims=2, intensity=options.intensity)

    @classmethod
    def learn(
        cls, data: TrainingData, options: BrighterTissueConfig, *, training: TrainingConfig, out: Path, resume: bool
    ) -> Self:
        """Learn nothing from the training scans."""
        return cls(describe(cls.method, options, data.preprocessing, data.cases))

    def margin_mm(self) -> float:
        """Return how far the change fades."""
        return self.config.margin_mm

    def synthesize(self, sample: Sample, mask: LabelArray, rng: np.random.Generator) -> Sample:
        """Add a gain that varies from lesion to lesion, fading beyond the mask."""
        low, high = self.info.preprocessing.output
        _, weight = hole_around(mask, self.config.margin_mm, sample.spacing)
        gain = self.config.gain * (high - low) * rng.uniform(0.5, 1.5)
        return sample.with_lesion((sample.image + gain * weight).astype(np.float32), mask)

    def tensors(self) -> dict[str, Tensor]:
        """Return nothing: all that it knows are its options."""
        return {}

    @classmethod
    def from_tensors(cls, info: ModelInfo, tensors: dict[str, Tensor]) -> Self:
        """Make it anew."""
        return cls(info)


def main() -> None:
    """Fit it on simulated slices, draw four cases, and check that it keeps the rules."""
    with TemporaryDirectory() as folder:
        cohort, model = tiny_cohort(Path(folder, "cohort"), spatial_dims=2), Path(folder, "model")
        BrighterTissue.fit(cohort, channels=cohort.channels, config={"gain": 0.3}, training=TrainingConfig(), out=model)
        loaded = load_model(model, {BrighterTissue.method: BrighterTissue})
        drawn = synthesize_cohort(
            loaded, cohort, MaskBank(cohort), out=Path(folder, "drawn"), n=4, min_volume=20
        ).cohort
        print(f"{len(drawn)} cases were drawn into the scans of {len(cohort.subjects)} subjects")
    check_synthesizer(BrighterTissue, workers=1)  # in a test suite, leave workers out: processes draw, too
    print("brighter_tissue keeps the rules")


if __name__ == "__main__":
    main()
