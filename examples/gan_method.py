"""A small GAN in one file, in the order of a paper: the networks, one training step, the method.

Least-squares GAN (Mao et al. 2017, arXiv 1611.04076) with an L1 term (Isola et al. 2017, arXiv 1611.07004). The
generator is shown the scan with the lesion erased, and the mask. Crops, drawing, saving and loading are those of
``pix2pix``. Run it with ``python examples/gan_method.py``.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal

import torch
from monai.networks.blocks import Convolution
from pydantic import Field
from torch import Tensor, nn

from lesionforge import MaskBank, TrainingConfig, synthesize_cohort
from lesionforge.synthesizers.registry import load_model
from lesionforge.synthesizers.translation.conditions import Condition
from lesionforge.synthesizers.translation.pix2pix import Pix2Pix
from lesionforge.synthesizers.translation.pix2pix_config import Pix2PixConfig
from lesionforge.testing import check_synthesizer, tiny_cohort
from lesionforge.training.adversarial_step import AdversarialModule, Batch, Logs
from lesionforge.training.rng import torch_seed


class TinyGANConfig(Pix2PixConfig):
    """Options of ``tiny_gan``: those of ``pix2pix`` with ``inpaint``, and these.

    Attributes:
        hidden: channels of the hidden layers of both networks.
    """

    condition: Literal["inpaint"] = "inpaint"
    channels: tuple[int, ...] = (8, 8)
    hidden: int = Field(default=16, ge=1)

    def generator(self, in_channels: int, out_channels: int) -> nn.Module:
        """Return the generator: two convolutions, for images of any size."""
        first = Convolution(self.spatial_dims, in_channels, self.hidden, norm=None)
        return nn.Sequential(first, Convolution(self.spatial_dims, self.hidden, out_channels, conv_only=True))

    def critic(self, in_channels: int) -> nn.Module:
        """Return the critic: one number for each patch."""
        first = Convolution(self.spatial_dims, in_channels, self.hidden, strides=2, norm=None)
        return nn.Sequential(first, Convolution(self.spatial_dims, self.hidden, 1, strides=2, conv_only=True))


class TinyGANModule(AdversarialModule):
    """One training step: the generator against the critic, then the critic."""

    def __init__(self, config: TinyGANConfig, condition: Condition, *, seed: int, accumulate: int) -> None:
        shown, drawn = condition.in_channels, condition.image_channels
        with torch_seed(seed, "weights"):
            networks = config.generator(shown, drawn), config.critic(shown + drawn)
        super().__init__(*networks, config=config.optimiser, seed=seed, accumulate=accumulate)
        self.lambda_l1 = config.lambda_l1

    def generator_loss(self, batch: Batch) -> tuple[Tensor, Tensor, Logs]:
        """Return ½ (D(c, G) − 1)² + λ |y − G| (Mao, equation 9; Isola, equation 4)."""
        fake = torch.where(batch["hole"], self.generator(batch["condition"]), batch["image"])
        pair = torch.cat([batch["condition"], fake], 1)
        adversarial, l1 = (self.critic(pair) - 1).square().mean() / 2, (fake - batch["image"]).abs().mean()
        return adversarial + self.lambda_l1 * l1, pair.detach(), {"adversarial": adversarial, "l1": l1}

    def critic_loss(self, batch: Batch, fakes: Tensor) -> tuple[Tensor, Logs]:
        """Return ½ (D(c, y) − 1)² + ½ D(c, G)² (Mao, equation 9)."""
        real, fake = self.critic(torch.cat([batch["condition"], batch["image"]], 1)), self.critic(fakes)
        return ((real - 1).square().mean() + fake.square().mean()) / 2, {}


class TinyGAN(Pix2Pix):
    """A trained generator of the small GAN."""

    method = "tiny_gan"
    Config: ClassVar[type[Pix2PixConfig]] = TinyGANConfig

    @staticmethod
    def module(config: Any, condition: Condition, training: TrainingConfig) -> AdversarialModule:
        """Return the networks with their training step."""
        return TinyGANModule(config, condition, seed=training.seed, accumulate=training.accumulate)


def main() -> None:
    """Train it on simulated slices for some steps, draw four cases, and check that it keeps the rules."""
    with TemporaryDirectory() as folder:
        cohort, model = tiny_cohort(Path(folder, "cohort"), spatial_dims=2), Path(folder, "model")
        training = TrainingConfig(steps=20, epoch_steps=10, device="cpu")
        TinyGAN.fit(cohort, channels=cohort.channels, config={"hidden": 8}, training=training, out=model)
        loaded = load_model(model, {TinyGAN.method: TinyGAN})
        drawn = synthesize_cohort(
            loaded, cohort, MaskBank(cohort), out=Path(folder, "drawn"), n=4, min_volume=20
        ).cohort
        print(f"{len(drawn)} cases were drawn into the scans of {len(cohort.subjects)} subjects")
    check_synthesizer(TinyGAN, spatial_dims=(2,), workers=1)  # in a test suite, leave both out: 3D and processes, too
    print("tiny_gan keeps the rules")


if __name__ == "__main__":
    main()
