"""``pseudo_healthy``: splits an image into a healthy image and a lesion map, and puts them together again.

Xia, Chartsias and Tsaftaris 2019 (arXiv 1901.07295), section 3. Generator G removes the lesion, segmentor S finds it,
reconstructor R draws it again. With x_p, x_h a pathological and a healthy image, m_h the empty mask:

    cycle P-H:    x̃_h = G(x_p),  m̃_p = S(x_p),  x̂_p = R(x̃_h, m̃_p)
    cycle H-H:    x̃ = R(x_h, m_h),  m̂_h = S(x̃),  x̂_h = G(x̃)

    L_CC   = |x̂_p − x_p|₁ + |x̂_h − x_h|₁ + |m̂_h − m_h|₁
    L_GAN1 = ½ (D_x(x̃_h) − 1)² + ½ (D_x(x̃) − 1)²               for G and R
             ½ (D_x(x_h) − 1)² + ½ D_x(fake)², for both fakes   for D_x
    L_Seg  = Dice loss between m̃_p and the mask of the image    paired
    L_GAN2 = L_GAN1 for m̃_p, D_m and masks of other subjects    unpaired

    paired:   10 L_CC + 1 L_GAN1 + 10 L_Seg;      unpaired: 10 L_CC + 2 L_GAN1 + 10 L_GAN2
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from monai.losses import DiceLoss
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from lesionforge.cohort.scan import FloatArray
from lesionforge.config import Options
from lesionforge.healers.base import Healed, Healer
from lesionforge.healers.drawing_healer import DrawingHealer
from lesionforge.healers.healing_config import HealingConfig
from lesionforge.healers.healing_items import Pairing
from lesionforge.losses.game import AdversarialGame
from lesionforge.networks.segmentation.segmentor import CHANNELS, ResidualSegmentor
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.training.adversarial_step import AdversarialModule, Batch, Logs
from lesionforge.training.loop import TrainingConfig
from lesionforge.training.model_folder import ModelInfo
from lesionforge.training.rng import torch_seed


class Weights(Options):
    """Weights of the loss terms of ``pseudo_healthy``.

    Attributes:
        pathological: weight of the L1 loss of the reconstructed pathological image in cycle P-H.
        healthy: weight of the L1 loss of the reconstructed healthy image in cycle H-H.
        empty: weight of the lesion map found in the output of R in cycle H-H, which should be empty (L1).
        adversarial_ph: weight of the adversarial loss of healed images (cycle P-H).
        adversarial_hh: weight of the adversarial loss of healthy images redrawn by R (cycle H-H).
        mask: weight of L_Seg or L_GAN2.
    """

    pathological: float = Field(default=10.0, ge=0)
    healthy: float = Field(default=10.0, ge=0)
    empty: float = Field(default=10.0, ge=0)
    adversarial_ph: float = Field(ge=0)
    adversarial_hh: float = Field(ge=0)
    mask: float = Field(default=10.0, ge=0)


PAPER = {
    "paired": Weights(adversarial_ph=1, adversarial_hh=1),
    "unpaired": Weights(adversarial_ph=2, adversarial_hh=2),
}
RELEASED_CODE = {
    "paired": Weights(pathological=20, adversarial_ph=2, adversarial_hh=1),
    "unpaired": Weights(pathological=20, adversarial_ph=2, adversarial_hh=1, mask=1),
}


class PseudoHealthyConfig(HealingConfig):
    """Options of ``pseudo_healthy``, in addition to those of :class:`HealingConfig`.

    Attributes:
        mode: ``paired`` trains S on the mask of each image; ``unpaired`` trains S without it, against a critic that
            sees masks of other subjects.
        segmentor_channels: widths of S, finest resolution first, times ``width``.
        segmentor_dropout: dropout probability after every convolution of S.
        weights: weights of the loss terms; by default those of the paper for ``mode``, or with ``wgan`` those of the
            authors' later code.
    """

    mode: Literal["paired", "unpaired"] = "paired"
    segmentor_channels: tuple[int, ...] = Field(default=CHANNELS, min_length=2)
    segmentor_dropout: float = Field(default=0.0, ge=0, lt=1)
    weights: Weights = PAPER["paired"]

    @classmethod
    def defaults(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the defaults; the weights depend on ``mode`` and ``adversarial``."""
        published = RELEASED_CODE if given.get("adversarial") == "wgan" else PAPER
        unpaired = given.get("mode") == "unpaired"
        return super().defaults(given) | {"weights": published["unpaired" if unpaired else "paired"]}

    @property
    def divisor(self) -> int:
        """Each side of the networks' input must be a multiple of this number."""
        return max(super().divisor, int(2 ** (len(self.segmentor_channels) - 1)))

    def segmentor(self, in_channels: int, out_channels: int) -> nn.Module:
        """Return the segmentor S."""
        return ResidualSegmentor(
            spatial_dims=self.spatial_dims,
            in_channels=in_channels,
            out_channels=out_channels,
            channels=self.segmentor_channels,
            width=self.width,
            dropout=self.segmentor_dropout,
        )


