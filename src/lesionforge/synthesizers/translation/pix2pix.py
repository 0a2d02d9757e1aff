"""``pix2pix``: a generator that draws an image from a condition, trained against a PatchGAN critic.

Isola et al. 2017 (arXiv 1611.07004); networks of Platscher et al. 2020 (arXiv 2010.02745). One training step:

    generator:  min  A(D(c, G(c)), real) + λ · |y − G(c)|₁          (Isola, equation 4)
    critic:     min  ½ A(D(c, y), real) + ½ A(D(c, G(c)), fake)     (Isola, equation 1)

with A least squares (Mao et al. 2017), cross-entropy or hinge, c the condition and y the real image. If only part of
the image is drawn (``inpaint``), both losses are restricted to that part. Channels that a scan lacks enter neither:
real and fake pairs show the same background there.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d, adaptive_max_pool3d

from lesionforge.cohort.inspection.fingerprint import Fingerprint
from lesionforge.losses.adversarial import ADVERSARIAL_LOSSES
from lesionforge.synthesizers.translation.conditions import Condition
from lesionforge.synthesizers.translation.pix2pix_config import Pix2PixConfig
from lesionforge.synthesizers.translation.translator import Translator
from lesionforge.training.adversarial_step import AdversarialModule, Batch, Logs
from lesionforge.training.loop import TrainingConfig
from lesionforge.training.rng import torch_seed


class Pix2PixModule(AdversarialModule):
    """The training step of pix2pix."""

    def __init__(self, config: Pix2PixConfig, condition: Condition, *, seed: int, accumulate: int = 1) -> None:
        with torch_seed(seed, "weights"):
            generator = config.generator(condition.in_channels, condition.image_channels)
            critic = config.critic(condition.critic_channels + condition.image_channels)
        super().__init__(generator, critic, config=config.optimiser, seed=seed, accumulate=accumulate)
        self.adversarial = ADVERSARIAL_LOSSES[config.adversarial]
        self.lambda_l1, self.condition = config.lambda_l1, condition

    def generator_loss(self, batch: Batch) -> tuple[Tensor, Tensor, Logs]:
        """Return the adversarial loss plus λ times the L1 loss over the part that is drawn."""
        drawn = batch["hole"]
        fake = torch.where(drawn, self.generator(batch["condition"]), batch["image"])
        pair = torch.cat([self._shown(batch), fake], 1)
        adversarial = self.adversarial.generator(self._judge(pair))
        l1 = (fake - batch["image"]).abs().sum() / drawn.expand_as(fake).sum().clamp(min=1)
        return adversarial + self.lambda_l1 * l1, pair.detach(), {"adversarial": adversarial, "l1": l1}

    def critic_loss(self, batch: Batch, fakes: Tensor) -> tuple[Tensor, Logs]:
        """Return the adversarial loss on real and (pooled) fake pairs of condition and image."""
        real = self._judge(torch.cat([self._shown(batch), batch["image"]], 1))
        fake = self._judge(fakes)
        loss = self.adversarial.critic_loss(real, fake)
        return loss, {"d_real": real.mean(), "d_fake": fake.mean()}

    def _judge(self, pair: Tensor) -> Tensor:
        """Return the logits of the patches with drawn voxels; other patches are equal in real and fake pairs."""
        logits: Tensor = self.critic(pair)
        if self.condition.name != "inpaint":
            return logits
        hole = pair[:, self.condition.image_channels : self.condition.image_channels + 1]
        pool = adaptive_max_pool2d if logits.dim() == 4 else adaptive_max_pool3d
        return logits[pool(hole, logits.shape[2:]) > 0]

    def critic_scores(self, batch: Batch) -> Tensor:
        """Return the critic's mean logit for each real image of a batch; higher is more real."""
        pairs = torch.cat([self._shown(batch), batch["image"]], 1)
        return torch.stack([self._judge(pair[None]).mean() for pair in pairs])

    def _shown(self, batch: Batch) -> Tensor:
        condition = batch["condition"]
        return condition[:, : condition.shape[1] - self.condition.noise_channels]


class Pix2Pix(Translator):
    """A trained pix2pix generator."""

    method = "pix2pix"
    masks_missing = True
    Config: ClassVar[type[Pix2PixConfig]] = Pix2PixConfig

    @staticmethod
    def module(config: Any, condition: Condition, training: TrainingConfig) -> AdversarialModule:
        """Return the Lightning module: the networks with their training step."""
        return Pix2PixModule(config, condition, seed=training.seed, accumulate=training.accumulate)

    @classmethod
    def batch_size(cls, facts: Fingerprint, options: Any) -> int:
        """Return the fingerprint's batch size; 1 for ``lcgan``.

        With a batch size of 1, its batch norm uses the statistics of a single image in training, as it does in
        inference.
        """
        return 1 if options.network == "lcgan" else super().batch_size(facts, options)
