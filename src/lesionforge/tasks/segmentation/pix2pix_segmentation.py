"""``pix2pix_segmentation``: pix2pix from a scan to its label map, whose critic judges pairs of scan and label map.

Isola et al. 2017 (arXiv 1611.07004), used as a segmenter by Shin et al. 2018 (arXiv 1807.10225). One training step,
with x the scan, y its label map (one channel for each class, 0 or 1) and G(x) the probabilities of the classes:

    generator:  min  A(D(x, G(x)), real) + λ · |y − G(x)|₁
    critic:     min  ½ A(D(x, y), real) + ½ A(D(x, G(x)), fake)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from monai.networks.utils import one_hot
from pydantic import Field
from torch import Tensor, nn

from lesionforge.losses.adversarial import ADVERSARIAL_LOSSES
from lesionforge.networks.critic import CHANNELS, PatchGAN, smallest_input
from lesionforge.networks.generators.lcgan import CRITIC_CHANNELS, LcganGenerator
from lesionforge.networks.generators.unet_generator import UNetGenerator
from lesionforge.tasks.segmentation.segmentation_config import SegmentationConfig
from lesionforge.tasks.segmentation.segmentation_task import SegmentationTask
from lesionforge.training.adversarial_step import AdversarialConfig, AdversarialModule, Batch, Logs
from lesionforge.training.loop import TrainingConfig
from lesionforge.training.model_folder import ModelInfo
from lesionforge.training.rng import torch_seed


class Pix2PixSegmentationConfig(SegmentationConfig):
    """Options of ``pix2pix_segmentation``, in addition to those of ``segmentation``.

    Attributes:
        network: ``unet`` (that of the stroke system) or ``lcgan`` (that of Isola et al. and, in 3D, of the public code
            for tumours; with batch norm).
        filters: width after each step down of the generator.
        width: factor on the widths of the critic.
        learning_rate: learning rate of both networks, which stays the same.
        adversarial: ``log`` (cross-entropy), ``lsgan`` or ``hinge``.
        lambda_l1: weight of the L1 loss.
        beta1: first-moment decay of Adam.
        num_layers_d: number of hidden convolutions of the critic; 4, 3 and 2 give patches of 70, 34 and 16 voxels.
    """

    network: Literal["unet", "lcgan"] = "unet"  # type: ignore[assignment]
    filters: tuple[int, ...] = Field(default=(16, 32, 64, 128, 128), min_length=2)
    learning_rate: float = Field(default=2e-4, gt=0)
    adversarial: Literal["log", "lsgan", "hinge"] = "log"
    lambda_l1: float = Field(default=100.0, ge=0)
    beta1: float = Field(default=0.5, ge=0, lt=1)
    num_layers_d: Literal[2, 3, 4] = 4

    @property
    def steps_down(self) -> int:
        """Number of steps from one resolution to the next."""
        return len(self.filters)

    @property
    def least_side(self) -> int:
        """Smallest side of a training item, in voxels."""
        return smallest_input()


class Pix2PixSegmentationModule(AdversarialModule):
    """The training step of ``pix2pix_segmentation``."""

    def __init__(
        self,
        network: nn.Module,
        critic: nn.Module,
        config: Pix2PixSegmentationConfig,
        *,
        seed: int,
        accumulate: int = 1,
    ) -> None:
        rates = AdversarialConfig(learning_rate=config.learning_rate, beta1=config.beta1, ema_decay=0.0, pool_size=0)
        super().__init__(network, critic, config=rates, seed=seed, accumulate=accumulate)
        self.adversarial = ADVERSARIAL_LOSSES[config.adversarial]
        self.lambda_l1 = config.lambda_l1

    def generator_loss(self, batch: Batch) -> tuple[Tensor, Tensor, Logs]:
        """Return the adversarial loss plus λ times the L1 loss of the class probabilities."""
        logits = self.generator(batch["image"])
        found = torch.softmax(logits, 1)
        pair = torch.cat([batch["image"], found], 1)
        adversarial = self.adversarial.generator(self.critic(pair))
        l1 = (found - one_hot(batch["label"], logits.shape[1])).abs().mean()
        return adversarial + self.lambda_l1 * l1, pair.detach(), {"adversarial": adversarial, "l1": l1}

    def critic_loss(self, batch: Batch, fakes: Tensor) -> tuple[Tensor, Logs]:
        """Return the adversarial loss on the pairs of scan and real or predicted label map."""
        classes = fakes.shape[1] - batch["image"].shape[1]
        real = self.critic(torch.cat([batch["image"], one_hot(batch["label"], classes)], 1))
        fake = self.critic(fakes)
        return self.adversarial.critic_loss(real, fake), {"d_real": real.mean(), "d_fake": fake.mean()}


@dataclass(frozen=True, kw_only=True)
class Pix2PixSegmentation(SegmentationTask):
    """A generator of pix2pix as a segmentation network; predictions and scores are those of ``segmentation``."""

    method: ClassVar[str] = "pix2pix_segmentation"
    Config: ClassVar[type[SegmentationConfig]] = Pix2PixSegmentationConfig
    fixed: ClassVar[tuple[str, ...]] = ("spatial_dims", "network", "filters", "strides", "normalise")

    @classmethod
    def make_network(cls, config: Any, info: ModelInfo) -> nn.Module:
        """Return the generator; it outputs the logits of every class, background first."""
        sizes: dict[str, Any] = {
            "spatial_dims": config.spatial_dims,
            "in_channels": len(info.preprocessing.channels),
            "out_channels": len(info.classes) + 1,
            "channels": config.filters,
            "strides": config.strides,
            "dropout": config.dropout,
            "activation": "none",
        }
        return LcganGenerator(**sizes) if config.network == "lcgan" else UNetGenerator(**sizes)

    @classmethod
    def module(
        cls, network: nn.Module, config: Any, info: ModelInfo, training: TrainingConfig
    ) -> Pix2PixSegmentationModule:
        """Return the Lightning module: the generator and a critic of scan and label map, with their training step."""
        lcgan = config.network == "lcgan"
        with torch_seed(training.seed, "critic"):
            critic = PatchGAN(
                spatial_dims=config.spatial_dims,
                in_channels=len(info.preprocessing.channels) + len(info.classes) + 1,
                channels=(CRITIC_CHANNELS if lcgan else CHANNELS)[: config.num_layers_d],
                strides=(*[2] * (config.num_layers_d - 1), 1),
                width=config.width,
                norm="batch" if lcgan else "instance",
            )
        return Pix2PixSegmentationModule(network, critic, config, seed=training.seed, accumulate=training.accumulate)

    @classmethod
    def describe(cls, config: Any) -> str:
        """Return the type of the network and its widths."""
        return f"{config.spatial_dims}D pix2pix ({config.network}), widths {', '.join(map(str, config.filters))}"
