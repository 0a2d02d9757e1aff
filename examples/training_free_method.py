"""A synthesizer that needs no training, in one file: it makes tissue brighter under the mask.

Run it with ``python examples/training_free_method.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field
from torch import Tensor

from lesionforge import MaskBank, TrainingConfig, synthesize_cohort
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.layouts.labels import OnProblem, fail
from lesionforge.cohort.scan import LabelArray
from lesionforge.config import ScanConfig, parse_options
from lesionforge.preprocessing.lesions.margin import hole_around
from lesionforge.preprocessing.pipeline import Preprocessing, Sample
from lesionforge.synthesizers.base import Synthesizer, training_cohort
from lesionforge.synthesizers.registry import load_model
from lesionforge.testing import check_synthesizer, tiny_cohort
from lesionforge.training.loop import claim_run
from lesionforge.training.model_folder import ModelInfo, describe
from lesionforge.training.samples import measured_cases


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
    def fit(
        cls,
        cohort: Cohort,
        *,
        channels: tuple[str, ...],
        config: Mapping[str, Any],
        training: TrainingConfig,
        out: Path,
        preprocessing: Preprocessing | None = None,
        resume: bool = False,
        on_problem: OnProblem = fail,
    ) -> Self:
        """Measure the training scans, and save what a model folder holds."""
        options = parse_options(cls.Config, config)
        claim_run(out, resume=resume)
        cases, facts = measured_cases(training_cohort(cohort, channels), channels, on_problem=on_problem)
        preprocessing = preprocessing or Preprocessing.fit(facts, spatial_dims=2, intensity=options.intensity)
        model = cls(describe(cls.method, options, preprocessing, cases))
        model.save(out)
        return model

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
    check_synthesizer(BrighterTissue, workers=0)  # in a test suite, leave workers out: processes draw, too
    print("brighter_tissue keeps the rules")


if __name__ == "__main__":
    main()
