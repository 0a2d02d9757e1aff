"""One way to train, for synthesizers, mask generators and tasks alike.

A run is a row of optimiser steps. Each step takes ``batch_size`` *draws*; a dataset maps a draw number to a training
item and depends on nothing else. So a run that is killed and resumed sees the same items as one that was not.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import sys
from collections.abc import Collection, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Self

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, RichProgressBar, Timer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy, Strategy
from lightning.pytorch.utilities import rank_zero_only
from pydantic import BaseModel, ConfigDict, Field
from torch.utils.data import DataLoader, Dataset, Sampler

from lesionforge.errors import ConfigError, OutputError
from lesionforge.files import claim_output
from lesionforge.training.checkpoint import CHECKPOINT, RunRecord, check_fits, epochs_done
from lesionforge.training.log import ContinuingCSVLogger
from lesionforge.training.progress import PlainProgress

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "32-true", "bf16-mixed"]


class TrainingConfig(BaseModel):
    """How long and on what to train.

    Attributes:
        steps: optimiser steps (of the generator, where there are two networks).
        batch_size: draws per step and device; ``None`` takes it from the fingerprint.
        accumulate: batches whose gradients are summed up to one step.
        epoch_steps: steps between two checkpoints; an epoch is nothing else here.
        seed: all randomness of the run comes from it.
        device: ``"auto"`` takes CUDA where there is one.
        devices: number of processes for distributed training; each takes ``batch_size`` draws a step.
        precision: ``"auto"`` is ``"bf16-mixed"`` on CUDA.
        workers: loader processes.
        time_budget: seconds after which the run ends at the next epoch, or ``None``.
        preview_minutes: minutes between two preview pictures.
        tensorboard: also write TensorBoard events (needs the extra ``tensorboard``).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(default=2000, ge=1)
    batch_size: int | None = Field(default=None, ge=1)
    accumulate: int = Field(default=1, ge=1)
    epoch_steps: int = Field(default=50, ge=1)
    seed: int = 0
    device: Device = "auto"
    devices: int = Field(default=1, ge=1)
    precision: Precision = "auto"
    workers: int = Field(default=0, ge=0)
    time_budget: float | None = None
    preview_minutes: float = 2.0
    tensorboard: bool = False

    def or_batch_size(self, batch_size: int) -> Self:
        """Return this configuration with ``batch_size`` where none was chosen."""
        return self if self.batch_size is not None else self.model_copy(update={"batch_size": batch_size})


class DrawSampler(Sampler[int]):
    """Yields draw numbers in order; an epoch goes on where the one before ended, each rank takes its share.

    Args:
        config: of the run.
        epoch: the first one; loader processes ask for it before Lightning sets it.
    """

    def __init__(self, config: TrainingConfig, *, epoch: int = 0) -> None:
        assert config.batch_size is not None
        self.config, self.epoch = config, epoch
        self.per_step = config.batch_size * config.accumulate

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._epoch_draws()) // _world()[1]

    def __iter__(self) -> Iterator[int]:
        rank, size = _world()
        return iter(self._epoch_draws()[rank::size])

    def _epoch_draws(self) -> range:
        per_step = self.per_step * _world()[1]
        first = self.epoch * self.config.epoch_steps
        last = min(first + self.config.epoch_steps, self.config.steps)
        return range(first * per_step, max(first, last) * per_step)


