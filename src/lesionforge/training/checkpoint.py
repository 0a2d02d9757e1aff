"""The checkpoint of a run: how far it came, and whether a module can go on from it."""

from __future__ import annotations

import pickle
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.callbacks import Checkpoint as CheckpointCallback

from lesionforge.errors import ConfigError, ModelError

CHECKPOINT = Path("checkpoints") / "last.ckpt"


class RunRecord(Callback):
    """Keeps, in the checkpoint, the options that a resumed run must share with the one before.

    Args:
        options: their names and values.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options

    def state_dict(self) -> dict[str, Any]:
        """Return what the checkpoint keeps."""
        return dict(self.options)


class Checkpoints(CheckpointCallback):
    """Writes ``last.ckpt`` at the ends of epochs, at most every ``minutes``, and at the end of the run.

    Args:
        out: the run's folder.
        minutes: between two checkpoints; a killed run loses as much.
    """

    def __init__(self, out: Path, *, minutes: float) -> None:
        self.path, self.seconds, self.last = out / CHECKPOINT, 60 * minutes, monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self.last = monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write a checkpoint if it is time; of several processes the first one says so."""
        ends = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        if trainer.strategy.broadcast(ends or monotonic() - self.last >= self.seconds):
            trainer.save_checkpoint(self.path)
            self.last = monotonic()


def epochs_done(out: Path) -> int:
    """Return how many epochs the checkpoint of the run in ``out`` has behind it.

    Raises:
        ModelError: if its checkpoint is damaged.
    """
    return int(_read(out)["epoch"]) + 1 if (out / CHECKPOINT).exists() else 0


def check_fits(out: Path, module: LightningModule, record: RunRecord) -> None:
    """See that the run in ``out``, if there is one, was made with the same options and networks.

    Raises:
        ConfigError: naming the first option that differs.
        ModelError: if its checkpoint is damaged.
    """
    if not (out / CHECKPOINT).exists():
        return
    checkpoint, remedy = _read(out), "resume it as it was started, or name a new folder"
    for name, before in checkpoint["callbacks"].get(record.state_key, {}).items():
        if record.options[name] != before:
            raise ConfigError(out, f"was started with {name}={before}, not {record.options[name]}", remedy)
    before = {name: tensor.shape for name, tensor in checkpoint["state_dict"].items()}
    weights = {name: weight.shape for name, weight in module.named_parameters()}
    if any(before.get(name) != shape for name, shape in weights.items()):
        raise ConfigError(out, "was started with other networks", remedy)


def _read(out: Path) -> dict[str, Any]:
    path = out / CHECKPOINT
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True, mmap=True))
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ModelError(path, "is damaged", "remove the folder and train anew") from error
