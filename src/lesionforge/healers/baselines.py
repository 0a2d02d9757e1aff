"""``healing_gan`` and ``healing_cyclegan``: the baselines of ``pseudo_healthy``, with the same networks.

Xia et al. 2019 (arXiv 1901.07295), section 4.1. The conditional GAN is a generator and a critic of healthy images; only
its input image ties the output to the subject. CycleGAN (Zhu et al. 2017, arXiv 1703.10593) translates pathological
images into healthy ones and healthy into pathological ones, and penalises what is lost on the way back. To know where
the lesion was, it must hide the position in the healthy image or invent one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from lesionforge.healers.base import Healed, Healer
from lesionforge.healers.healing_config import HealingConfig
from lesionforge.losses.cycle import both_ways
from lesionforge.losses.game import AdversarialGame
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.training.adversarial_step import AdversarialModule, Batch, Logs
from lesionforge.training.loop import TrainingConfig
from lesionforge.training.model_folder import ModelInfo
from lesionforge.training.rng import torch_seed


class HealingCycleGANConfig(HealingConfig):
    """Options of ``healing_cyclegan``, in addition to those of :class:`HealingConfig`.

    Attributes:
        lambda_cycle: weight of the cycle loss, which is summed over both directions.
    """

    lambda_cycle: float = Field(default=10.0, ge=0)


class HealingGANModule(AdversarialModule):
    """The training step of the conditional GAN."""

    generator: Any
    critic: Any

    def __init__(
        self, config: HealingConfig, generators: nn.ModuleDict, *, channels: int, seed: int, accumulate: int = 1
    ) -> None:
        with torch_seed(seed, "critics"):
            critics = nn.ModuleDict({name: config.critic(channels) for name in generators})
        super().__init__(generators, critics, config=config.optimiser, seed=seed, accumulate=accumulate)
        self.game = AdversarialGame(config.adversarial, lambda_gp=config.lambda_gp)

    def generator_loss(self, batch: Batch) -> tuple[Tensor, Tensor, Logs]:
        """Return the adversarial loss of healed images, and these images."""
        healed = self.generator["healthy"](batch["pathological"])
        return self.game.generator_loss(self.critic["healthy"], healed), healed.detach(), {}

    def critic_loss(self, batch: Batch, fakes: Tensor) -> tuple[Tensor, Logs]:
        """Return the sum of the critic losses; each critic judges real and fake images of its domain."""
        losses = {
            f"d_{name}": self.game.critic_loss(critic, batch[name], fake)[0]
            for (name, critic), fake in zip(self.critic.items(), fakes.chunk(len(self.critic), 1), strict=True)
        }
        return torch.stack(list(losses.values())).sum(), losses


class HealingCycleGANModule(HealingGANModule):
    """The training step of CycleGAN; networks are named after the domain that they draw or judge."""

    def __init__(self, config: HealingCycleGANConfig, generators: nn.ModuleDict, **options: Any) -> None:
        super().__init__(config, generators, **options)
        self.lambda_cycle = config.lambda_cycle

    def generator_loss(self, batch: Batch) -> tuple[Tensor, Tensor, Logs]:
        """Return the adversarial losses of both generators plus λ times the cycle loss."""
        to_healthy, to_pathological = self.generator["healthy"], self.generator["pathological"]
        ways = both_ways(to_healthy, to_pathological, batch["pathological"], batch["healthy"], norm=l1_loss)
        fakes = {"healthy": ways.second, "pathological": ways.first}
        answers = [self.game.generator_loss(self.critic[name], fake) for name, fake in fakes.items()]
        adversarial = torch.stack(answers).sum()
        logs = {"adversarial": adversarial, "cycle": ways.cycle}
        return adversarial + self.lambda_cycle * ways.cycle, torch.cat(list(fakes.values()), 1).detach(), logs


class HealingGAN(Healer):
    """A trained generator of healthy images."""

    method = "healing_gan"
    Module: ClassVar[type[HealingGANModule]] = HealingGANModule
    domains: ClassVar[tuple[str, ...]] = ("healthy",)

    @classmethod
    def generators(cls, info: ModelInfo) -> nn.ModuleDict:
        """Return one untrained generator per domain."""
        config, channels = cls.Config.model_validate(info.config), len(info.preprocessing.channels)
        return nn.ModuleDict({name: config.generator(channels, channels) for name in cls.domains})

    @classmethod
    def judged_channels(cls, info: ModelInfo) -> int:
        """Return the number of channels that a critic sees: those of the images."""
        return len(info.preprocessing.channels)

    @classmethod
    def module(cls, info: ModelInfo, training: TrainingConfig) -> AdversarialModule:
        """Return the Lightning module: the networks with their training step."""
        with torch_seed(training.seed, "weights"):
            generators = cls.generators(info)
        return cls.Module(
            cls.Config.model_validate(info.config),
            generators,
            channels=cls.judged_channels(info),
            seed=training.seed,
            accumulate=training.accumulate,
        )

    def heal(self, sample: Sample) -> Healed:
        """Return the sample without its lesion."""
        return Healed(image=self.from_unit(self.apply("healthy", self.as_unit(sample.image))))


class HealingCycleGAN(HealingGAN):
    """The two trained generators, of healthy and of pathological images."""

    method = "healing_cyclegan"
    Config: ClassVar[type[HealingConfig]] = HealingCycleGANConfig
    Module: ClassVar[type[HealingGANModule]] = HealingCycleGANModule
    domains = ("healthy", "pathological")
    reconstructs = True
    losses_shown: ClassVar[Mapping[str, str]] = {
        **Healer.losses_shown,
        "both images after the cycle (L1)": "cycle",
    }

    def heal(self, sample: Sample) -> Healed:
        """Return the sample without its lesion, and a reconstruction with a lesion drawn back in."""
        healed = self.apply("healthy", self.as_unit(sample.image))
        drawn = self.apply("pathological", healed)
        return Healed(image=self.from_unit(healed), reconstruction=self.from_unit(drawn))
