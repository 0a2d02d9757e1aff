"""The checkpoint of a run: how far it came, and whether a module can go on from it."""

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
"""Of a training: what a resumed run may have otherwise than the one before."""
SHOWN = 60


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside the one before, which stays until the new one is whole.

    Lightning's own writer goes through the folder for temporary files. Where that is another file system, the last step
    is a copy over the only checkpoint there is.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write ``path``."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_bytes(Path(path), content.getbuffer())


class RunRecord(Callback):
    """Keeps, in the checkpoint, what a resumed run must share with the one before.

    Args:
        options: names and values.
        info: of the model that is trained.
    """

    def __init__(self, options: Mapping[str, Any], info: ModelInfo | None = None) -> None:
        self.options = dict(options)
        if info is not None:
            self.options["model"] = identity(info)

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


def identity(info: ModelInfo) -> dict[str, Any]:
    """Return the part of a ``model.json`` on which the weights depend, as JSON gives it back."""
    facts = info.model_dump(mode="json", exclude={"versions", "revision", "schema_version"})
    facts["training"] = {name: value for name, value in facts["training"].items() if name not in FREE}
    return dict(json.loads(json.dumps(facts)))


def check_same_model(out: Path, info: ModelInfo) -> None:
    """See that the finished model in ``out``, if there is one, was fitted on the same cases with the same options.

    Raises:
        ConfigError: naming what differs.
    """
    if (out / "model.json").is_file():
        _check_equal(out, identity(read_info(out)), identity(info))


def check_fits(out: Path, module: LightningModule, record: RunRecord) -> None:
    """See that the run in ``out``, if there is one, was made of the same cases with the same options and networks.

    Raises:
        ConfigError: naming the first thing that differs.
        ModelError: if its checkpoint is damaged.
    """
    if not (out / CHECKPOINT).exists():
        return
    checkpoint = _read(out)
    before = dict(checkpoint["callbacks"].get(record.state_key, {}))
    model = before.pop("model", None)
    _check_equal(out, before, {name: record.options.get(name) for name in before})
    if "model" in record.options:
        if model is None:
            raise ConfigError(out, "does not say which cases its run was started on", "train anew in a new folder")
        _check_equal(out, model, record.options["model"])
    shapes = {name: tensor.shape for name, tensor in checkpoint["state_dict"].items()}
    weights = {name: weight.shape for name, weight in module.named_parameters()}
    if any(shapes.get(name) != shape for name, shape in weights.items()):
        raise ConfigError(out, "was started with other networks", ANOTHER_RUN)


def _check_equal(out: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise ``ConfigError`` naming the first thing that differs; the cases come before their contents."""
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
    """Say which names stand on one side alone."""
    gone, new = sorted(set(before) - set(now)), sorted(set(now) - set(before))
    parts = [f"{what} {_short(', '.join(names))}" for what, names in (("without", gone), ("with", new)) if names]
    return f"this one is {' and '.join(parts)}" if parts else "they are ordered otherwise"


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
    """Return the checkpoint of a run, after a look at all of its bytes.

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
    raise ModelError(path, "is damaged", "remove the folder and train anew") from error
