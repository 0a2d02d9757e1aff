"""Helpers shared by all checks: reporting a broken rule, and the rules of fitting, saving and loading."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Generic, TypeVar

import numpy as np

from lesionforge.cohort.case import Cohort
from lesionforge.errors import LesionforgeError
from lesionforge.synthesizers.registry import load_model
from lesionforge.testing.tiny_cohort import NESTED, tiny_cohort
from lesionforge.training.fitted_model import FittedModel
from lesionforge.training.loop import TrainingConfig

Kind = TypeVar("Kind", bound=FittedModel)
CHANNELS = ("FLAIR", "T1")
ANCESTOR = "ancestor"
"""A subject that is a parent of the cohort's first case."""
SHORT = TrainingConfig(steps=2, batch_size=2, epoch_steps=2, device="cpu")


def rule(holds: object, sentence: str) -> None:
    """Raise ``AssertionError`` with ``sentence`` unless ``holds`` is true."""
    if not holds:
        raise AssertionError(sentence)


def refused(action: Callable[[], object], what: str) -> None:
    """Check that ``action`` raises a :class:`~lesionforge.LesionforgeError`."""
    try:
        action()
    except LesionforgeError:
        return
    except Exception as error:
        told = f"{what} must raise a LesionforgeError, such as ConfigError or CohortError, not {error!r}"
        raise AssertionError(told) from error
    raise AssertionError(f"{what} must be refused: raise a LesionforgeError, such as ConfigError or CohortError")


def same(first: Any, second: Any) -> bool:
    """Return whether two arrays, or two other values, are bit-identical."""
    if not isinstance(first, np.ndarray) or not isinstance(second, np.ndarray):
        return bool(first is second or first == second)
    return first.shape == second.shape and first.dtype == second.dtype and first.tobytes() == second.tobytes()


def copied(value: Any) -> Any:
    """Return a pickled copy of ``value``, as a worker process would receive it."""
    try:
        return pickle.loads(pickle.dumps(value))
    except Exception as error:
        told = f"{type(value).__name__} must be picklable, as worker processes are handed a copy, but: {error}"
        raise AssertionError(told) from error


def simulated_cohort(folder: Path, spatial_dims: int, *, seed: int = 0) -> Cohort:
    """Return four subjects with lesions and two without, with two channels, two nested classes and anatomy maps."""
    cohort = tiny_cohort(
        folder,
        spatial_dims=spatial_dims,
        n_subjects=6,
        n_healthy=2,
        channels=CHANNELS,
        labels=NESTED,
        anatomy=True,
        seed=seed,
    )
    first, *others = cohort.cases
    return cohort.with_cases([replace(first, parents=(ANCESTOR,)), *others])


@dataclass(frozen=True, kw_only=True)
class Trial(Generic[Kind]):
    """A method and the data and options to test it with.

    Attributes:
        method: the class.
        options: options of the method.
        training: training length and batch size.
        cohort: cohort to fit on.
        folder: folder for the fitted models.
    """

    method: type[Kind]
    options: Mapping[str, Any]
    training: TrainingConfig
    cohort: Cohort
    folder: Path

    def fit(self, name: str, cohort: Cohort | None = None, **options: Any) -> Kind:
        """Fit the method with further options into a new folder, on another cohort if given."""
        chosen = self.cohort if cohort is None else cohort
        return self.method.fit(
            chosen,
            channels=chosen.channels,
            config={**self.options, **options},
            training=self.training,
            out=self.folder / name,
        )

    def load(self, name: str) -> Kind:
        """Load a fitted model by its folder name."""
        return load_model(self.folder / name, {self.method.method: self.method})


@contextmanager
def trials(
    method: type[Kind], spatial_dims: Sequence[int], *, options: Mapping[str, Any] | None, training: TrainingConfig
) -> Iterator[tuple[list[Trial[Kind]], dict[int, Cohort]]]:
    """Yield a trial per number of dimensions, and simulated 2D and 3D cohorts; all files are removed afterwards."""
    with TemporaryDirectory() as folder:
        cohorts = {dims: simulated_cohort(Path(folder, f"cohort{dims}"), dims) for dims in (2, 3)}
        made = [
            Trial(
                method=method,
                options={**_has_dimensions(method, dims), **(options or {})},
                training=training,
                cohort=cohorts[dims],
                folder=Path(folder, f"models{dims}"),
            )
            for dims in spatial_dims
        ]
        yield made, cohorts


def _has_dimensions(method: type[FittedModel], spatial_dims: int) -> dict[str, Any]:
    """Return the option ``spatial_dims`` if the method has it, else no option."""
    return {"spatial_dims": spatial_dims} if "spatial_dims" in method.Config.model_fields else {}


def check_fitting(trial: Trial[Kind]) -> Kind:
    """Check the rules of fitting, saving and loading, and return the fitted model."""
    name = trial.method.method
    model = trial.fit("model")
    rule(isinstance(model, trial.method), f"fit must return a {trial.method.__name__}, not {type(model).__name__}")
    rule(model.info.method == name, f"info.method is {model.info.method!r}, but the class's method is {name!r}")
    _check_record(trial, model)
    _check_loading(trial, model)
    _check_refusals(trial)
    return model


def _check_record(trial: Trial[Kind], model: Kind) -> None:
    """Check that the same seed gives the same model, and that all training subjects and their parents are recorded."""
    recorded = set(model.info.training_subjects)
    rule(recorded, "info.training_subjects is empty: the subjects a model is fitted on must be recorded")
    known = trial.cohort.subset(model.info.training_cases).ancestry
    missing = ", ".join(sorted(known - recorded))
    rule(not missing, f"info.training_subjects lacks {missing}: it must hold training subjects and their parents")
    again = trial.fit("again")
    rule(again.digest == model.digest, "same seed, same bytes: two fits with the same seed gave different models")
    of_recorded = trial.cohort.of_subjects(recorded)
    if len(of_recorded) < len(trial.cohort):
        alone = trial.fit("alone", of_recorded)
        told = "fitted on the recorded training subjects alone, the model differs: it also learnt from somebody else"
        rule(alone.digest == model.digest, told)


def _check_loading(trial: Trial[Kind], model: Kind) -> None:
    try:
        loaded = trial.load("model")
    except LesionforgeError as error:
        raise AssertionError(f"fit must save a model folder that can be loaded, but: {error}") from error
    rule(loaded.info == model.info, "save and load: the loaded model's info differs from the fitted model's")
    rule(loaded.digest == model.digest, "save and load: the loaded model's tensors differ from the fitted model's")


def _check_refusals(trial: Trial[Kind]) -> None:
    absent = replace(trial.cohort, channels=("absent",))
    refused(lambda: trial.fit("no_channel", absent), "fitting with a channel for which the cohort has no file")
    refused(lambda: trial.fit("no_option", no_such_option=1), "fitting with an unknown option")
    refused(lambda: trial.fit("no_lesion", trial.cohort.healthy()), "fitting on a cohort without lesions")