class PseudoHealthyModule(AdversarialModule):
    """The training step of ``pseudo_healthy``.

    Args:
        config: the method's options.
        generators: the networks ``generator``, ``reconstructor`` and ``segmentor`` (G, R and S of the paper).
        channels: number of image channels.
        classes: number of lesion classes, one mask channel each.
        seed: seed of all randomness.
        accumulate: batches per optimiser step.
    """

    generator: Any
    critic: Any

    def __init__(
        self,
        config: PseudoHealthyConfig,
        generators: nn.ModuleDict,
        *,
        channels: int,
        classes: int,
        seed: int,
        accumulate: int = 1,
    ) -> None:
        with torch_seed(seed, "critics"):
            critics = nn.ModuleDict({"image": config.critic(channels)})
            if config.mode == "unpaired":
                critics["mask"] = config.critic(classes)
        super().__init__(generators, critics, config=config.optimiser, seed=seed, accumulate=accumulate)
        self.game = AdversarialGame(config.adversarial, lambda_gp=config.lambda_gp)
        self.dice = DiceLoss(smooth_nr=0.1, smooth_dr=0.1)
        self.mode, self.weights = config.mode, config.weights
        self.channels, self.classes = channels, classes

    def generator_loss(self, batch: Batch) -> tuple[Tensor, Tensor, Logs]:
        """Return the weighted sum of the cycle losses, adversarial losses, and L_Seg or L_GAN2."""
        pathological, healthy = batch["pathological"], batch["healthy"]
        healed, found = self.generator["generator"](pathological), self.generator["segmentor"](pathological)
        drawn = self.generator["reconstructor"](torch.cat([healed, found], 1))

        empty = healthy.new_zeros(len(healthy), self.classes, *healthy.shape[2:])
        kept = self.generator["reconstructor"](torch.cat([healthy, empty], 1))
        found_in_healthy, again = self.generator["segmentor"](kept), self.generator["generator"](kept)

        terms = {
            "pathological": l1_loss(drawn, pathological),
            "healthy": l1_loss(again, healthy),
            "empty": found_in_healthy.float().abs().mean(),
            "adversarial_ph": self.game.generator_loss(self.critic["image"], healed),
            "adversarial_hh": self.game.generator_loss(self.critic["image"], kept),
            "mask": self._mask_loss(found, batch["mask"]),
        }
        loss = torch.stack([getattr(self.weights, name) * term for name, term in terms.items()]).sum()
        return loss, torch.cat([healed, kept, found], 1).detach(), terms

    def critic_loss(self, batch: Batch, fakes: Tensor) -> tuple[Tensor, Logs]:
        """Return the loss of D_x on the fakes of both cycles, plus that of D_m if unpaired.

        The loss of D_x is the sum over both cycles, computed as twice the mean.
        """
        healed, kept, found = fakes.split([self.channels, self.channels, self.classes], 1)
        both = torch.cat([healed, kept])
        losses = {"d_image": 2 * self.game.critic_loss(self.critic["image"], batch["healthy"], both)[0]}
        if self.mode == "unpaired":
            losses["d_mask"], _ = self.game.critic_loss(self.critic["mask"], batch["mask"], found)
        return torch.stack(list(losses.values())).sum(), losses

    def _mask_loss(self, found: Tensor, mask: Tensor) -> Tensor:
        if self.mode == "unpaired":
            return self.game.generator_loss(self.critic["mask"], found)
        return torch.as_tensor(self.dice(found.float(), mask))


