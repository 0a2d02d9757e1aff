"""The training loop for synthesizers, mask generators and tasks.

A run is a sequence of optimiser steps. Each step uses ``batch_size`` training items per batch. Items are numbered from
0 over the whole run, and a dataset makes an item from its number alone. So a run that is killed and resumed sees the
same items as an uninterrupted run.
"""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy, Strategy
from lightning.pytorch.utilities import rank_zero_only
from pydantic import Field
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler

from lesionforge.config import Options
from lesionforge.errors import ConfigError, OutputError
from lesionforge.files import (
    PARTIAL,
    claim_output,
    clear,
    clear_leftovers,
    contents,
    one_at_a_time,
    was_unfinished,
)
from lesionforge.progress import interactive
from lesionforge.training.callbacks.checkpoint import (
    CHECKPOINT,
    AtomicCheckpoints,
    Checkpoints,
    RunRecord,
    check_fits,
    epochs_done,
)
from lesionforge.training.callbacks.finite import StopAtNonFinite
from lesionforge.training.callbacks.log import ContinuingCSVLogger
from lesionforge.training.callbacks.step_bar import PlainProgress, ProgressBar, TimeBudget
from lesionforge.training.items.loading import OwnErrors, RaiseOwnErrors, collate
from lesionforge.training.model_folder import CANDIDATES, CRITIC, ModelInfo

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "32-true", "bf16-mixed"]
TIMING = "timing.json"
OF_A_RUN = {
    *("metrics.csv", "previews", CANDIDATES, CHECKPOINT.parts[0], "tensorboard", TIMING),
    *("model.safetensors", CRITIC, "model_card.md", "levels.json"),
}
"""Files and folders that a run may leave behind without a checkpoint or a ``model.json``, which is written last."""


class TrainingConfig(Options):
    """Length, batch size and hardware of a training run.

    Attributes:
        steps: number of optimiser steps (of the generator, if there are two networks).
        batch_size: items per batch and device; ``None`` takes it from the fingerprint.
        accumulate: number of batches whose gradients are averaged for one step.
        epoch_steps: optimiser steps per epoch. Checkpoints and previews are written at the end of an epoch; epochs have
            no other meaning here.
        seed: seed of all randomness in the run.
        device: ``"auto"`` uses CUDA if it is available.
        devices: number of processes for distributed training; each uses its own batches of ``batch_size`` items.
        precision: ``"auto"`` is ``"bf16-mixed"`` on CUDA and ``"32-true"`` on a CPU. On a CPU, ``"bf16-mixed"`` is
            refused for networks with strided 3D convolutions, or transposed ones whose outputs overlap (kernel 3 or 4,
            stride 2).
        workers: number of loader processes, which does not affect results; ``None`` uses up to 8 spare CPU cores on
            CUDA, and 0 on a CPU.
        time_budget: seconds of training, or ``None``; the run ends at the last epoch that fits.
        preview_minutes: minimum minutes between two preview pictures; ``None`` saves none.
        checkpoint_minutes: minimum minutes between two checkpoints; one is also written at the end of the run.
        tensorboard: also write TensorBoard events (needs the extra ``tensorboard``).
    """

    steps: int = Field(default=2000, ge=1)
    batch_size: int | None = Field(default=None, ge=1)
    accumulate: int = Field(default=1, ge=1)
    epoch_steps: int = Field(default=50, ge=1)
    seed: int = 0
    device: Device = "auto"
    devices: int = Field(default=1, ge=1)
    precision: Precision = "auto"
    workers: int | None = Field(default=None, ge=0)
    time_budget: float | None = Field(default=None, gt=0)
    preview_minutes: Annotated[float, Field(ge=0)] | None = 2.0
    checkpoint_minutes: float = Field(default=5.0, ge=0)
    tensorboard: bool = False

    @property
    def items(self) -> int:
        """Number of training items of the run, if a step takes ``accumulate`` batches."""
        assert self.batch_size is not None
        return self.steps * self.batch_size * self.accumulate * self.devices

    def or_batch_size(self, batch_size: int) -> Self:
        """Return this configuration with ``batch_size`` set, unless it already is."""
        return self if self.batch_size is not None else self.model_copy(update={"batch_size": batch_size})

    def or_device(self, device: Device) -> Self:
        """Return this configuration with ``device`` set, unless it names one."""
        return self if self.device != "auto" else self.model_copy(update={"device": device})


