"""``lesion_diffusion``: a diffusion model draws a lesion into a hole of the scan.

DDPM in the space of voxels (Ho et al. 2020), on the crops and with the condition of ``pix2pix`` ``inpaint``: the scan
with the lesion and a margin erased, the hole, the lesion's classes and its wanted intensity. One training step:

    t ~ U{1/1000, …, 1},   ε ~ N(0, 1),   min  mean over the hole of (x_0 − D(x_t, c, t))²

with x_t the noisy crop and D the network, which predicts the image itself. As in LeFusion (Zhang et al. 2025), the loss
is taken in the hole alone, divided by its size, so a small lesion counts as much as a large one, and in drawing the
known surroundings are noised in at every step. Drawing takes some twenty steps of DDIM, see
:mod:`~lesionforge.synthesizers.diffusion.ddim`; everything beyond the hole stays bit for bit.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from lesionforge.config import check_sides
from lesionforge.networks.generators.denoiser import TIMES, Denoiser
from lesionforge.synthesizers.diffusion.ddim import noised, sample_in_hole
from lesionforge.synthesizers.translation.conditions import Condition
from lesionforge.synthesizers.translation.crop_config import CropConfig
from lesionforge.synthesizers.translation.translator import Translator
from lesionforge.training.averaging import AveragingModule
from lesionforge.training.loop import TrainingConfig
from lesionforge.training.loss_module import LossModule
from lesionforge.training.rng import torch_seed

Batch = dict[str, Tensor]


class LesionDiffusionConfig(CropConfig):
    """Options of ``lesion_diffusion``, in addition to those of :class:`CropConfig`.

    Attributes:
        condition: always ``inpaint``.
        roi_size: size in voxels of training crops, multiples of 2 to the power of the number of ``channels``. ``None``
            takes the fingerprint's crop size.
        channels: widths of the network, finest resolution first; the finest is half that of the scan.
        blocks: residual blocks of the network at each resolution.
        sampling_steps: steps that draw a lesion.
        learning_rate: learning rate of Adam.
        clip_norm: upper bound on the norm of the gradient, or ``None`` for no bound.
        ema_decay: decay of the moving average of the weights, which are kept; after n steps it is at most
            (1 + n) / (10 + n). 0 keeps the weights of the last step.
    """

    condition: Literal["inpaint"] = "inpaint"
    channels: tuple[int, ...] = Field(default=(32, 64, 128), min_length=2)
    blocks: int = Field(default=1, ge=1)
    sampling_steps: int = Field(default=20, ge=1)
    learning_rate: float = Field(default=2e-4, gt=0)
    clip_norm: float | None = Field(default=1.0, gt=0)
    ema_decay: float = Field(default=0.995, ge=0, lt=1)

    @property
    def divisors(self) -> tuple[int, ...]:
        """Numbers that the sides of the network's input must be multiples of, along each axis."""
        return (2 ** len(self.channels),) * self.spatial_dims

    def noise(self, image_channels: int) -> int:
        """Return the channels of noise in the condition: those of the image, for ε."""
        return image_channels

    @model_validator(mode="after")
    def _roi_fits(self) -> Self:
        if self.roi_size is not None:
            check_sides(self.roi_size, divisors=self.divisors, least=self.smallest)
        return self

    def generator(self, in_channels: int, out_channels: int) -> nn.Module:
        """Return the network with its way of drawing."""
        denoiser = Denoiser(
            spatial_dims=self.spatial_dims,
            in_channels=in_channels,
            out_channels=out_channels,
            channels=self.channels,
            blocks=self.blocks,
        )
        return LesionDrawer(denoiser, image_channels=out_channels, steps=self.sampling_steps)


class LesionDrawer(nn.Module):
    """Draws the hole of a condition, from the noise in its last channels.

    Args:
        denoiser: predicts images.
        image_channels: channels of the scan.
        steps: number of steps.
    """

    def __init__(self, denoiser: Denoiser, *, image_channels: int, steps: int) -> None:
        super().__init__()
        self.denoiser, self.image_channels, self.steps = denoiser, image_channels, steps

    def forward(self, condition: Tensor) -> Tensor:
        """Return ``(batch, channel, x, y[, z])`` images; beyond the hole they are the condition's."""
        told, noise = self.parts(condition)
        known, hole = told[:, : self.image_channels], told[:, self.image_channels : self.image_channels + 1] > 0
        return sample_in_hole(partial(self.predicted, told), known, hole, noise, steps=self.steps)

    def predicted(self, told: Tensor, shown: Tensor, time: Tensor) -> Tensor:
        """Return the image that the network predicts from a noisy one."""
        image: Tensor = self.denoiser(shown, told, time)
        return image

    def parts(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the network is told, and the noise."""
        end = condition.shape[1] - self.image_channels
        return condition[:, :end], condition[:, end:]


class LesionDiffusionModule(LossModule, AveragingModule):
    """The training step of the diffusion model."""

    generator: LesionDrawer

    def __init__(self, config: LesionDiffusionConfig, condition: Condition, *, seed: int) -> None:
        with torch_seed(seed, "weights"):
            drawer = config.generator(condition.in_channels, condition.image_channels)
        super().__init__(drawer, ema_decay=config.ema_decay)
        self.config, self.seed = config, seed

    def loss_of(self, batch: Batch) -> Tensor:
        """Return the mean squared error in the hole, of each item and then of the batch, at random times."""
        image, hole = batch["image"], batch["hole"]
        told, noise = self.generator.parts(batch["condition"])
        time = torch.randint(1, TIMES + 1, (len(image),), device=image.device) / TIMES
        predicted = self.generator.predicted(told, noised(image, noise, time), time)
        error = (predicted - image).square() * hole
        size = (hole.flatten(1).sum(1) * image.shape[1]).clamp(min=1)
        return (error.flatten(1).sum(1) / size).mean()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip the norm of the gradient."""
        if self.config.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.generator.parameters(), self.config.clip_norm)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.generator.parameters(), lr=self.config.learning_rate)


class LesionDiffusion(Translator):
    """A trained diffusion model."""

    method = "lesion_diffusion"
    Config: ClassVar[type[LesionDiffusionConfig]] = LesionDiffusionConfig

    @staticmethod
    def module(config: Any, condition: Condition, training: TrainingConfig) -> AveragingModule:
        """Return the Lightning module: the network with its training step."""
        return LesionDiffusionModule(config, condition, seed=training.seed)
