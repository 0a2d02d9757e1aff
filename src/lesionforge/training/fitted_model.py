"""What was fitted on a cohort and is kept in a model folder; the one ``fit`` of synthesizers and healers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import Tensor

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.inspection.fingerprint import Fingerprint
from lesionforge.cohort.layouts.labels import OnProblem, fail
from lesionforge.config import MethodConfig, parse_options
from lesionforge.errors import ConfigError
from lesionforge.files import one_at_a_time, write_json
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.training.fitting import Recipe, TrainingData, given_or_fitted, train
from lesionforge.training.loop import TrainingConfig, claim_run
from lesionforge.training.model_folder import ModelInfo, describe, digest_of_tensors, save_model
from lesionforge.training.samples import measured_cases, training_size


class FittedModel(ABC):
    """Something that was fitted on a cohort and is kept in a model folder.

    A method says which cases it is fitted on (:meth:`training_cases`), what it learns from them (:meth:`learn`), and
    what of it is kept (:meth:`tensors`, :meth:`from_tensors`).

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
        """Fit on those cases of ``cohort`` that the method takes, and save the model into ``out``.

        Args:
            cohort: training cases.
            channels: image channels to use.
            config: the method's own options.
            training: length, batch size, seed and machine, for methods that train.
            out: the model folder.
            preprocessing: to share with a task; fitted on the training cases unless given, or if it has other
                dimensions than the method.
            resume: go on with the run in ``out``.
            on_problem: called with the error of each case that cannot be read and is left out; raises unless given.

        Raises:
            ConfigError: if an option is unknown or out of range.
            CohortError: if the cohort has no cases that the method can be fitted on.
            OutputError: if ``out`` holds anything already and ``resume`` is off.
        """
        options = parse_options(cls.Config, config)
        claim_run(out, resume=resume)
        cases, facts = measured_cases(cls.training_cases(cohort, channels, options), channels, on_problem=on_problem)
        data = TrainingData(cases=cases, facts=facts, preprocessing=cls.prepare(facts, options, preprocessing))
        model = cls.learn(data, options, training=training, out=out, resume=resume)
        model.save(out)
        return model

    @classmethod
    @abstractmethod
    def training_cases(cls, cohort: Cohort, channels: tuple[str, ...], options: Any) -> Cohort:
        """Return the cases that the method is fitted on.

        Raises:
            CohortError: if there is none.
        """

    @classmethod
    def prepare(cls, facts: Fingerprint, options: Any, given: Preprocessing | None) -> Preprocessing:
        """Return the preprocessing: the given one if it has the model's dimensions."""
        return given_or_fitted(given, facts, spatial_dims=options.spatial_dims, intensity=options.intensity)

    @classmethod
    @abstractmethod
    def learn(cls, data: TrainingData, options: Any, *, training: TrainingConfig, out: Path, resume: bool) -> Self:
        """Return the model that is made of the training cases; :meth:`fit` saves it."""

    @classmethod
    def training_steps(
        cls, cohort: Cohort, preprocessing: Preprocessing, options: Any, training: TrainingConfig
    ) -> int:
        """Return how many optimiser steps :meth:`fit` will make; none unless the method trains.

        Args:
            cohort: training cases.
            preprocessing: with which they are fitted.
            options: of the method.
            training: of the run.
        """
        return 0

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return what ``model.safetensors`` keeps."""

    @classmethod
    @abstractmethod
    def from_tensors(cls, info: ModelInfo, tensors: dict[str, Tensor]) -> Self:
        """Make a model from what was kept."""

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


class TrainedModel(FittedModel):
    """A fitted model whose networks are trained: a method gives a :meth:`recipe`.

    Its options have ``spatial_dims``, ``intensity``, ``roi_size`` (voxels of a training item, or ``None``), and, for
    the default of that, ``divisor``, ``smallest`` and ``whole_slices``; see
    :func:`~lesionforge.training.samples.training_size`.
    """

    @classmethod
    @abstractmethod
    def recipe(cls, data: TrainingData, info: ModelInfo, training: TrainingConfig) -> Recipe:
        """Return what is trained: the module, its items, and what is kept beside the weights of ``module.result``.

        Args:
            data: the training cases.
            info: with the method's options, complete.
            training: with its batch size.
        """

    @classmethod
    def learn(cls, data: TrainingData, options: Any, *, training: TrainingConfig, out: Path, resume: bool) -> Self:
        """Train by the recipe."""
        options = options.model_copy(update={"roi_size": training_size(data.facts, data.samples, options)})
        training = training.or_batch_size(cls.batch_size(data.facts, options))
        info = describe(
            cls.method,
            options,
            data.preprocessing,
            data.cases,
            anatomy=cls.anatomy(data, options),
            training=training.model_dump(include={"steps", "batch_size", "accumulate", "seed", "precision"}),
        )
        recipe = cls.recipe(data, info, training)
        info = train(recipe, info, training=training, out=out, resume=resume)
        for name, content in recipe.notes.items():
            write_json(out / name, content)
        return cls.from_tensors(info, {**recipe.module.result.state_dict(), **recipe.beside})

    @classmethod
    def batch_size(cls, facts: Fingerprint, options: Any) -> int:
        """Return how many items a batch has unless the user says so."""
        return facts.batch_size(options.roi_size)

    @classmethod
    def anatomy(cls, data: TrainingData, options: Any) -> tuple[int, ...]:
        """Return the values of the anatomy maps that it is trained with; none unless it takes such maps."""
        return ()

    @classmethod
    def training_steps(
        cls, cohort: Cohort, preprocessing: Preprocessing, options: Any, training: TrainingConfig
    ) -> int:
        """Return the steps of the training."""
        return training.steps