class PseudoHealthy(DrawingHealer):
    """Trained networks that remove a lesion, find it and draw it."""

    method = "pseudo_healthy"
    Config: ClassVar[type[PseudoHealthyConfig]] = PseudoHealthyConfig
    drawer = "reconstructor"
    finds_lesions = True
    reconstructs = True
    shows_cycles = True
    losses_shown: ClassVar[Mapping[str, str]] = {
        **Healer.losses_shown,
        "pathological image after the cycle (L1)": "pathological",
        "lesion found in healthy images": "empty",
        "lesion map: L_Seg or L_GAN2": "mask",
    }

    @staticmethod
    def pairing(options: Any) -> Pairing:
        """Return which masks training uses: ``paired`` or ``unpaired``, see :meth:`Healer.pairing`."""
        mode: Pairing = options.mode
        return mode

    @classmethod
    def generators(cls, info: ModelInfo) -> nn.ModuleDict:
        """Return the untrained networks G, R and S."""
        config = cls.Config.model_validate(info.config)
        channels, classes = len(info.preprocessing.channels), len(info.classes)
        return nn.ModuleDict(
            {
                "generator": config.generator(channels, channels),
                "reconstructor": config.generator(channels + classes, channels),
                "segmentor": config.segmentor(channels, classes),
            }
        )

    @classmethod
    def module(cls, info: ModelInfo, training: TrainingConfig) -> AdversarialModule:
        """Return the Lightning module: the networks with their training step."""
        with torch_seed(training.seed, "weights"):
            generators = cls.generators(info)
        return PseudoHealthyModule(
            cls.Config.model_validate(info.config),
            generators,
            channels=len(info.preprocessing.channels),
            classes=len(info.classes),
            seed=training.seed,
            accumulate=training.accumulate,
        )

    def heal(self, sample: Sample) -> Healed:
        """Return the sample without its lesion, the lesion map and the reconstruction (cycle P-H)."""
        image = self.as_unit(sample.image)
        healed, found = self.apply("generator", image), self.apply("segmentor", image)
        drawn = self.apply("reconstructor", np.concatenate([healed, found]))
        return Healed(image=self.from_unit(healed), pathology=found, reconstruction=self.from_unit(drawn))

    def cycles(self, sample: Sample) -> dict[str, dict[str, FloatArray]]:
        """Return the images within cycles P-H and H-H; the latter takes the sample as healthy."""
        image = self.as_unit(sample.image)
        healed, found = self.apply("generator", image), self.apply("segmentor", image)
        drawn = self.apply("reconstructor", np.concatenate([healed, found]))
        kept = self.apply("reconstructor", np.concatenate([image, np.zeros_like(found)]))
        found_in_healthy, again = self.apply("segmentor", kept), self.apply("generator", kept)
        return {
            "pathological": {"x_p": image, "G(x_p)": healed, "S(x_p)": found, "R(G(x_p), S(x_p))": drawn},
            "healthy": {"x_h": image, "R(x_h, 0)": kept, "S(R(x_h, 0))": found_in_healthy, "G(R(x_h, 0))": again},
        }
