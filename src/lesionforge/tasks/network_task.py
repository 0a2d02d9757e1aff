"""Base class of tasks with one trained network: loading, further training, and predictions of whole cohorts."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import nn

from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.digest import digest_of
from lesionforge.errors import CohortError, ConfigError, ModelError, OutputError
from lesionforge.files import claim_output, clear_leftovers, one_at_a_time, write_json
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.reading import read_json
from lesionforge.tasks.base import Task
from lesionforge.tasks.training_data import annotated_cases
from lesionforge.training.loop import Device, pick_device
from lesionforge.training.model_folder import ModelInfo, digest_of_tensors, must_fit, read_info, read_tensors
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
