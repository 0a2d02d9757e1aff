"""Base class of tasks with one trained network: training, loading, and predictions of whole cohorts."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

from lightning import LightningModule
from lightning.pytorch.callbacks import Callback
from matplotlib.figure import Figure
from torch import nn
from torch.utils.data import Dataset

from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.digest import digest_of
from lesionforge.cohort.inspection.fingerprint import Fingerprint
from lesionforge.cohort.layouts.labels import OnProblem, fail
from lesionforge.errors import CohortError, ConfigError, ModelError, OutputError
from lesionforge.files import claim_output, clear_leftovers, one_at_a_time, write_json
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.reading import read_json
from lesionforge.tasks.base import Task
from lesionforge.tasks.training_data import TaskData, annotated_cases, check_share, task_data
from lesionforge.training.fitting import Recipe, given_or_fitted, train
from lesionforge.training.items.deal import Fade
from lesionforge.training.items.samples import measured_cases
from lesionforge.training.items.source import Source
from lesionforge.training.loop import Device, TrainingConfig, claim_run, pick_device
from lesionforge.training.model_folder import (
    ModelInfo,
    describe,
    digest_of_tensors,
    must_fit,
    read_info,
    read_tensors,
    save_model,
)
from lesionforge.training.rng import torch_seed


@dataclass(frozen=True, kw_only=True)
class NetworkTask(Task):
    """A trained network with its options and preprocessing.

    Attributes:
        command: the group of commands that trains and applies it, such as ``segment``.
        fixed: options that a pretrained model and its further training must share.
        info: training cases, options and preprocessing of this model.
        network: the network in evaluation mode.
    """

    command: ClassVar[str]
    fixed: ClassVar[tuple[str, ...]]
    fades: ClassVar[bool] = True
    info: ModelInfo
    network: nn.Module

    @classmethod
    @abstractmethod
    def make_network(cls, config: Any, info: ModelInfo) -> nn.Module:
        """Return the untrained network that the options define."""

    @classmethod
    @abstractmethod
    def prediction_path(cls, out: Path, case: Case) -> Path:
        """Return the path at which :meth:`predict_case` writes the prediction of a case."""

    @classmethod
    def cases(cls, cohort: Cohort, channels: tuple[str, ...]) -> Cohort:
        """Return the cases with lesion masks and the lesion-free cases; see :meth:`Task.cases`."""
        return annotated_cases(cohort, channels)

    @classmethod
    @one_at_a_time
    def fit(
        cls,
        cohort: Cohort,
        *,
        channels: tuple[str, ...],
        config: Any,
        training: TrainingConfig,
        out: Path,
        synthetic: Cohort | Source | None = None,
        share: float = 0.5,
        fade: tuple[float, float] | None = None,
        preprocessing: Preprocessing | None = None,
        pretrained: Self | None = None,
        watched: Mapping[str, Cohort] | None = None,
        watch_every: int = 100,
        resume: bool = False,
        on_problem: OnProblem = fail,
    ) -> Self:
        """Train on the annotated cases of ``cohort`` and return the task with the weights of the last step.

        Args:
            cohort: training cases; the preprocessing is fitted on them.
            channels: image channels to use.
            config: the task's own options, a ``Config``.
            training: number of steps, batch size, seed and device.
            out: the model folder.
            synthetic: synthetic cases to mix in, whose parents are added to the training subjects; or a source that
                draws lesions into the cohort's own samples on the fly.
            share: share of every batch that is synthetic; 1 trains on synthetic cases only.
            fade: shares of the steps between which ``share`` falls to 0, in favour of the real cases.
            preprocessing: preprocessing to share with a synthesizer; fitted on ``cohort`` unless given.
            pretrained: a task with the same network. Training starts from its weights and keeps its preprocessing and
                item size; its training subjects are added to those of the new model.
            watched: name → cases whose mean score is logged during training, without effect on the weights, by tasks
                that can.
            watch_every: steps between two such scorings.
            resume: continue the run in ``out``.
            on_problem: called with the error of each unreadable case, which is left out; raises the error unless given.

        Raises:
            CohortError: if there is no annotated case with these channels, ``synthetic`` has other lesion classes, or
                the cases do not fit the options.
            ConfigError: if ``share`` is not between 0 and 1, nothing can fall between the ends of ``fade``, the options
                do not fit the cohort, or ``pretrained`` has another network, other channels or other classes.
            OutputError: if ``out`` is not empty and ``resume`` is off.
        """
        check_share(share)
        cls.check_options(config, cohort, channels)
        claim_run(out, resume=resume)
        cases, facts = measured_cases(annotated_cases(cohort, channels), channels, on_problem=on_problem)
        cases = cls.usable(cases, facts, config)
        if pretrained is not None:
            preprocessing, config = pretrained.continued(config, cases)
        dims, intensity = config.spatial_dims, config.intensity
        preprocessing = given_or_fitted(preprocessing, facts, spatial_dims=dims, intensity=intensity)
        data = task_data(
            cases,
            facts,
            preprocessing,
            real=cohort,
            synthetic=synthetic,
            share=share,
            lesion_share=config.lesion_share,
            on_problem=on_problem,
        )
        config = cls.sized(config, data)
        training = training.or_batch_size(facts.batch_size(config.roi_size))
        falls = None if fade is None else Fade.over(training.items, fade)
        data = replace(data, items=training.items, fade=falls)
        config, items, notes = cls.training_items(data, config, training.seed)
        about = training.model_dump(include={"steps", "batch_size", "accumulate", "seed", "precision"})
        about |= data.about(pretrained.digest if pretrained else None)
        info = describe(cls.method, config, preprocessing, data.parents, training=about)
        network = cls.first_network(config, info, training.seed, pretrained)
        if pretrained is not None:
            info = info.descending_from(pretrained.info)
        recipe = Recipe(
            module=cls.module(network, config, info, training),
            items=items,
            notes=notes,
            picture=partial(cls.picture, network, items),
            callbacks=cls(info=info, network=network).watching(watched or {}, every=watch_every, training=training),
        )
        info = train(recipe, info, training=training, out=out, resume=resume)
        for name, content in recipe.notes.items():
            write_json(out / name, content)
        save_model(out, info, dict(network.state_dict()))
        return cls(info=info, network=network.eval())

    @classmethod
    @abstractmethod
    def check_options(cls, config: Any, cohort: Cohort, channels: tuple[str, ...]) -> None:
        """Check that the options fit the channels and classes of a cohort.

        Raises:
            ConfigError: if they do not.
        """

    @classmethod
    def usable(cls, cases: Cohort, facts: Fingerprint, config: Any) -> Cohort:
        """Return the cases that the task is trained on; all of them unless overridden."""
        return cases

    @classmethod
    @abstractmethod
    def sized(cls, config: Any, data: TaskData) -> Any:
        """Return the options with the size of the training items, ``roi_size``."""

    @classmethod
    @abstractmethod
    def training_items(cls, data: TaskData, config: Any, seed: int) -> tuple[Any, Dataset[Any], dict[str, Any]]:
        """Return the options with what the training cases decide, the training items, and notes.

        Notes are the names of JSON files in the model folder, each with its content.

        Raises:
            CohortError: if the cases do not fit the options.
        """

    @classmethod
    @abstractmethod
    def module(cls, network: nn.Module, config: Any, info: ModelInfo, training: TrainingConfig) -> LightningModule:
        """Return the Lightning module that trains ``network`` in place."""

    @classmethod
    @abstractmethod
    def picture(cls, network: nn.Module, items: Dataset[Any]) -> Figure:
        """Return a figure that shows what a network in training finds in its training items."""

    def watching(self, watched: Mapping[str, Cohort], *, every: int, training: TrainingConfig) -> tuple[Callback, ...]:
        """Return callbacks that score ``watched`` during training; none unless overridden.

        Args:
            watched: name → cases.
            every: steps between two scorings.
            training: length of the training run.
        """
        return ()

    @classmethod
    def load(cls, folder: Path, *, device: Device = "cpu") -> Self:
        """Read a model folder.

        Args:
            folder: the model folder.
            device: device for prediction.

        Raises:
            ModelError: if ``folder`` is not a model folder of this task.
        """
        info = read_info(folder)
        if info.method != cls.method:
            raise ModelError(folder, f"is a model of {info.method}", f"name a model that `{cls.command} train` made")
        tensors = read_tensors(folder)
        with must_fit(folder):
            network = cls.make_network(cls.Config.model_validate(info.config), info)
            network.load_state_dict(tensors)
        return cls(info=info, network=network.eval()).to(pick_device(device))

    @classmethod
    def first_network(cls, config: Any, info: ModelInfo, seed: int, pretrained: Self | None) -> nn.Module:
        """Return the network before the first training step: random weights, or those of a pretrained model."""
        with torch_seed(seed, "weights"):
            network = cls.make_network(config, info)
        if pretrained is not None:
            network.load_state_dict(pretrained.network.state_dict())
        return network

    def to(self, device: str) -> Self:
        """Move the network to ``device``."""
        self.network.to(device)
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of the weights."""
        return digest_of_tensors(self.network.state_dict())

    def continued(self, config: Any, cases: Cohort) -> tuple[Preprocessing, Any]:
        """Return this model's preprocessing, and ``config`` with its item size, for further training.

        Raises:
            ConfigError: if ``config`` or ``cases`` have another network, other channels or other classes than this
                model.
        """
        own = self.Config.model_validate(self.info.config)
        for name in self.fixed:
            if getattr(own, name) != getattr(config, name):
                what = f"is {getattr(config, name)}, but {getattr(own, name)} in the pretrained model"
                raise ConfigError(name, what, "take the pretrained model's")
        if self.info.preprocessing.channels != cases.channels or self.info.labels != dict(cases.labels):
            raise ConfigError(
                cases.name, "has other channels or lesion classes than the pretrained model", "match them"
            )
        return self.info.preprocessing, config.model_copy(update={"roi_size": own.roi_size})

    @one_at_a_time
    def predict_cohort(
        self, cohort: Cohort, *, out: Path, progress: Callable[[int, int], None] = lambda done, total: None
    ) -> list[CohortError]:
        """Write the missing predictions of all cases into ``out`` and return the errors.

        Args:
            cohort: cases with the model's channels.
            out: a new folder, or one with predictions of this model.
            progress: called with the number of finished cases and the number of all cases.

        Returns:
            An error for each case that cannot be read or lacks a channel.

        Raises:
            CohortError: if no case has the channels.
            OutputError: if ``out`` holds something else, or predictions of other images with the same case_ids.
        """
        cohort.having(self.info.preprocessing.channels)
        self._claim_predictions(out, cohort)
        problems = []
        for done, case in enumerate(cohort, start=1):
            try:
                self.predict_case(case, out)
                self.show_case(case, out)
            except CohortError as error:
                problems.append(error)
            progress(done, len(cohort))
        return problems

    def show_case(self, case: Case, out: Path) -> None:
        """Write what viewers show of the prediction of a case in ``out``; nothing, if the prediction is an image."""

    def _claim_predictions(self, out: Path, cases: Cohort) -> None:
        """Check that ``out`` is new, or holds predictions of this model on the same images, and record the cases.

        Raises:
            OutputError: if it holds anything else.
        """
        info, record = self.info, out / f"{self.method}.json"
        how = {"config": info.config, "preprocessing": info.preprocessing.model_dump(mode="json")}
        model = json.loads(json.dumps({"weights": self.digest, **how}))
        before: dict[str, Any] = {}
        if not record.is_file():
            claim_output(out)
        else:
            before = read_json(record)
            if before["model"] != model:
                raise OutputError(out, "holds the predictions of another model", "name a new folder")
        known = before.get("images", {})
        for case in cases.with_channels(info.preprocessing.channels):
            found = digest_of([replace(case, label=None, anatomy=None)])
            if self.prediction_path(out, case).is_file() and known.get(case.case_id) != found:
                what = f"holds the prediction of another image, or another subject, with the id {case.case_id}"
                raise OutputError(out, what, "name a new folder")
            known[case.case_id] = found
        write_json(record, {"model": model, "images": known})
        clear_leftovers(out)
