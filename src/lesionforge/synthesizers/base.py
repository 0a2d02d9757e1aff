"""What a fitted model is: kept in a model folder; and a synthesizer: one that draws where a mask says."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from torch import Tensor

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.layouts.labels import OnProblem, fail
from lesionforge.cohort.scan import LabelArray
from lesionforge.config import MethodConfig
from lesionforge.errors import CohortError, ConfigError
from lesionforge.preprocessing.pipeline import Preprocessing, Sample
from lesionforge.training.loop import TrainingConfig
from lesionforge.training.model_folder import ModelInfo, digest_of_tensors, save_model


class FittedModel(ABC):
    """Something that was fitted on a cohort and is kept in a model folder.

    Attributes:
        method: its name in the dictionary of its kind.
        Config: its options.
        slice_by_slice: whether it takes volumes when it was fitted for slices.
        with_gaps: its tensors in which NaN stands for what is not known.
        info: what it was fitted on and how.
    """

    method: ClassVar[str]
    Config: ClassVar[type[MethodConfig]]
    slice_by_slice: ClassVar[bool] = True
    with_gaps: ClassVar[tuple[str, ...]] = ()

    def __init__(self, info: ModelInfo) -> None:
        self.info = info

    @classmethod
    @abstractmethod
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
        """Fit on the lesion cases of ``cohort`` and save the model into ``out``.

        Args:
            cohort: training cases.
            channels: image channels to use.
            config: the method's own options.
            training: length, batch size, seed and machine, for methods that train.
            out: the model folder.
            preprocessing: to share with a task; fitted on the lesion cases unless given.
            resume: go on with the run in ``out``.
            on_problem: called with the error of each case that cannot be read and is left out; raises unless given.

        Raises:
            ConfigError: if an option is unknown or out of range.
            CohortError: if no case has a lesion.
        """

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return what ``model.safetensors`` keeps."""

    @classmethod
    @abstractmethod
    def from_tensors(cls, info: ModelInfo, tensors: dict[str, Tensor]) -> Self:
        """Make a synthesizer from what was kept."""

    def check_dimensions(self, spatial_dims: int) -> None:
        """See that scans of these dimensions can be taken.

        Raises:
            ConfigError: if not.
        """
        dims = self.info.preprocessing.spatial_dims
        if spatial_dims < dims:
            raise ConfigError(self.method, "was fitted for volumes, not for slices", "fit it with spatial_dims=2")
        if spatial_dims > dims and not self.slice_by_slice:
            raise ConfigError(self.method, "was fitted for slices, not for volumes", "fit it with spatial_dims=3")

    def to(self, device: str) -> Self:
        """Move what computes to ``device``."""
        return self

    @property
    def digest(self) -> str:
        """The SHA-256 of what ``model.safetensors`` keeps."""
        return digest_of_tensors(self.tensors())

    def save(self, folder: Path) -> None:
        """Write ``model.safetensors``, ``model.json`` and ``model_card.md`` into ``folder``."""
        save_model(folder, self.info, self.tensors())


class Synthesizer(FittedModel):
    """Draws a lesion into a sample where a mask says.

    Attributes:
        needs_mask: whether it draws where the mask says; one that brings its own label (CarveMix) does not. If it
            draws the whole image, too, it replaces the scan altogether.
    """

    needs_mask: ClassVar[bool] = True

    @abstractmethod
    def synthesize(self, sample: Sample, mask: LabelArray, rng: np.random.Generator) -> Sample:
        """Return ``sample`` with a lesion where ``mask`` is not 0; its label is the union of old and new.

        Args:
            sample: in this synthesizer's model space.
            mask: ``(x, y[, z])`` lesion classes on the sample's grid.
            rng: all randomness comes from it.
        """

    @property
    def draws_whole_image(self) -> bool:
        """Whether :meth:`synthesize` changes the image everywhere, rather than around the mask alone."""
        return False

    @property
    def sees_lesions(self) -> bool:
        """Whether it is shown the scan within the mask, and so the very lesion if one is there already."""
        return False

    def margin_mm(self) -> float:
        """Return how far beyond the mask the method may change a scan, in mm."""
        return 0.0


def training_cohort(cohort: Cohort, channels: tuple[str, ...], *, lesion_free: bool = False) -> Cohort:
    """Return the cases that a synthesizer is fitted on: those with a lesion and every channel.

    Args:
        cohort: where they are taken from.
        channels: what they must have.
        lesion_free: take those annotated as lesion-free as well.

    Raises:
        CohortError: if none has a lesion.
    """
    cases = cohort.having(channels)
    if not len(cases.with_lesions()):
        raise CohortError(cohort.name, f"has no case with a lesion and the channels {', '.join(channels)}", "check it")
    return cases.annotated() if lesion_free else cases.with_lesions()
