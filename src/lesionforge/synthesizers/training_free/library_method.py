"""The base of methods that keep real lesions and need no training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field
from torch import Tensor

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.layouts.labels import OnProblem, fail
from lesionforge.config import ScanConfig, parse_options
from lesionforge.files import one_at_a_time
from lesionforge.preprocessing.lesions.lesion_library import (
    Lesion,
    build_library,
    library_from_tensors,
    library_tensors,
)
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.synthesizers.base import Synthesizer, training_cohort
from lesionforge.training.checkpoint import check_same_model
from lesionforge.training.loop import TrainingConfig, claim_run
from lesionforge.training.model_folder import ModelInfo, describe
from lesionforge.training.samples import cached_samples, measured_cases


class LibraryConfig(ScanConfig):
    """Options of every method that keeps lesions.

    Attributes:
        spatial_dims: 2 keeps the lesions slice by slice, 3 whole; ``None`` as the cohort's files are.
        context_mm: surroundings kept around a lesion, at least as wide as the lesion is deep.
    """

    spatial_dims: Literal[2, 3] | None = None
    context_mm: float = Field(default=6.0, ge=0)


class LibrarySynthesizer(Synthesizer):
    """A synthesizer made of the training cases' lesions."""

    Config: ClassVar[type[LibraryConfig]] = LibraryConfig

    def __init__(self, info: ModelInfo, lesions: list[Lesion]) -> None:
        super().__init__(info)
        self.lesions = lesions

    @classmethod
    @one_at_a_time
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
        """Cut the lesions out of the training cases; see :meth:`Synthesizer.fit`."""
        claim_run(out, resume=resume)
        options = parse_options(cls.Config, config)
        cases = training_cohort(cohort, channels)
        cases, facts = measured_cases(cases, channels, on_problem=on_problem)
        dims: Any = options.spatial_dims or facts.spatial_dims
        options = options.model_copy(update={"spatial_dims": dims})
        if preprocessing is None or preprocessing.spatial_dims != dims:
            preprocessing = Preprocessing.fit(facts, spatial_dims=dims, intensity=options.intensity)
            if dims == facts.spatial_dims:
                preprocessing = preprocessing.model_copy(update={"spacing": None})
        info = describe(cls.method, options, preprocessing, cases)
        check_same_model(out, info)
        lesions = build_library(cached_samples(cases, preprocessing), slices=dims == 2, context_mm=options.context_mm)
        model = cls(info, lesions)
        model.save(out)
        return model

    def tensors(self) -> dict[str, Tensor]:
        """The library."""
        return library_tensors(self.lesions)

    @classmethod
    def from_tensors(cls, info: ModelInfo, tensors: dict[str, Tensor]) -> Self:
        """Make the library anew."""
        return cls(info, library_from_tensors(tensors))
