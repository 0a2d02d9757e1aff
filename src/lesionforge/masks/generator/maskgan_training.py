"""Training of the mask generator: its items, its step, and the check for degenerate masks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Literal, Self

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from matplotlib.figure import Figure
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.functional import one_hot
from torch.utils.data import Dataset

from lesionforge.cohort.scan import LabelArray
from lesionforge.config import MethodConfig
from lesionforge.losses.game import AdversarialGame
from lesionforge.networks.generators.mask_gan import MaskCritic, MaskGenerator
from lesionforge.seeding import generator
from lesionforge.training.adversarial_step import AdversarialConfig, AdversarialModule, Batch, Logs
from lesionforge.training.rng import torch_seed


class MaskGANConfig(MethodConfig):
    """Options of the mask generator; the defaults are for two CPU cores.

    Attributes:
        size: voxels of a mask along x, y, z; they cover the brain of the MNI152 template.
        latent: length of the latent vector.
        channels: widths of the generator's steps; with n widths the first grid is doubled n times.
        start: size of the first grid; by default the smallest that suffices.
        head_kernel: width of the generator's last convolution; 7, as in the paper, takes most of the time.
        width: factor on all widths of both networks.
        lambda_gp: weight of the gradient penalty.
        mirror: mirror every other training mask between left and right.
        held_out: share of the subjects whose masks are held out and compared with drawn masks.
        min_voxels: least number of voxels of a drawn mask, on this grid, that must lie where lesions may be.
        optimiser: see :class:`AdversarialConfig`.
    """

    size: tuple[int, int, int] = (40, 48, 32)
    latent: int = Field(default=128, ge=1)
    channels: tuple[int, ...] = (128, 64, 32)
    start: tuple[int, int, int] | None = None
    head_kernel: Literal[3, 5, 7] = 3
    width: float = Field(default=0.5, gt=0)
    lambda_gp: float = Field(default=10.0, ge=0)
    mirror: bool = True
    held_out: float = Field(default=0.15, gt=0, lt=1)
    min_voxels: int = Field(default=20, ge=1)
    optimiser: AdversarialConfig = AdversarialConfig(learning_rate=1e-4, beta1=0.0, beta2=0.9, pool_size=0, n_critic=5)

    @model_validator(mode="after")
    def _no_pool(self) -> Self:
        if self.optimiser.pool_size:
            raise ValueError("optimiser.pool_size is not 0, but a critic under wgan judges only new fakes")
        return self


def make_generator(config: MaskGANConfig, classes: int) -> MaskGenerator:
    """Return a generator with a channel for the background and one for each class."""
    return MaskGenerator(
        spatial_dims=3,
        size=config.size,
        out_channels=1 + classes,
        latent=config.latent,
        channels=config.channels,
        start=config.start,
        head_kernel=config.head_kernel,
        width=config.width,
    )


class MaskGANModule(AdversarialModule):
    """The training step of the mask generator."""

    def __init__(self, config: MaskGANConfig, classes: int, *, seed: int, accumulate: int = 1) -> None:
        with torch_seed(seed, "weights"):
            drawer = make_generator(config, classes)
            critic = MaskCritic(spatial_dims=3, size=config.size, in_channels=1 + classes, width=config.width)
        super().__init__(drawer, critic, config=config.optimiser, seed=seed, accumulate=accumulate)
        self.latent, self.game = config.latent, AdversarialGame("wgan", lambda_gp=config.lambda_gp)

    def generator_loss(self, batch: Batch) -> tuple[Tensor, Tensor, Logs]:
        """The critic's mean answer to drawn masks, negated."""
        real = batch["mask"]
        fake = self.generator(torch.randn(len(real), self.latent, device=real.device)).softmax(1)
        return self.game.generator_loss(self.critic, fake), fake.detach(), {}

    def critic_loss(self, batch: Batch, fakes: Tensor) -> tuple[Tensor, Logs]:
        """The difference of the critic's answers plus the gradient penalty."""
        return self.game.critic_loss(self.critic, batch["mask"], fakes)


class MaskItems(Dataset[dict[str, Tensor]]):
    """``items[draw]`` is a random training mask, ``(background and classes, x, y, z)`` of 0 and 1.

    Args:
        masks: ``(n, x, y, z)`` classes, numbered from 1.
        classes: number of classes.
        mirror: flip every other mask along x.
        seed: an item depends only on the seed and the draw number.
    """

    def __init__(self, masks: LabelArray, classes: int, *, mirror: bool, seed: int) -> None:
        self.masks, self.classes, self.mirror, self.seed = masks, classes, mirror, seed

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, draw: int) -> dict[str, Tensor]:
        rng = generator(self.seed, "mask", draw)
        mask = self.masks[int(rng.integers(len(self.masks)))]
        if self.mirror and rng.random() < 0.5:
            mask = mask[::-1]
        channels = one_hot(torch.from_numpy(mask.astype(np.int64)), 1 + self.classes)
        return {"mask": channels.movedim(-1, 0).float()}


def degeneracies(masks: LabelArray, brain_voxels: float) -> dict[str, float]:
    """Return the shares of masks that are empty, full (over half of the brain) and alike (Dice over 0.95 to another).

    Args:
        masks: ``(n, x, y, z)``.
        brain_voxels: number of voxels of a brain.
    """
    flat = (masks > 0).reshape(len(masks), -1)
    volumes = flat.sum(1)
    overlap = flat.astype(np.float32) @ flat.T.astype(np.float32)
    dice = 2 * overlap / np.maximum(volumes[:, None] + volumes, 1)
    np.fill_diagonal(dice, 0)
    return {
        "empty": float(np.mean(volumes == 0)),
        "full": float(np.mean(volumes > brain_voxels / 2)),
        "alike": float(np.mean(dice.max(0) > 0.95)),
    }


class Watch(Callback):
    """Checks for degenerate masks at the end of every epoch; logs the shares and reports each kind once.

    Args:
        draw: returns ``(n, x, y, z)`` masks.
        brain_voxels: see :func:`degeneracies`.
        tolerated: share above which a kind is reported.
    """

    def __init__(self, draw: Callable[[], LabelArray], brain_voxels: float, *, tolerated: float = 0.5) -> None:
        self.draw, self.brain_voxels, self.tolerated = draw, brain_voxels, tolerated
        self.reported: set[str] = set()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Look, log and report."""
        shares = degeneracies(self.draw(), self.brain_voxels)
        pl_module.log_dict({f"masks/{kind}": share for kind, share in shares.items()})
        bad = {kind for kind, share in shares.items() if share > self.tolerated}
        if trainer.is_global_zero:
            for kind in sorted(bad - self.reported):
                told = f"{shares[kind]:.0%} of the drawn masks are {kind}"
                print(f"epoch {trainer.current_epoch}: {told}; see previews/", file=sys.stderr, flush=True)
        self.reported = bad


def picture(drawn: LabelArray, real: LabelArray) -> Figure:
    """Return a figure of masks, drawn above real ones, each as the amount of lesion along z."""
    columns = min(8, len(drawn), len(real))
    figure = Figure(figsize=(1.3 * columns, 3.4), layout="constrained")
    for row, (name, masks) in enumerate({"drawn": drawn, "real": real}.items()):
        for column in range(columns):
            axes = figure.add_subplot(2, columns, row * columns + column + 1)
            axes.imshow((masks[column] > 0).sum(2).T, cmap="magma", origin="lower", vmin=0)
            axes.set_axis_off()
            if column == 0:
                axes.set_title(name, fontsize=9, loc="left")
    return figure
