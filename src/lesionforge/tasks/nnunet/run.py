"""nnU-Net itself: its plans, its preprocessing, its network, its training step and its prediction."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.experiment_planning import plan_and_preprocess_api as planning
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerNoDA import nnUNetTrainerNoDA
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch import nn

from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.scan import load_scan, save_label
from lesionforge.files import write_json
from lesionforge.reading import read_json
from lesionforge.tasks.nnunet.nnunet_config import NnUNetConfig
from lesionforge.training.rng import torch_seed

NAME = "Dataset001_Cases"
PLACES = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What nnU-Net needs beside the weights.

    Attributes:
        plans: its plans.
        dataset: its ``dataset.json``, without the files.
    """

    plans: dict[str, Any]
    dataset: dict[str, Any]

    def network(self, config: NnUNetConfig) -> nn.Module:
        """Return the untrained network, which predicts at full resolution only."""
        manager = PlansManager(self.plans)
        own = manager.get_configuration(config.configuration)
        channels, heads = len(self.dataset["channel_names"]), len(self.dataset["labels"])
        return nnUNetTrainer.build_network_architecture(manager, own, channels, heads, False)


class _Deals:
    """A trainer on given cases, each with its own probability, without an end of its own."""

    shares: Mapping[str, float]

    def do_split(self) -> tuple[list[str], list[str]]:
        return sorted(self.shares), sorted(self.shares)[:1]


class _Trainer(_Deals, nnUNetTrainer):
    """With nnU-Net's augmentation."""


class _TrainerNoDA(_Deals, nnUNetTrainerNoDA):
    """Without augmentation."""


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Let nnU-Net work in a folder, without further processes or compilation, and write what it says into a file."""
    before = dict(os.environ)
    os.environ.update({name: str(folder / name) for name in PLACES})
    os.environ.update(nnUNet_n_proc_DA="1", nnUNet_compile="f")
    try:
        for name in PLACES:
            (folder / name).mkdir(parents=True, exist_ok=True)
        with (folder / "nnunet.log").open("a") as log, redirect_stdout(log), redirect_stderr(log):
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def planned(real: Cohort, synthetic: Sequence[Case], folder: Path, config: NnUNetConfig, batch: int | None) -> Planned:
    """Plan for the real cases, and preprocess all; to be called within :func:`working_in`.

    Args:
        real: the real training cases.
        synthetic: the synthetic ones, which do not change the plans.
        folder: nnU-Net's folder.
        config: options.
        batch: batch size; nnU-Net's own by default.
    """
    files = {case.case_id: _files(case, real.channels, folder / "labels") for case in (*real, *synthetic)}
    dataset = {
        "channel_names": {str(number): name for number, name in enumerate(real.channels)},
        "labels": {"background": 0, **{name: value for name, value in real.labels.items() if value}},
        "file_ending": real.cases[0].file_ending,
        "numTraining": len(real),
    }
    raw, done = folder / "nnUNet_raw" / NAME, folder / "nnUNet_preprocessed" / NAME
    raw.mkdir(exist_ok=True)
    write_json(raw / "dataset.json", {**dataset, "dataset": {case.case_id: files[case.case_id] for case in real}})
    planning.extract_fingerprints([1], num_processes=1, verbose=False)
    planning.plan_experiments([1], experiment_planner_class_name=config.planner)
    (file,) = done.glob("*Plans.json")
    plans = read_json(file)
    if batch is not None:
        plans["configurations"][config.configuration]["batch_size"] = batch
    write_json(done / "dataset.json", dataset)
    manager = PlansManager(plans)
    own = manager.get_configuration(config.configuration)
    arrays = done / own.data_identifier
    arrays.mkdir()
    for case_id, paths in files.items():
        made = str(arrays / case_id)
        DefaultPreprocessor(verbose=False).run_case_save(made, paths["images"], paths["label"], manager, own, dataset)
    return Planned(plans=plans, dataset=dataset)


def trained(
    made: Planned, shares: Mapping[str, float], config: NnUNetConfig, *, steps: int, seed: int, device: str
) -> tuple[dict[str, torch.Tensor], list[int]]:
    """Return the weights after training, and the axes along which predictions may be mirrored.

    Args:
        made: plans and preprocessed cases.
        shares: case_id → probability of each item of a batch to be of this case.
        config: options.
        steps: number of steps.
        seed: seed of everything random.
        device: device of the network.
    """
    os.environ["nnUNet_n_proc_DA"] = "0"  # noqa: SIM112
    with _seeded(seed):
        kind = _Trainer if config.augment == "classical" else _TrainerNoDA
        plans = {**made.plans, "continue_training": False}
        trainer = kind(plans, config.configuration, "all", made.dataset, torch.device(device))
        trainer.shares, trainer.initial_lr = shares, config.learning_rate
        trainer.oversample_foreground_percent = config.lesion_share
        trainer.on_train_start()
        dealt = trainer.dataloader_train
        dealt.data_loader.sampling_probabilities = [shares[name] for name in dealt.data_loader.indices]
        rates = PolyLRScheduler(trainer.optimizer, config.learning_rate, steps)
        trainer.network.train()
        for step in range(steps):
            rates.step(step)
            trainer.train_step(next(dealt))
        return own_tensors(trainer.network), list(trainer.inference_allowed_mirroring_axes or ())


def own_tensors(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return every tensor of a network once; nnU-Net's networks hold most of them under several names."""
    return {name: tensor.data for name, tensor in (*network.named_parameters(), *network.named_buffers())}


def predicted(
    made: Planned, network: nn.Module, config: NnUNetConfig, image: Any, properties: Any, axes: Sequence[int]
) -> Any:
    """Return the classes of an image as nnU-Net reads it."""
    device = next(network.parameters()).device
    on_gpu = device.type == "cuda"
    with redirect_stdout(StringIO()):
        predictor = nnUNetPredictor(
            perform_everything_on_device=on_gpu, device=device, allow_tqdm=False, use_mirroring=bool(axes)
        )
    manager = PlansManager(made.plans)
    own = manager.get_configuration(config.configuration)
    weights = [network.state_dict()]
    predictor.manual_initialization(network, manager, own, weights, made.dataset, "nnUNetTrainer", tuple(axes))
    return predictor.predict_single_npy_array(image, properties)


def _files(case: Case, channels: Sequence[str], folder: Path) -> dict[str, Any]:
    """Return the files of a case as nnU-Net names them; a lesion-free case gets a label file if it has none."""
    label = case.label
    if label is None:
        folder.mkdir(parents=True, exist_ok=True)
        scan, label = load_scan(case, channels), folder / f"{case.case_id}{case.file_ending}"
        save_label(label, np.zeros(scan.spatial_shape, np.int16), scan.file)
    return {"images": [str(case.images[name].resolve()) for name in channels], "label": str(label.resolve())}


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global generators, from which nnU-Net draws, and bring them back afterwards."""
    plain, numpys = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        with torch_seed(seed, "nnunet"):
            yield
    finally:
        random.setstate(plain)
        np.random.set_state(numpys)  # noqa: NPY002
