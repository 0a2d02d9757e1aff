"""Checkpoints of a run: writing, reading, and checking whether a run can be resumed."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.callbacks import Checkpoint as CheckpointCallback

from lesionforge.errors import ConfigError, ModelError
from lesionforge.files import write_bytes
from lesionforge.training.model_folder import ModelInfo, read_info

CHECKPOINT = Path("checkpoints") / "last.ckpt"
PARTS = {"epoch", "state_dict", "optimizer_states", "callbacks"}
ANOTHER_RUN = "resume it as it was started, or name a new folder"
FREE = ("steps",)
"""Fields of ``ModelInfo.training`` that a resumed run may change."""
SHOWN = 60


class AtomicCheckpoints(TorchCheckpointIO):
    """Lightning checkpoint writer that keeps the previous checkpoint until the new one is complete.

    Lightning's own writer goes through the folder for temporary files. If that is on another file system, its last step
    copies over the only existing checkpoint, so a crash can destroy it.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write the checkpoint to ``path`` atomically."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_bytes(Path(path), content.getbuffer())


class RunRecord(Callback):
    """Callback that stores in the checkpoint the settings that a resumed run must share.

    Args:
        options: name → value.
        info: description of the model being trained.
    """

    def __init__(self, options: Mapping[str, Any], info: ModelInfo | None = None) -> None:
        self.options = dict(options)
        if info is not None:
            self.options["model"] = identity(info)

    def state_dict(self) -> dict[str, Any]:
        """Return the settings to store."""
        return dict(self.options)


class Checkpoints(CheckpointCallback):
    """Callback that writes ``last.ckpt`` at the end of an epoch, at most every ``minutes``, and at the end of the run.

    Args:
        out: the run's folder.
        minutes: minimum time between two checkpoints; a killed run loses about this much work.
    """

    def __init__(self, out: Path, *, minutes: float) -> None:
        self.path, self.seconds, self.last = out / CHECKPOINT, 60 * minutes, monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self.last = monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write a checkpoint if it is due; with several processes the first one decides."""
        ends = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        if trainer.strategy.broadcast(ends or monotonic() - self.last >= self.seconds):
            trainer.save_checkpoint(self.path)
            self.last = monotonic()


def epochs_done(out: Path) -> int:
    """Return the number of epochs completed by the checkpoint in ``out``; 0 without a checkpoint.

    Raises:
        ModelError: if the checkpoint is damaged.
    """
    return int(_read(out)["epoch"]) + 1 if (out / CHECKPOINT).exists() else 0


def identity(info: ModelInfo) -> dict[str, Any]:
    """Return the fields of ``model.json`` that determine the weights, after a round trip through JSON."""
    facts = info.model_dump(mode="json", exclude={"versions", "revision", "schema_version"})
    facts["training"] = {name: value for name, value in facts["training"].items() if name not in FREE}
    return dict(json.loads(json.dumps(facts)))


def check_same_model(out: Path, info: ModelInfo) -> None:
    """Check that the finished model in ``out``, if any, was fitted on the same cases with the same options.

    Raises:
        ConfigError: if not; it names the first difference.
    """
    if (out / "model.json").is_file():
        _check_equal(out, identity(read_info(out)), identity(info))


def check_fits(out: Path, module: LightningModule, record: RunRecord) -> None:
    """Check that the run in ``out``, if any, was started on the same cases with the same options and networks.

    Raises:
        ConfigError: if not; it names the first difference.
        ModelError: if the checkpoint is damaged.
    """
    if not (out / CHECKPOINT).exists():
        return
    checkpoint = _read(out)
    before = dict(checkpoint["callbacks"].get(record.state_key, {}))
    model = before.pop("model", None)
    _check_equal(out, before, {name: record.options.get(name) for name in before})
    if "model" in record.options:
        if model is None:
            raise ConfigError(out, "does not record which cases its run was started on", "train again in a new folder")
        _check_equal(out, model, record.options["model"])
    shapes = {name: tensor.shape for name, tensor in checkpoint["state_dict"].items()}
    weights = {name: weight.shape for name, weight in module.named_parameters()}
    if any(shapes.get(name) != shape for name, shape in weights.items()):
        raise ConfigError(out, "was started with other networks", ANOTHER_RUN)


def _check_equal(out: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise ``ConfigError`` with the first difference; case ids are compared before images and labels."""
    for name in ("training_cases", "training_subjects"):
        if before.get(name) != now.get(name):
            what = f"was started on other {name.removeprefix('training_')}: {_apart(before[name], now[name])}"
            raise ConfigError(out, what, ANOTHER_RUN)
    if before.get("data") != now.get("data"):
        what = "was started on other images or labels of the same cases"
        raise ConfigError(out, what, ANOTHER_RUN)
    flat, other = dict(_flat(before)), dict(_flat(now))
    for name in dict.fromkeys((*flat, *other)):
        if flat.get(name) != other.get(name):
            what = f"was started with {name}={_short(flat.get(name))}, not {_short(other.get(name))}"
            raise ConfigError(out, what, ANOTHER_RUN)


def _apart(before: Iterable[str], now: Iterable[str]) -> str:
    """Describe which names occur on one side only."""
    gone, new = sorted(set(before) - set(now)), sorted(set(now) - set(before))
    parts = [f"{what} {_short(', '.join(names))}" for what, names in (("without", gone), ("with", new)) if names]
    return f"this one is {' and '.join(parts)}" if parts else "they are in another order"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _flat(group: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in group.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}".removeprefix("config.").removeprefix("training."), value


def _read(out: Path) -> dict[str, Any]:
    """Read the checkpoint of a run and verify its checksums.

    Raises:
        ModelError: if it is damaged.
    """
    path = out / CHECKPOINT
    try:
        with zipfile.ZipFile(path) as parts:
            damaged = parts.testzip()
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        if damaged is None and isinstance(content, dict) and content.keys() >= PARTS:
            return content
        error: Exception | None = None
    except (RuntimeError, EOFError, ValueError, LookupError, zipfile.BadZipFile, pickle.UnpicklingError) as caught:
        error = caught
    raise ModelError(path, "is damaged", "remove the folder and train again") from error
