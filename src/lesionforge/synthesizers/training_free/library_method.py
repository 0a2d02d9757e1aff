"""The base class of methods that store real lesions and need no training."""

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
from lesionforge.training.callbacks.checkpoint import check_same_model
from lesionforge.training.fitting import TrainingData, given_or_fitted
from lesionforge.training.loop import TrainingConfig
from lesionforge.training.model_folder import ModelInfo, describe


class LibraryConfig(ScanConfig):
    """Options of all methods that store lesions.

    Attributes:
        spatial_dims: 2 stores lesions slice by slice, 3 whole; ``None`` follows the dimensions of the cohort's files.
        context_mm: width in millimetres of the surroundings stored with each lesion, at least the depth of the lesion.
    """

    spatial_dims: Literal[2, 3] | None = None
    context_mm: float = Field(default=6.0, ge=0)


class LibrarySynthesizer(Synthesizer):
    """Base class of synthesizers that consist of the lesions of the training cases."""

    Config: ClassVar[type[LibraryConfig]] = LibraryConfig

    def __init__(self, info: ModelInfo, lesions: list[CutLesion]) -> None:
        super().__init__(info)
        self.lesions = lesions

    @classmethod
    def prepare(cls, facts: Fingerprint, options: Any, given: Preprocessing | None) -> Preprocessing:
        """Return the given preprocessing if it fits, otherwise a fitted one.

        A fitted preprocessing leaves each scan on its own grid, unless volumes are taken slice by slice.
        """
        dims: Any = options.spatial_dims or facts.spatial_dims
        preprocessing = given_or_fitted(given, facts, spatial_dims=dims, intensity=options.intensity)
        if preprocessing is given or dims != facts.spatial_dims:
            return preprocessing
        return preprocessing.model_copy(update={"spacing": None})

    @classmethod
    def learn(cls, data: TrainingData, options: Any, *, training: TrainingConfig, out: Path, resume: bool) -> Self:
        """Cut the lesions out of the training cases and return the model."""
        dims = data.preprocessing.spatial_dims
        options = options.model_copy(update={"spatial_dims": dims})
        info = describe(cls.method, options, data.preprocessing, data.cases)
        check_same_model(out, info)
        return cls(info, build_library(data.samples, slices=dims == 2, context_mm=options.context_mm))

    def tensors(self) -> dict[str, Tensor]:
        """Return the lesions as tensors."""
        return library_tensors(self.lesions)

    @classmethod
    def from_tensors(cls, info: ModelInfo, tensors: dict[str, Tensor]) -> Self:
        """Return a model with the lesions in ``tensors``."""
        return cls(info, library_from_tensors(tensors))
