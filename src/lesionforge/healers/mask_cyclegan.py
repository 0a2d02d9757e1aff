"""``mask_cyclegan``: two generators that are shown a mask, one draws lesions at it and the other removes them.

Faryna et al. 2021 (arXiv 2101.06468). G_HP makes healthy images pathological, G_PH makes pathological images healthy.
With x_h, x_p a healthy and a pathological image, y_p the mask of x_p, y a semi-random mask and 0 the empty mask:

    cycle H-P-H:    x̃_p = G_HP(x_h, y),    x̂_h = G_PH(x̃_p, y)
    cycle P-H-P:    x̃_h = G_PH(x_p, y_p),  x̂_p = G_HP(x̃_h, y_p)

    L_CC  = |x̂_h − x_h|₁ + |x̂_p − x_p|₁
    L_ID  = |G_PH(x_h, 0) − x_h|₁ + |G_HP(x_h, 0) − x_h|₁
    L_AM  = |(1 − y_p) ⊙ (x̃_h − x_p)|₁ / Σ(1 − y_p)
    L_GAN = −D_P(x̃_p) − D_H(x̃_h)                                        for G_HP and G_PH
            D(fake) − D(real) + λ_gp (‖∇D‖₂ − 1)², for D_P and for D_H   for D_P and D_H

    L_GAN + 10 L_CC + 5 L_ID + 10 L_AM

The paper gives no weights, numbers of critic steps or epochs, and no equation of L_AM. It leaves open the second term
of L_ID, see ``identity_php``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from matplotlib.figure import Figure
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.scan import FloatArray, Scan
from lesionforge.errors import CohortError
from lesionforge.healers.base import Healed
from lesionforge.healers.baselines import HealingCycleGAN, HealingCycleGANConfig, HealingGANModule
from lesionforge.healers.drawing_healer import DrawingHealer
from lesionforge.healers.healing_config import HealingConfig
from lesionforge.healers.healing_items import HealingItems, Pairing
from lesionforge.healers.semi_random_masks import SemiRandomItems, with_inner_region
from lesionforge.losses.abnormality_mask import Normalise, abnormality_mask
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.synthesizers.base import training_cohort
from lesionforge.training.adversarial_step import AdversarialConfig, AdversarialModule, Batch, Logs
from lesionforge.training.callbacks.preview import montage
from lesionforge.training.model_folder import ModelInfo

IdentityPHP = Literal["none", "healthy_empty", "pathological_empty"]


class MaskCycleGANConfig(HealingCycleGANConfig):
    """Options of ``mask_cyclegan``, in addition to those of ``healing_cyclegan``.

    Attributes:
        lambda_identity: weight of the identity loss.
        identity_php: what G_HP must return unchanged with an empty mask: ``healthy_empty`` the healthy image,
            ``pathological_empty`` the pathological image with its lesion, ``none`` nothing.
        lambda_abnormality: weight of the abnormality-mask loss.
        abnormality_p: 1 for the absolute change outside the lesion, 2 for its square.
        abnormality_normalise: ``mask`` divides the change by the number of voxels outside the lesion, ``volume`` by
            that of all voxels.
        critic_sees_mask: whether the critics also see a mask: that of the lesion which was drawn or removed, of the
            lesion in a real pathological image, and the semi-random one of a real healthy image. The paper's critics
            see the image alone, and take longer to find lesions of a few voxels.
        max_diameter_mm: greatest diameter of a semi-random lesion in millimetres, between corners of its voxels; 10 in
            the paper; ``None`` takes that of the largest training lesion.
    """

    adversarial: Literal["lsgan", "wgan", "bounded"] = "wgan"
    lambda_identity: float = Field(default=5.0, ge=0)
    identity_php: IdentityPHP = "healthy_empty"
    lambda_abnormality: float = Field(default=10.0, ge=0)
    abnormality_p: Literal[1, 2] = 1
    abnormality_normalise: Normalise = "mask"
    critic_sees_mask: bool = False
    max_diameter_mm: float | None = Field(default=None, gt=0)
    optimiser: AdversarialConfig = AdversarialConfig(learning_rate=1e-4, beta2=0.99, n_critic=5, pool_size=0)

    @property
    def affine(self) -> bool:
        """Always false: the norms of the generators have no parameters."""
        return False

    @property
    def divisor(self) -> int:
        """Always 1: the generators pad sizes that they cannot halve."""
        return 1


class MaskCycleGANModule(HealingGANModule):
    """The training step of ``mask_cyclegan``; networks are named after the domain that they draw or judge."""

    def __init__(self, config: MaskCycleGANConfig, generators: nn.ModuleDict, **options: Any) -> None:
        super().__init__(config, generators, **options)
        self.options = config

    def generator_loss(self, batch: Batch) -> tuple[Tensor, Tensor, Logs]:
        """Return the weighted sum of the adversarial, cycle, identity and abnormality-mask losses."""
        options = self.options
        x_h, x_p, y_p, y = (batch[name] for name in ("healthy", "pathological", "mask", "semi_random"))
        healed, drawn = self._healed_and_drawn(batch)
        back, again = self._draw("healthy", drawn, y), self._draw("pathological", healed, y_p)
        fakes = {"healthy": self._shown(healed, y_p), "pathological": self._shown(drawn, y)}
        answers = [self.game.generator_loss(self.critic[name], fake) for name, fake in fakes.items()]
        terms = {
            "adversarial": torch.stack(answers).sum(),
            "cycle": l1_loss(back, x_h) + l1_loss(again, x_p),
            "identity": self._identity(x_h, x_p, torch.zeros_like(y_p)),
            "abnormality": abnormality_mask(
                healed, x_p, y_p, p=options.abnormality_p, normalise=options.abnormality_normalise
            ),
        }
        weights = (1.0, options.lambda_cycle, options.lambda_identity, options.lambda_abnormality)
        loss = torch.stack([weight * term for weight, term in zip(weights, terms.values(), strict=True)]).sum()
        return loss, torch.cat(list(fakes.values()), 1).detach(), terms

    def fakes(self, batch: Batch) -> Tensor:
        """Return the healed and the drawn images, without the way back."""
        healed, drawn = self._healed_and_drawn(batch)
        return torch.cat([self._shown(healed, batch["mask"]), self._shown(drawn, batch["semi_random"])], 1)

    def critic_loss(self, batch: Batch, fakes: Tensor) -> tuple[Tensor, Logs]:
        """Return the sum of the critic losses; with ``critic_sees_mask``, each image comes with a mask."""
        real = {
            "healthy": self._shown(batch["healthy"], batch["semi_random"]),
            "pathological": self._shown(batch["pathological"], batch["mask"]),
        }
        return super().critic_loss(real, fakes)

    def _shown(self, image: Tensor, mask: Tensor) -> Tensor:
        """Return what a critic sees of an image."""
        return torch.cat([image, mask], 1) if self.options.critic_sees_mask else image

    def _healed_and_drawn(self, batch: Batch) -> tuple[Tensor, Tensor]:
        drawn = self._draw("pathological", batch["healthy"], batch["semi_random"])
        return self._draw("healthy", batch["pathological"], batch["mask"]), drawn

    def _identity(self, healthy: Tensor, pathological: Tensor, empty: Tensor) -> Tensor:
        """Return how much the generators change an image at an empty mask."""
        change = l1_loss(self._draw("healthy", healthy, empty), healthy)
        kept = {"none": None, "healthy_empty": healthy, "pathological_empty": pathological}[self.options.identity_php]
        return change if kept is None else change + l1_loss(self._draw("pathological", kept, empty), kept)

    def _draw(self, name: str, image: Tensor, mask: Tensor) -> Tensor:
        return torch.as_tensor(self.generator[name](torch.cat([image, mask], 1)))


class MaskCycleGAN(DrawingHealer, HealingCycleGAN):
    """The two trained generators: ``pathological`` draws lesions at a mask, ``healthy`` removes those of a mask."""

    method = "mask_cyclegan"
    Config: ClassVar[type[HealingConfig]] = MaskCycleGANConfig
    Module: ClassVar[type[HealingGANModule]] = MaskCycleGANModule
    drawer = "pathological"
    reads_label = True
    seamless = True
    losses_shown: ClassVar[Mapping[str, str]] = {
        **HealingCycleGAN.losses_shown,
        "both images at an empty mask (L1)": "identity",
        "healed image outside the mask (L_AM)": "abnormality",
    }

    @classmethod
    def training_cases(cls, cohort: Cohort, channels: tuple[str, ...], options: Any) -> Cohort:
        """Return the cases with a lesion and its mask, and the lesion-free ones."""
        return training_cohort(cohort, channels, lesion_free=True)

    @classmethod
    def training_scan(cls, scan: Scan, options: Any) -> Scan:
        """Return the scan with the inner part of its brain, in which semi-random lesions may lie."""
        return with_inner_region(scan)

    @staticmethod
    def pairing(options: Any) -> Pairing:
        """Return ``paired``: training shows every pathological image with its own mask."""
        return "paired"

    @classmethod
    def items(cls, samples: Sequence[Sample], info: ModelInfo, *, seed: int, name: str) -> HealingItems:
        """Return the training items, with semi-random masks for the healthy images."""
        limit = info.config["max_diameter_mm"]
        return SemiRandomItems(samples, **cls.item_options(info), max_diameter_mm=limit, seed=seed, name=name)

    @classmethod
    def generators(cls, info: ModelInfo) -> nn.ModuleDict:
        """Return the untrained generators, which take the image and one mask channel per lesion class."""
        config, channels = cls.Config.model_validate(info.config), len(info.preprocessing.channels)
        return nn.ModuleDict({name: config.generator(channels + len(info.classes), channels) for name in cls.domains})

    @classmethod
    def judged_channels(cls, info: ModelInfo) -> int:
        """Return the number of channels that a critic sees: those of the images and, if it sees them, of the masks."""
        masks = len(info.classes) if info.config["critic_sees_mask"] else 0
        return super().judged_channels(info) + masks

    def heal(self, sample: Sample) -> Healed:
        """Return the sample without the lesions of its label, and with the lesions drawn back in (cycle P-H-P).

        A 2D model leaves slices without a lesion unchanged, and a 3D model the windows without one.

        Raises:
            CohortError: if the lesions of the sample are unknown, or one is of a class that the model does not know.
        """
        if sample.label is None:
            what = f"its lesions are unknown, and {self.method} removes only those of a mask"
            raise CohortError(sample.case_id, what, "annotate it, or leave it out")
        unknown = sorted(set(np.unique(sample.label).tolist()) - {0, *self.info.classes})
        if unknown:
            what = f"has a lesion of the class {unknown[0]}, which the model does not know"
            raise CohortError(sample.case_id, what, "use the model's classes, or another model")
        healed = self.drawn("healthy", sample.image, sample.label)
        return Healed(image=healed, reconstruction=self.drawn(self.drawer, healed, sample.label))

    @classmethod
    def picture(cls, info: ModelInfo, module: AdversarialModule, items: HealingItems) -> Figure:
        """Return a figure of four training items: both cycles, each in the slice with the largest part of its mask."""
        model, rows = cls(info, module.averaged.module).to(str(module.device)), []
        for draw in range(4):
            item = {name: tensor.numpy() for name, tensor in items[draw].items()}
            titles = ("pathological", "its mask", "healed", "drawn again")
            row = model._cycle("healthy", item["pathological"], item["mask"], titles)
            titles = ("healthy", "random mask", "drawn", "healed again")
            rows.append(row | model._cycle("pathological", item["healthy"], item["semi_random"], titles))
        return montage(rows)

    def _cycle(self, first: str, image: FloatArray, mask: FloatArray, titles: Sequence[str]) -> dict[str, FloatArray]:
        """Return pictures of an image, its mask, and the image after one and after both generators."""
        (second,) = set(self.domains) - {first}
        there = self.apply(first, np.concatenate([image, mask]))
        back = self.apply(second, np.concatenate([there, mask]))
        shown = (image, mask.max(0, keepdims=True), there, back)
        place: Any = (0, ...) if image.ndim == 3 else (0, ..., int(mask.sum((0, 1, 2)).argmax()))
        return {title: array[place] for title, array in zip(titles, shown, strict=True)}
