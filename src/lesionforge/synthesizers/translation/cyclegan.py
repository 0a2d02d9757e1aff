"""``cyclegan``: translates label maps into images and images into label maps, trained on unpaired maps and images.

Zhu et al. 2017 (arXiv 1703.10593) as in Platscher et al. 2020 (arXiv 2010.02745), section 2.2.2: two generators and two
critics. With x a label map, y an image of another slice or scan, G: x → y and F: y → x,

    generators:  min  A(D_Y(G(x)), real) + A(D_X(F(y)), real) + λ_cycle (‖F(G(x)) − x‖ + ‖G(F(y)) − y‖)
    critics:     min  ½ A(D_Y(y), real) + ½ A(D_Y(G(x)), fake), and the same for D_X on label maps

The norm is L1 (Zhu, equation 2) or L2. There is no identity loss, because maps and images differ in their channels.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss
from torch.utils.data import Dataset

from lesionforge.losses.adversarial import ADVERSARIAL_LOSSES
from lesionforge.losses.cycle import both_ways
from lesionforge.synthesizers.translation.conditions import Condition
from lesionforge.synthesizers.translation.pix2pix import Pix2Pix
from lesionforge.synthesizers.translation.pix2pix_config import Pix2PixConfig
from lesionforge.synthesizers.translation.training_crops import TrainingCrops
from lesionforge.training.adversarial_step import AdversarialModule, Batch, Logs
from lesionforge.training.loop import TrainingConfig
from lesionforge.training.rng import torch_seed

CYCLE_LOSSES = {"l1": l1_loss, "l2": mse_loss}


class CycleGANConfig(Pix2PixConfig):
    """Options of ``cyclegan``, in addition to those of ``pix2pix`` for label maps.

    Attributes:
        condition: always ``label``.
        lambda_cycle: weight of the cycle loss, which is summed over both directions.
        cycle: norm of the cycle loss, ``l1`` or ``l2``.
    """

    condition: Literal["label"] = "label"
    noise_channels: int = Field(default=0, ge=0)
    lambda_cycle: float = Field(default=10.0, ge=0)
    cycle: Literal["l1", "l2"] = "l1"


class CycleGANModule(AdversarialModule):
    """The training step of CycleGAN.

    Generators and critics are named ``image`` and ``label``, after what they draw or judge.
    """

    generator: Any
    critic: Any

    def __init__(self, config: CycleGANConfig, condition: Condition, *, seed: int, accumulate: int = 1) -> None:
        labels, images = condition.critic_channels, condition.image_channels
        with torch_seed(seed, "weights"):
            generators = nn.ModuleDict(
                {
                    "image": config.generator(condition.in_channels, images),
                    "label": config.generator(images, labels),
                }
            )
            critics = nn.ModuleDict({"image": config.critic(images), "label": config.critic(labels)})
        super().__init__(generators, critics, config=config.optimiser, seed=seed, accumulate=accumulate)
        self.adversarial, self.norm = ADVERSARIAL_LOSSES[config.adversarial], CYCLE_LOSSES[config.cycle]
        self.lambda_cycle, self.labels = config.lambda_cycle, labels

    def generator_loss(self, batch: Batch) -> tuple[Tensor, Tensor, Logs]:
        """Return the adversarial losses of both generators plus λ times the cycle loss."""
        condition, image = batch["condition"], batch["image"]
        label, noise = condition[:, : self.labels], condition[:, self.labels :]
        ways = both_ways(
            lambda labels: self.generator["image"](torch.cat([labels, noise], 1)),
            self._label,
            label,
            image,
            norm=self.norm,
        )
        adversarial = self.adversarial.generator(self.critic["image"](ways.second))
        adversarial = adversarial + self.adversarial.generator(self.critic["label"](ways.first))
        fakes = torch.cat([ways.first, ways.second], 1).detach()
        return adversarial + self.lambda_cycle * ways.cycle, fakes, {"adversarial": adversarial, "cycle": ways.cycle}

    def critic_loss(self, batch: Batch, fakes: Tensor) -> tuple[Tensor, Logs]:
        """Return the sum of the losses of both critics."""
        real = {"label": batch["condition"][:, : self.labels], "image": batch["image"]}
        fake = {"label": fakes[:, : self.labels], "image": fakes[:, self.labels :]}
        losses = {
            f"d_{name}": self.adversarial.critic_loss(critic(real[name]), critic(fake[name]))
            for name, critic in self.critic.items()
        }
        return losses["d_label"] + losses["d_image"], losses

    def critic_scores(self, batch: Batch) -> Tensor:
        """Return the critic's mean logit for each real image of a batch; higher is more real."""
        logits: Tensor = self.critic["image"](batch["image"])
        return logits.flatten(1).mean(1)

    def _label(self, image: Tensor) -> Tensor:
        """Return the label map drawn from an image, rescaled from −1 to 1 to 0 to 1."""
        return (self.generator["label"](image) + 1) / 2

    @property
    def result(self) -> nn.Module:
        """The generator of images: the averaged one, or the last without averaging."""
        generators: Any = super().result
        drawer: nn.Module = generators["image"]
        return drawer


class Unpaired(Dataset[dict[str, Tensor]]):
    """Dataset of label maps, each with an image from another training crop."""

    def __init__(self, crops: TrainingCrops) -> None:
        self.crops = crops

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, draw: int) -> dict[str, Tensor]:
        return {
            "condition": self.crops[2 * draw]["condition"],
            "image": self.crops[2 * draw + 1]["image"],
        }


class CycleGAN(Pix2Pix):
    """The trained generator of images from label maps."""

    method = "cyclegan"
    masks_missing = False
    Config: ClassVar[type[Pix2PixConfig]] = CycleGANConfig

    @staticmethod
    def module(config: Any, condition: Condition, training: TrainingConfig) -> AdversarialModule:
        """Return the Lightning module: the networks with their training step."""
        return CycleGANModule(config, condition, seed=training.seed, accumulate=training.accumulate)

    @staticmethod
    def items(crops: TrainingCrops) -> Dataset[dict[str, Tensor]]:
        """Return the training items: label maps and images from different crops."""
        return Unpaired(crops)
