"""Base classes of models that are fitted on a cohort and saved in a model folder, and their shared ``fit``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import Tensor

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.inspection.fingerprint import Fingerprint
from lesionforge.cohort.layouts.labels import OnProblem, fail
from lesionforge.cohort.scan import Scan
from lesionforge.config import MethodConfig, parse_options
from lesionforge.errors import ConfigError
from lesionforge.files import one_at_a_time, write_json
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.training.adversarial_step import AdversarialModule
from lesionforge.training.fitting import Recipe, TrainingData, given_or_fitted, train
from lesionforge.training.items.samples import measured_cases, training_size
from lesionforge.training.loop import TrainingConfig, claim_run
from lesionforge.training.model_folder import (
    CRITIC,
    ModelInfo,
    describe,
    digest_of_tensors,
    save_model,
    save_tensors,
)


class FittedModel(ABC):
    """Base class of a model that is fitted on a cohort and saved in a model folder.

    A method defines which cases it is fitted on (:meth:`training_cases`), how it is fitted (:meth:`learn`), and how it
    is saved and loaded (:meth:`tensors`, :meth:`from_tensors`).

    Attributes:
        method: name of the method in its registry.
        Config: class of the method's options.
        slice_by_slice: whether a model fitted on slices also accepts volumes.
        with_gaps: names of tensors that may contain NaN for unknown values.
        info: training cases, options and preprocessing of this model.
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
        """Fit the method on the suitable cases of ``cohort`` and save the model in ``out``.

        Args:
            cohort: training cases.
            channels: image channels to use.
            config: the method's own options.
            training: number of steps, batch size, seed and device, for methods that train a network.
            out: the model folder.
            preprocessing: preprocessing to share with a task; fitted on the training cases if it is not given or has
                other dimensions than the method.
            resume: continue the run in ``out``.
            on_problem: called with the error of each unreadable case, which is left out; raises the error unless given.

        Raises:
            ConfigError: if an option is unknown or out of range.
            CohortError: if the cohort has no cases that the method can be fitted on.
            OutputError: if ``out`` is not empty and ``resume`` is off.
        """
        options = parse_options(cls.Config, config)
        claim_run(out, resume=resume)
        cases, facts = measured_cases(cls.training_cases(cohort, channels, options), channels, on_problem=on_problem)
        data = TrainingData(
            cases=cases,
            facts=facts,
            preprocessing=cls.prepare(facts, options, preprocessing),
            prepare=partial(cls.training_scan, options=options),
        )
        model = cls.learn(data, options, training=training, out=out, resume=resume)
        model.save(out)
        return model

    @classmethod
    @abstractmethod
    def training_cases(cls, cohort: Cohort, channels: tuple[str, ...], options: Any) -> Cohort:
        """Return the cases that the method is fitted on.

        Raises:
            CohortError: if there are none.
        """

    @classmethod
    def prepare(cls, facts: Fingerprint, options: Any, given: Preprocessing | None) -> Preprocessing:
        """Return the preprocessing: the given one if it has the model's dimensions, else a new one."""
        return given_or_fitted(given, facts, spatial_dims=options.spatial_dims, intensity=options.intensity)

    @classmethod
    def training_scan(cls, scan: Scan, options: Any) -> Scan:
        """Return a training scan with what training needs beyond the files; unchanged by default."""
        return scan

    @classmethod
    @abstractmethod
    def learn(cls, data: TrainingData, options: Any, *, training: TrainingConfig, out: Path, resume: bool) -> Self:
        """Return a model fitted on the training cases; :meth:`fit` saves it."""

    @classmethod
    def training_steps(
        cls, cohort: Cohort, preprocessing: Preprocessing, options: Any, training: TrainingConfig
    ) -> int:
        """Return the number of optimiser steps that :meth:`fit` will make; 0 for methods without training.

        Args:
            cohort: training cases.
            preprocessing: preprocessing of the model.
            options: options of the method.
            training: configuration of the run.
        """
        return 0

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors to save in ``model.safetensors``."""

    @classmethod
    @abstractmethod
    def from_tensors(cls, info: ModelInfo, tensors: dict[str, Tensor]) -> Self:
        """Create a model from its saved info and tensors."""

    def check_dimensions(self, spatial_dims: int) -> None:
        """Check that the model accepts scans with these spatial dimensions.

        Raises:
            ConfigError: if not.
        """
        dims = self.info.preprocessing.spatial_dims
        if spatial_dims < dims:
            raise ConfigError(self.method, "was fitted for volumes, not for slices", "fit it with spatial_dims=2")
        if spatial_dims > dims and not self.slice_by_slice:
            raise ConfigError(self.method, "was fitted for slices, not for volumes", "fit it with spatial_dims=3")

    def to(self, device: str) -> Self:
        """Move the networks to ``device``; does nothing for a model without networks."""
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of the tensors in ``model.safetensors``."""
        return digest_of_tensors(self.tensors())

    def save(self, folder: Path) -> None:
        """Write ``model.safetensors``, ``model.json`` and ``model_card.md`` into ``folder``."""
        save_model(folder, self.info, self.tensors())


class TrainedModel(FittedModel):
    """Base class of a fitted model with trained networks; a method implements :meth:`recipe`.

    Its options must have ``spatial_dims``, ``intensity`` and ``roi_size`` (size of a training item in voxels, or
    ``None``). ``divisor``, ``smallest`` and ``whole_slices`` determine the default of ``roi_size``; see
    :func:`~lesionforge.training.items.samples.training_size`.
    """

    @classmethod
    @abstractmethod
    def recipe(cls, data: TrainingData, info: ModelInfo, training: TrainingConfig) -> Recipe:
        """Return the module and training items, and the tensors to save with the weights of ``module.result``.

        Args:
            data: the training cases.
            info: description of the model, with all of the method's options set.
            training: configuration of the run, with its batch size set.
        """

    @classmethod
    def learn(cls, data: TrainingData, options: Any, *, training: TrainingConfig, out: Path, resume: bool) -> Self:
        """Train the networks as :meth:`recipe` defines and return the model."""
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
        if isinstance(recipe.module, AdversarialModule):
            save_tensors(out / CRITIC, recipe.module.critic.state_dict())
        return cls.from_tensors(info, {**recipe.module.result.state_dict(), **recipe.beside})

    @classmethod
    def batch_size(cls, facts: Fingerprint, options: Any) -> int:
        """Return the default number of items per batch."""
        return facts.batch_size(options.roi_size)

    @classmethod
    def anatomy(cls, data: TrainingData, options: Any) -> tuple[int, ...]:
        """Return the values of the anatomy maps that the model is trained with; empty if it uses none."""
        return ()

    @classmethod
    def training_steps(
        cls, cohort: Cohort, preprocessing: Preprocessing, options: Any, training: TrainingConfig
    ) -> int:
        """Return the number of optimiser steps of the run."""
        return training.steps
