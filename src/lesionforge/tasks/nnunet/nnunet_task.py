"""``NnUNetTask``: nnU-Net as it plans and trains itself, for as many steps as the other arms; needs ``nnunet``."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Self, cast

import numpy as np
from monai.transforms import Compose

from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.layouts.labels import OnProblem, fail
from lesionforge.cohort.scan import FloatArray, LabelArray, Scan
from lesionforge.errors import ConfigError, ModelError
from lesionforge.files import one_at_a_time, write_json
from lesionforge.preprocessing.pipeline import Preprocessing, Sample
from lesionforge.reading import read_json
from lesionforge.tasks.nnunet.nnunet_config import NnUNetConfig
from lesionforge.tasks.nnunet.reading import AXES_READ, as_file, as_read
from lesionforge.tasks.segmentation.segmentation_config import Augment
from lesionforge.tasks.segmentation.segmentation_task import SegmentationTask
from lesionforge.tasks.segmentation.training_cases import augmentation
from lesionforge.tasks.training_data import annotated_cases, check_share, synthetic_cases
from lesionforge.training.callbacks.finite import check_weights
from lesionforge.training.fitting import given_or_fitted
from lesionforge.training.items.samples import measured_cases
from lesionforge.training.loop import Device, TrainingConfig, claim_run, pick_device
from lesionforge.training.model_folder import describe, must_fit, read_info, read_tensors, save_model

PLANNED = "nnunet.json"
"""The file in the model folder with plans, dataset and mirror axes."""


@dataclass(frozen=True, kw_only=True)
class NnUNetTask(SegmentationTask):
    """A network of nnU-Net; scores are those of ``segmentation``.

    Attributes:
        planned: content of ``nnunet.json``.
    """

    method: ClassVar[str] = "nnunet"
    Config: ClassVar[type[Any]] = NnUNetConfig
    command: ClassVar[str] = "benchmark"
    draws_on_the_fly: ClassVar[bool] = False
    continues: ClassVar[bool] = False
    fades: ClassVar[bool] = False
    watches: ClassVar[bool] = False
    plans: ClassVar[bool] = True
    planned: dict[str, Any]

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
        synthetic: Any = None,
        share: float = 0.5,
        fade: tuple[float, float] | None = None,
        preprocessing: Preprocessing | None = None,
        pretrained: Any = None,
        watched: Mapping[str, Cohort] | None = None,
        watch_every: int = 100,
        resume: bool = False,
        on_problem: OnProblem = fail,
    ) -> Self:
        """Plan for the real cases, and train on all; see :meth:`Task.fit`.

        ``preprocessing`` is only recorded, for figures, and nothing is watched. A stopped run begins anew.

        Raises:
            ConfigError: if nnU-Net is not installed, ``share`` is not between 0 and 1 or is to fall, lesions are to be
                drawn on the fly, batches are to be accumulated, or the training is to start from another network.
            CohortError: see :meth:`NetworkTask.fit`.
            OutputError: see :meth:`NetworkTask.fit`.
            TrainingError: if a weight is not finite after training; nothing is saved.
        """
        check_share(share)
        if training.accumulate > 1:
            raise ConfigError("training.accumulate", "is not for nnU-Net, which takes a batch a step", "leave it out")
        _check_sources(synthetic, pretrained, fade)
        run = _nnunet()
        claim_run(out, resume=resume)
        if (out / "model.json").is_file():
            return cls.load(out, device=training.device)
        cases, facts = measured_cases(annotated_cases(cohort, channels), channels, on_problem=on_problem)
        drawn: Cohort | None = None
        if synthetic is not None:
            drawn, _ = measured_cases(synthetic_cases(synthetic, cohort, channels), channels, on_problem=on_problem)
        dims, batch = config.spatial_dims, training.batch_size
        preprocessing = given_or_fitted(preprocessing, facts, spatial_dims=dims, intensity=config.intensity)
        folder = out / "nnunet"
        shutil.rmtree(folder, ignore_errors=True)
        with run.working_in(folder):
            made = run.planned(cases, drawn or (), folder, config, batch)
            device = str(pick_device(training.device))
            steps, seed, shares = training.steps, training.seed, _shares(cases, drawn, share)
            weights, axes = run.trained(made, shares, config, steps=steps, seed=seed, device=device)
        shutil.rmtree(folder)
        check_weights(weights, out, remedy="lower the learning rate, in a new folder")
        about = training.model_dump(include={"steps", "batch_size", "seed", "precision"})
        about |= {} if drawn is None else {"share": share}
        parents = cases if drawn is None else cases.with_cases((*cases, *drawn))
        info = describe(cls.method, config, preprocessing, parents, training=about)
        write_json(out / PLANNED, {"plans": made.plans, "dataset": made.dataset, "mirror_axes": axes})
        save_model(out, info, weights)
        return cls.load(out, device=training.device)

    @classmethod
    def load(cls, folder: Path, *, device: Device = "cpu") -> Self:
        """Read a model folder; see :meth:`Task.load`."""
        info = read_info(folder)
        if info.method != cls.method:
            raise ModelError(folder, f"is a model of {info.method}", "name one of nnunet")
        stored, tensors = read_json(folder / PLANNED), read_tensors(folder)
        run = _nnunet()
        made = run.Planned(plans=stored["plans"], dataset=stored["dataset"])
        with must_fit(folder):
            network = made.network(NnUNetConfig.model_validate(info.config))
            own = run.own_tensors(network)
            for name in own.keys() | tensors.keys():
                own[name].copy_(tensors[name])
        return cls(info=info, network=network.eval(), planned=stored).to(pick_device(device))

    def predict(self, scan: Scan, *, image: FloatArray | None = None) -> LabelArray:
        """Return the predicted classes on the scan's own voxel grid; see :meth:`SegmentationTask.predict`."""
        run, stored = _nnunet(), self.planned
        order = AXES_READ[stored["plans"]["image_reader_writer"]]
        array, properties = as_read(scan, order, scan.image if image is None else image)
        made = run.Planned(plans=stored["plans"], dataset=stored["dataset"])
        config = NnUNetConfig.model_validate(self.info.config)
        found = run.predicted(made, self.network, config, array, properties, stored["mirror_axes"])
        return as_file(found, order, spatial_dims=scan.spatial_dims).astype(np.int16)

    @classmethod
    def describe(cls, config: Any) -> str:
        """Return which nnU-Net it is."""
        return f"nnU-Net, {config.configuration}, planned by {config.planner}"

    @classmethod
    def seen(cls, config: Any, sample: Sample, preprocessing: Preprocessing) -> FloatArray:
        """Return the image of the sample; nnU-Net normalises it in its own way."""
        return sample.image

    @classmethod
    def augmentation(
        cls, config: Any, kind: str, preprocessing: Preprocessing, spacing: Sequence[float], *, spatial_dims: int
    ) -> Compose | None:
        """Return our version of nnU-Net's list, to show it in figures; nnU-Net augments its patches itself."""
        background = preprocessing.output[0]
        return augmentation(cast("Augment", kind), spatial_dims, background=background, spacing=spacing)


