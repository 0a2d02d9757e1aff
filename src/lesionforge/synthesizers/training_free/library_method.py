"""The base of methods that keep real lesions and need no training."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field
from torch import Tensor

from lesionforge.cohort.inspection.fingerprint import Fingerprint
from lesionforge.config import ScanConfig
from lesionforge.preprocessing.lesions.lesion_library import (
    CutLesion,
    build_library,
    library_from_tensors,
    library_tensors,
)
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.synthesizers.base import Synthesizer
from lesionforge.training.checkpoint import check_same_model
from lesionforge.training.fitting import TrainingData, given_or_fitted
from lesionforge.training.loop import TrainingConfig
from lesionforge.training.model_folder import ModelInfo, describe


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

    def __init__(self, info: ModelInfo, lesions: list[CutLesion]) -> None:
        super().__init__(info)
        self.lesions = lesions

    @classmethod
    def prepare(cls, facts: Fingerprint, options: Any, given: Preprocessing | None) -> Preprocessing:
        """Return the preprocessing; one that is fitted leaves each scan on its own grid, unless it is sliced."""
        dims: Any = options.spatial_dims or facts.spatial_dims
        preprocessing = given_or_fitted(given, facts, spatial_dims=dims, intensity=options.intensity)
        if preprocessing is given or dims != facts.spatial_dims:
            return preprocessing
        return preprocessing.model_copy(update={"spacing": None})

    @classmethod
    def learn(cls, data: TrainingData, options: Any, *, training: TrainingConfig, out: Path, resume: bool) -> Self:
        """Cut the lesions out of the training cases."""
        dims = data.preprocessing.spatial_dims
        options = options.model_copy(update={"spatial_dims": dims})
        info = describe(cls.method, options, data.preprocessing, data.cases)
        check_same_model(out, info)
        return cls(info, build_library(data.samples, slices=dims == 2, context_mm=options.context_mm))

    def tensors(self) -> dict[str, Tensor]:
        """The library."""
        return library_tensors(self.lesions)

    @classmethod
    def from_tensors(cls, info: ModelInfo, tensors: dict[str, Tensor]) -> Self:
        """Make the library anew."""
        return cls(info, library_from_tensors(tensors))