def fit(
    module: lightning.LightningModule,
    dataset: Dataset[Any],
    *,
    out: Path,
    config: TrainingConfig,
    resume: bool = False,
    callbacks: tuple[Callback, ...] = (),
) -> int:
    """Train ``module`` on ``dataset`` and return how many steps were made; a time budget may end it early.

    Writes ``metrics.csv`` and ``checkpoints/last.ckpt`` into ``out`` at the end of every epoch.

    Args:
        module: what to train; its last weights are its result.
        dataset: map-style; ``dataset[draw]`` must be a function of the draw number alone.
        out: the run's folder.
        config: length, batch size (which must be given here) and machine.
        resume: go on from the checkpoint in ``out``, if there is one.
        callbacks: further Lightning callbacks, such as previews.

    Raises:
        OutputError: if ``out`` holds anything already and ``resume`` is off.
        KeyboardInterrupt: if the user stopped it.
    """
    claim_run(out, resume=resume)
    accelerator = pick_device(config.device)
    epochs, done = math.ceil(config.steps / config.epoch_steps), epochs_done(out)
    record = RunRecord(config.model_dump(include={"batch_size", "accumulate", "epoch_steps", "seed", "devices"}))
    check_fits(out, module, record)
    loader = DataLoader(
        dataset,
        batch_size=config.batch_size,
        sampler=DrawSampler(config, epoch=min(done, epochs - 1)),
        num_workers=config.workers,
        persistent_workers=config.workers > 0,
        pin_memory=accelerator == "cuda",
    )
    channels_last(module, spatial_dims=(2, 3) if accelerator == "cuda" else (3,))
    trainer = lightning.Trainer(
        accelerator=accelerator,
        devices=config.devices,
        strategy=_strategy(config.devices),
        precision=_precision(config.precision, accelerator),
        max_epochs=epochs,
        accumulate_grad_batches=config.accumulate if module.automatic_optimization else 1,
        logger=_loggers(out, config, epochs=done),
        callbacks=[record, *_callbacks(out, config), *callbacks],
        use_distributed_sampler=False,
        enable_model_summary=False,
        enable_progress_bar=_interactive(),
        log_every_n_steps=min(10, config.epoch_steps, config.steps),
    )
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, loader, ckpt_path=out / CHECKPOINT if done else None, weights_only=True)
    except SystemExit as stop:
        if not trainer.interrupted:
            raise
        signal.signal(signal.SIGINT, on_interrupt)
        raise KeyboardInterrupt from stop  # Lightning makes exit(1) of it
    return min(config.steps, epochs_done(out) * config.epoch_steps)


def claim_run(out: Path, *, resume: bool) -> None:
    """See that a run may write into ``out``; of several processes the first one looks.

    Raises:
        OutputError: if it holds anything already and ``resume`` is off.
    """
    if resume or rank_zero_only.rank > 0:
        return
    if (out / CHECKPOINT).exists():
        raise OutputError(out, "holds a training run already", "add --resume to go on, or name a new folder")
    claim_output(out)


def pick_device(device: Device) -> Literal["cpu", "cuda"]:
    """Return the device to use.

    Raises:
        ConfigError: if CUDA is asked for and not there.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda", "there is no usable CUDA device", "use --device cpu or auto")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def channels_last(module: torch.nn.Module, *, spatial_dims: Collection[int] = (2, 3)) -> None:
    """Lay out convolution weights, and so images, channel by channel.

    The tensor cores of a GPU read them so; on a CPU 3D U-Nets train faster, too, 2D networks do not.

    Args:
        module: whose weights.
        spatial_dims: of the convolutions to change.
    """
    layouts = {2: torch.channels_last, 3: torch.channels_last_3d}
    for weights in module.parameters():
        if weights.dim() - 2 in spatial_dims:
            weights.data = weights.data.to(memory_format=layouts[weights.dim() - 2])


def _strategy(devices: int) -> Strategy | str:
    """Return how several processes work together.

    They are spawned, train, and end; the caller goes on alone with the trained module. Each keeps its own buffers:
    the pool of one is not the pool of another (a resumed run gives all of them the pool of the first).
    """
    if devices == 1:
        return "auto"
    return DDPStrategy(start_method="spawn", find_unused_parameters=True, broadcast_buffers=False)


def _precision(precision: Precision, accelerator: str) -> Literal["32-true", "bf16-mixed"]:
    if precision != "auto":
        return precision
    return "bf16-mixed" if accelerator == "cuda" else "32-true"


def _callbacks(out: Path, config: TrainingConfig) -> list[Callback]:
    path = out / CHECKPOINT
    callbacks: list[Callback] = [
        ModelCheckpoint(path.parent, filename=path.stem, save_top_k=1, enable_version_counter=False)
    ]
    if config.time_budget is not None:
        callbacks.append(Timer(timedelta(seconds=config.time_budget), interval="epoch"))
    if _interactive():
        callbacks.append(RichProgressBar())
    else:
        steps = None if config.time_budget is not None else config.steps
        callbacks.append(
            PlainProgress(out.name, steps=steps, epoch_steps=config.epoch_steps, accumulate=config.accumulate)
        )
    return callbacks


def _loggers(out: Path, config: TrainingConfig, *, epochs: int) -> list[Logger]:
    loggers: list[Logger] = [ContinuingCSVLogger(out, epochs=epochs)]
    if config.tensorboard:
        from lightning.pytorch.loggers import TensorBoardLogger

        loggers.append(TensorBoardLogger(out, name="tensorboard", version=""))
    return loggers


def _interactive() -> bool:
    """Whether a bar may be drawn: on a terminal, by a process that has it to itself."""
    return sys.stderr.isatty() and "CI" not in os.environ and multiprocessing.parent_process() is None


def _world() -> tuple[int, int]:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