class DrawSampler(Sampler[int]):
    """Sampler that yields item numbers in order, continuing from epoch to epoch; each rank takes its share.

    Args:
        config: configuration of the run.
        batches: batches per step; ``accumulate`` unless given.
        epoch: number of the first epoch; loader processes need it before Lightning sets it.
    """

    def __init__(self, config: TrainingConfig, *, batches: int | None = None, epoch: int = 0) -> None:
        assert config.batch_size is not None
        self.config, self.epoch = config, epoch
        self.per_step = config.batch_size * (batches or config.accumulate)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; Lightning calls this at the start of each epoch."""
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


@one_at_a_time
def fit(
    module: lightning.LightningModule,
    dataset: Dataset[Any],
    *,
    out: Path,
    config: TrainingConfig,
    info: ModelInfo | None = None,
    resume: bool = False,
    callbacks: tuple[Callback, ...] = (),
) -> int:
    """Train ``module`` on ``dataset`` and return the number of steps made; a time budget may end the run early.

    Writes ``metrics.csv`` and, every few minutes and at the end, ``checkpoints/last.ckpt`` into ``out``.

    Args:
        module: the module to train. It holds the weights of the last step afterwards, in the same memory layout as a
            loaded model, so both give identical output.
        dataset: map-style; ``dataset[draw]`` must depend only on the item number ``draw``.
        out: the run's folder.
        config: number of steps, batch size (required here) and device.
        info: what the weights depend on in addition to ``config``; a run can be resumed only with the same info.
        resume: continue from the checkpoint in ``out``, if any.
        callbacks: further Lightning callbacks, such as previews.

    Raises:
        ConfigError: if the run to resume was started on other cases or with other options.
        OutputError: if ``out`` is not empty and ``resume`` is off, or another process trains there.
        TrainingError: if a loss or a weight is no longer finite.
        KeyboardInterrupt: if the user interrupts the run; the message says how to continue.
    """
    claim_run(out, resume=resume)
    done, batches = epochs_done(out), batches_per_step(module, config)
    shared = config.model_dump(include={"batch_size", "accumulate", "epoch_steps", "seed", "devices", "precision"})
    record = RunRecord({**shared, "n_critic": batches // config.accumulate}, info)
    check_fits(out, module, record)
    loader = _loader(dataset, config, batches=batches, done=done)
    channels_last(module, spatial_dims=(2, 3) if pick_device(config.device) == "cuda" else (3,))
    all_callbacks = [record, RaiseOwnErrors(), *_callbacks(out, config, batches), *callbacks]
    trainer = _trainer(module, config, out, done=done, callbacks=all_callbacks)
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, loader, ckpt_path=out / CHECKPOINT if done else None, weights_only=True)
    except SystemExit as stop:
        if not trainer.interrupted:
            raise
        signal.signal(signal.SIGINT, on_interrupt)
        raise KeyboardInterrupt(_way_on(out, config)) from stop  # Lightning turns it into exit(1)
    module.to(memory_format=torch.contiguous_format)
    return min(config.steps, epochs_done(out) * config.epoch_steps)


def _epochs(config: TrainingConfig) -> int:
    return math.ceil(config.steps / config.epoch_steps)


def _loader(dataset: Dataset[Any], config: TrainingConfig, *, batches: int, done: int) -> DataLoader[Any]:
    """Return the loader of a run's items, which begins after the epochs that are done."""
    accelerator = pick_device(config.device)
    workers = loader_workers(config, accelerator)
    return DataLoader(
        OwnErrors(dataset),
        batch_size=config.batch_size,
        sampler=DrawSampler(config, batches=batches, epoch=min(done, _epochs(config) - 1)),
        num_workers=workers,
        collate_fn=collate,
        persistent_workers=workers > 0,
        pin_memory=accelerator == "cuda",
    )


def _trainer(
    module: lightning.LightningModule,
    config: TrainingConfig,
    out: Path,
    *,
    done: int,
    callbacks: list[Callback],
) -> lightning.Trainer:
    """Return Lightning's trainer of a run, of which so many epochs are ``done``."""
    accelerator, batches = pick_device(config.device), batches_per_step(module, config)
    counted = 1 if module.automatic_optimization else batches
    return lightning.Trainer(
        accelerator=accelerator,
        devices=config.devices,
        strategy=_strategy(config.devices),
        precision=_precision(config.precision, accelerator, module),
        max_epochs=_epochs(config),
        accumulate_grad_batches=config.accumulate if module.automatic_optimization else 1,
        logger=_loggers(out, config, epochs=done, batches=counted),
        callbacks=callbacks,
        plugins=[AtomicCheckpoints()],
        use_distributed_sampler=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        log_every_n_steps=min(10, config.epoch_steps, config.steps) * counted,
    )


def batches_per_step(module: lightning.LightningModule, config: TrainingConfig) -> int:
    """Return the number of batches per step: the module's ``batches_per_step`` if it has one, else ``accumulate``."""
    return int(getattr(module, "batches_per_step", config.accumulate))


