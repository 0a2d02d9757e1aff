"""Small training runs for tests, and ways to stop them."""

import csv

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.utils.data import Dataset

from lesionforge.healers.registry import find_trainable
from lesionforge.synthesizers.registry import SYNTHESIZERS
from lesionforge.synthesizers.translation.pix2pix import Pix2Pix
from lesionforge.tasks.segmentation.segmentation_config import SegmentationConfig
from lesionforge.tasks.segmentation.segmentation_task import SegmentationTask
from lesionforge.training import loop
from lesionforge.training.loop import CHECKPOINT, TrainingConfig
from tests.synthesizers.healers import healer_options

SIDE = {2: (24, 24), 3: (24, 24, 24)}


class Stop(Exception):
    """Stands for a killed process."""


class StopAt(Callback):
    """Ends a run as a kill would: after an epoch's checkpoint, or in the middle of an epoch."""

    def __init__(self, *, epoch, batch=None):
        self.epoch, self.batch = epoch, batch

    def on_train_epoch_start(self, trainer, pl_module):
        if self.batch is None and trainer.current_epoch == self.epoch:
            raise Stop

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (self.epoch, self.batch):
            raise Stop


class Numbers(Dataset):
    """Item ``draw`` holds the number of the draw; remembers what was asked for."""

    def __init__(self):
        self.seen = []

    def __len__(self):
        return 3

    def __getitem__(self, draw):
        self.seen.append(draw)
        return {"draw": torch.tensor(float(draw))}


class Recorder(lightning.LightningModule):
    """A weight that is pulled towards the draws; keeps the batches of each epoch."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.batches = []

    def training_step(self, batch, batch_index):
        self.batches.append((self.current_epoch, batch["draw"].long().tolist()))
        loss = (self.weight - batch["draw"]).square().mean()
        self.log("train/loss", loss.detach())
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)


def training(**options):
    """Four epochs of two steps, each of two accumulated batches; a checkpoint after every epoch."""
    defaults = {"steps": 8, "epoch_steps": 2, "batch_size": 2, "accumulate": 2, "device": "cpu"}
    return TrainingConfig(**{**defaults, "preview_minutes": 9, "checkpoint_minutes": 0, **options})


def fit_pix2pix(cohort, out, spatial_dims, *, resume=False, config=None, **options):
    """Train tiny networks with everything that has a state: dropout, EMA, pool, both Adams."""
    optimiser = {"pool_size": 5, "ema_decay": 0.9, "clip_norm": 0.5, "learning_rate": 0.01}
    small = {"spatial_dims": spatial_dims, "roi_size": SIDE[spatial_dims], "channels": (4, 4, 4), "width": 0.5}
    return Pix2Pix.fit(
        cohort,
        channels=cohort.channels,
        config={**small, "dropout": 0.5, "optimiser": optimiser, **(config or {})},
        training=training(**options),
        out=out,
        resume=resume,
    )


def fit_translator(method, channels):
    """Return a function that trains a method on label maps."""

    def fit(cohort, out, spatial_dims, *, resume=False, config=None, **options):
        optimiser = {"pool_size": 3, "ema_decay": 0.9, "learning_rate": 0.01}
        small = {"spatial_dims": spatial_dims, "roi_size": SIDE[spatial_dims], "channels": channels, "width": 0.5}
        return SYNTHESIZERS[method].fit(
            cohort,
            channels=cohort.channels,
            config={**small, "optimiser": optimiser, **(config or {})},
            training=training(**options),
            out=out,
            resume=resume,
        )

    return fit


def fit_healer(method, **chosen):
    """Return a function that trains a method that removes lesions."""

    def fit(cohort, out, spatial_dims, *, resume=False, config=None, **options):
        pool_size = 0 if chosen.get("adversarial") == "wgan" else 3
        optimiser = {"pool_size": pool_size, "ema_decay": 0.9, "learning_rate": 0.01}
        small = healer_options(method, spatial_dims, **chosen)
        return find_trainable(method).fit(
            cohort,
            channels=cohort.channels,
            config={**small, "optimiser": optimiser, **(config or {})},
            training=training(**options),
            out=out,
            resume=resume,
        )

    return fit


def fit_segmentation(cohort, out, spatial_dims, *, resume=False, config=None, mixed=None, **options):
    """Train a tiny U-Net."""
    side = {2: (16, 16), 3: (16, 16, 8)}[spatial_dims]
    options_of_task = {"spatial_dims": spatial_dims, "filters": (4, 8), "res_units": 0, "roi_size": side}
    return SegmentationTask.fit(
        cohort,
        channels=cohort.channels,
        config=SegmentationConfig(**{**options_of_task, **(config or {})}),
        training=training(**options),
        out=out,
        resume=resume,
        **(mixed or {}),
    )


METHODS = {
    "pix2pix": fit_pix2pix,
    "spade": fit_translator("spade", (8, 4, 4)),
    "cyclegan": fit_translator("cyclegan", (4, 4, 4)),
    "paired": fit_healer("pseudo_healthy"),
    "unpaired": fit_healer("pseudo_healthy", mode="unpaired", segmentor_dropout=0.2),
    "healing_cyclegan": fit_healer("healing_cyclegan", adversarial="wgan"),
    "mask_cyclegan": fit_healer("mask_cyclegan", adversarial="wgan"),
    "segmentation": fit_segmentation,
}


EACH_METHOD = [
    pytest.param(name, marks=() if name in ("pix2pix", "segmentation") else pytest.mark.slow) for name in METHODS
]
"""All of them; one adversarial method and segmentation stand for the others where time is short."""


def interrupt(monkeypatch, run, *, epoch, batch=None):
    """Call ``run`` and stop it at a place."""
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_callbacks", with_callback(loop._callbacks, StopAt(epoch=epoch, batch=batch)))
        try:
            run()
        except Stop:
            return
    raise AssertionError("the run was not interrupted")


def with_callback(callbacks, extra):
    """Return a function that gives one callback more than ``callbacks``."""
    return lambda *args: [*callbacks(*args), extra]


def read_checkpoint(out):
    """Return the last checkpoint, read without pickled code."""
    return torch.load(out / CHECKPOINT, weights_only=True)


def read_metrics(out):
    """Return the rows of ``metrics.csv``."""
    with (out / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def same(a, b):
    """Whether two nested states are equal, bit for bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b