def _check_sources(synthetic: Any, pretrained: Any, fade: Any) -> None:
    if fade is not None:
        raise ConfigError("nnunet", "deals its own patches, so no share can fall", "leave fade out")
    if synthetic is not None and not isinstance(synthetic, Cohort):
        remedy = "draw offline, or train with nnUNetTrainerLesionforge"
        raise ConfigError("nnunet", "cannot draw on the fly in a benchmark", remedy)
    if pretrained is not None:
        raise ConfigError("nnunet", "cannot start from another network", "train it from scratch, or take segmentation")


def _shares(cases: Cohort, drawn: Cohort | None, share: float) -> dict[str, float]:
    """Return case_id → probability: real and synthetic cases have their shares, and cases of one kind the same."""
    part = 0.0 if drawn is None else share
    kinds: list[tuple[Sequence[Case], float]] = [(cases.cases, 1 - part), (drawn.cases if drawn else (), part)]
    return {case.case_id: whole / len(kind) for kind, whole in kinds for case in kind}


def _nnunet() -> ModuleType:
    """Return the module that calls nnU-Net.

    Raises:
        ConfigError: if nnU-Net is not installed.
    """
    try:
        from lesionforge.tasks.nnunet import run
    except ModuleNotFoundError as error:
        raise ConfigError("nnunet", "nnU-Net is not installed", "pip install 'lesionforge[nnunet]'") from error
    return run