def claim_run(out: Path, *, resume: bool) -> None:
    """Check that a run may write into ``out``; with several processes only the first one checks.

    A run that died before its first checkpoint, for example because the disk was full, starts again from the beginning.

    Raises:
        OutputError: if ``out`` holds a run and ``resume`` is off, or anything else.
    """
    if rank_zero_only.rank > 0:
        return
    begun = (out / CHECKPOINT).exists() or (out / "model.json").exists()
    if begun and not resume:
        raise OutputError(out, "already holds a training run", "add `resume` to continue it, or name a new folder")
    if begun:
        clear_leftovers(out)
        return
    left = {name for name in contents(out) if not PARTIAL.fullmatch(name)} - {TIMING}
    if left and not (was_unfinished(out) and left <= OF_A_RUN):
        claim_output(out)
    clear(out, contents(out) - {TIMING})


def _way_on(out: Path, config: TrainingConfig) -> str:
    """Return a sentence that says how to continue an interrupted run."""
    if done := epochs_done(out):
        return f"the same command with `resume` continues from the checkpoint at step {done * config.epoch_steps}"
    return "there was no checkpoint yet, so the same command starts from the beginning"


def pick_device(device: Device) -> Literal["cpu", "cuda"]:
    """Return the device to use; ``"auto"`` is CUDA if it is available.

    Raises:
        ConfigError: if CUDA is requested but not available.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("`device=cuda`", "there is no usable CUDA device", "use `device=cpu` or auto")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def loader_workers(config: TrainingConfig, accelerator: str) -> int:
    """Return the number of loader processes per training process."""
    if config.workers is not None:
        return config.workers
    return min(8, ((os.cpu_count() or 1) - 1) // config.devices) if accelerator == "cuda" else 0


def channels_last(module: torch.nn.Module, *, spatial_dims: Collection[int] = (2, 3)) -> None:
    """Store convolution weights in the channels-last memory layout, which images then follow.

    It is faster on the tensor cores of a GPU. On a CPU it speeds up 3D U-Nets but not 2D networks.

    Args:
        module: module whose weights are changed in place.
        spatial_dims: dimensions of the convolutions to change.
    """
    layouts = {2: torch.channels_last, 3: torch.channels_last_3d}
    for weights in module.parameters():
        if weights.dim() - 2 in spatial_dims:
            weights.data = weights.data.to(memory_format=layouts[weights.dim() - 2])


def _strategy(devices: int) -> Strategy | str:
    """Return the strategy for distributed training.

    Processes are spawned, train, and end; the calling process continues with the trained module. Each process keeps its
    own buffers, such as its image pool. A resumed run gives all processes the buffers of the first.
    """
    if devices == 1:
        return "auto"
    return DDPStrategy(start_method="spawn", find_unused_parameters=True, broadcast_buffers=False)


def _precision(precision: Precision, accelerator: str, module: nn.Module) -> Literal["32-true", "bf16-mixed"]:
    """Return the precision to train in.

    Raises:
        ConfigError: if strided 3D convolutions would run in bfloat16 on a CPU. Some CPUs compute wrong results where
            the output of one is one voxel wide (pytorch/pytorch#169688), or the input of a transposed one.
    """
    if precision == "auto":
        return "bf16-mixed" if accelerator == "cuda" else "32-true"
    if precision == "bf16-mixed" and accelerator == "cpu" and any(map(_wrong_in_bfloat16, module.modules())):
        what = "gives wrong results for strided and for overlapping transposed 3D convolutions on some CPUs"
        raise ConfigError("precision=bf16-mixed", what, "use precision=32-true, or a CUDA device")
    return precision


def _wrong_in_bfloat16(layer: nn.Module) -> bool:
    """Return whether a layer is a strided 3D convolution, or a transposed one whose outputs overlap."""
    if isinstance(layer, nn.ConvTranspose3d):
        return any(side > step > 1 for side, step in zip(layer.kernel_size, layer.stride, strict=True))
    return isinstance(layer, nn.Conv3d) and max(layer.stride) > 1


def _callbacks(out: Path, config: TrainingConfig, batches: int) -> list[Callback]:
    callbacks: list[Callback] = [
        StopAtNonFinite(out, epoch_steps=config.epoch_steps, batches=batches),
        Checkpoints(out, minutes=config.checkpoint_minutes),
    ]
    if config.time_budget is not None:
        callbacks.insert(0, TimeBudget(config.time_budget))
    shown = ProgressBar if interactive() else PlainProgress
    steps = None if config.time_budget is not None else config.steps
    callbacks.append(shown(out.name, steps=steps, epoch_steps=config.epoch_steps, batches=batches))
    return callbacks


def _loggers(out: Path, config: TrainingConfig, *, epochs: int, batches: int) -> list[Logger]:
    loggers: list[Logger] = [ContinuingCSVLogger(out, epochs=epochs, batches=batches)]
    if config.tensorboard:
        from lightning.pytorch.loggers import TensorBoardLogger

        try:
            loggers.append(TensorBoardLogger(out, name="tensorboard", version=""))
        except ModuleNotFoundError as error:
            remedy = "install it: pip install 'lesionforge[tensorboard]'; or leave the option out"
            raise ConfigError("training.tensorboard", "needs the package tensorboard", remedy) from error
    return loggers


def _world() -> tuple[int, int]:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
