"""What every method of pseudo-healthy synthesis is: it removes the lesion and keeps the subject."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor, nn

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.inspection.fingerprint import Fingerprint
from lesionforge.cohort.scan import FloatArray, LabelArray
from lesionforge.errors import CohortError
from lesionforge.healers.healing_config import HealingConfig
from lesionforge.healers.healing_items import HealingItems, Pairing, from_unit, to_unit
from lesionforge.preprocessing.pipeline import Preprocessing, Sample
from lesionforge.training.adversarial_step import AdversarialModule
from lesionforge.training.fitted_model import TrainedModel
from lesionforge.training.fitting import Recipe, TrainingData, given_or_fitted
from lesionforge.training.inference import in_windows
from lesionforge.training.loop import TrainingConfig
from lesionforge.training.model_folder import ModelInfo
from lesionforge.training.preview import montage


@dataclass(frozen=True, kw_only=True)
class Healed:
    """What became of a sample.

    Attributes:
        image: ``(channel, x, y[, z])`` without lesion, in the model's range.
        pathology: ``(class, x, y[, z])`` probability of a lesion, or ``None`` of a method that does not say.
        reconstruction: ``(channel, x, y[, z])`` with the lesion drawn again, or ``None`` of a method without.
    """

    image: FloatArray
    pathology: FloatArray | None = None
    reconstruction: FloatArray | None = None

    def label(self, classes: Sequence[int]) -> LabelArray | None:
        """Return ``(x, y[, z])`` the likeliest class wherever one has a probability of one half or more."""
        if self.pathology is None:
            return None
        likeliest = np.asarray(classes, np.int16)[self.pathology.argmax(0)]
        return np.where(self.pathology.max(0) >= 0.5, likeliest, 0).astype(np.int16)


class Healer(TrainedModel):
    """Removes lesions.

    Attributes:
        finds_lesions: whether it says where the lesion is.
        reconstructs: whether it can draw again what it removed.
        shows_cycles: whether :meth:`cycles` shows how it takes an image apart.
        losses_shown: title of a panel with learning curves → the loss in ``metrics.csv``.
        networks: its trained networks by name.
    """

    Config: ClassVar[type[HealingConfig]] = HealingConfig
    finds_lesions: ClassVar[bool] = False
    reconstructs: ClassVar[bool] = False
    shows_cycles: ClassVar[bool] = False
    losses_shown: ClassVar[Mapping[str, str]] = {"generator loss": "loss_g", "critic loss": "loss_d"}

    def __init__(self, info: ModelInfo, networks: nn.Module) -> None:
        super().__init__(info)
        self.config = self.Config.model_validate(info.config)
        self.networks: Any = networks.eval().requires_grad_(False)

    @classmethod
    def training_cases(cls, cohort: Cohort, channels: tuple[str, ...], options: Any) -> Cohort:
        """Return the cases that are known to have a lesion or to have none."""
        return healing_cohort(cohort, channels)

    @classmethod
    def prepare(cls, facts: Fingerprint, options: Any, given: Preprocessing | None) -> Preprocessing:
        """Return the preprocessing, at the spacing that the options ask for."""
        fitted = {"spacing": options.spacing, "intensity": options.intensity}
        return given_or_fitted(given, facts, spatial_dims=options.spatial_dims, **fitted)

    @classmethod
    def recipe(cls, data: TrainingData, info: ModelInfo, training: TrainingConfig) -> Recipe:
        """Train on pathological and healthy images, of volumes on slices at the same levels.

        Raises:
            CohortError: if nothing is pathological or nothing healthy, or if masks are missing.
        """
        options = cls.Config.model_validate(info.config)
        items = cls.items(data.samples, info, seed=training.seed, name=data.cases.name)
        sliced = options.spatial_dims == 2 and data.samples[0].image.ndim == 4
        levels = items.match_levels(options.level_bins) if options.level_bins and sliced else None
        module = cls.module(info, training)
        return Recipe(
            module=module,
            items=items,
            picture=partial(cls.picture, info, module, items),
            notes={} if levels is None else {"levels.json": levels},
        )

    @classmethod
    def items(cls, samples: Sequence[Sample], info: ModelInfo, *, seed: int, name: str) -> HealingItems:
        """Return the training items."""
        options = cls.Config.model_validate(info.config)
        assert options.roi_size is not None
        return HealingItems(
            samples,
            spatial_dims=options.spatial_dims,
            roi_size=options.roi_size,
            output=info.preprocessing.output,
            classes=info.classes,
            pairing=cls.pairing(options),
            augment=options.augment,
            fraction=options.fraction,
            seed=seed,
            name=name,
        )

    @staticmethod
    def pairing(options: Any) -> Pairing:
        """Return which masks are trained on: each image's own, those of others, or none."""
        return "none"

    @classmethod
    @abstractmethod
    def generators(cls, info: ModelInfo) -> nn.ModuleDict:
        """Return the networks that are kept, untrained."""

    @classmethod
    @abstractmethod
    def module(cls, info: ModelInfo, training: TrainingConfig) -> AdversarialModule:
        """Return the networks with their training step."""

    @abstractmethod
    def heal(self, sample: Sample) -> Healed:
        """Return a sample without its lesion; one without lesion comes back nearly unchanged.

        Args:
            sample: in this model's space; its label is not read.
        """

    def cycles(self, sample: Sample) -> dict[str, dict[str, FloatArray]]:
        """Return the images within the method's cycles: cycle → title → ``(channel, x, y[, z])``, 0 to 1.

        Args:
            sample: in this model's space.
        """
        return {}

    def apply(self, name: str, inputs: FloatArray) -> FloatArray:
        """Return what a network makes of a whole sample.

        Args:
            name: of the network.
            inputs: ``(channel, x, y[, z])``, 0 to 1; a 2D network takes the slices of a volume one by one.
        """
        assert self.config.roi_size is not None
        network, sliced = self.networks[name], inputs.ndim - 1 > self.config.spatial_dims
        batch = np.moveaxis(inputs, -1, 0) if sliced else inputs[None]
        made = in_windows(network, batch, roi_size=self.config.roi_size)
        return np.ascontiguousarray(np.moveaxis(made, 0, -1)) if sliced else made[0]

    def as_unit(self, image: FloatArray) -> FloatArray:
        """Return an image of the model's range as 0 to 1."""
        return to_unit(image, self.info.preprocessing.output)

    def from_unit(self, image: FloatArray) -> FloatArray:
        """Return an image of 0 to 1 in the model's range."""
        return from_unit(image, self.info.preprocessing.output)

    def sample_of(self, image: FloatArray) -> Sample:
        """Return a sample that shows ``(channel, x, y[, z])`` intensities of 0 to 1, and nothing else is known of."""
        spacing = (1.0,) * (image.ndim - 1)
        nothing: dict[str, Any] = {"label": None, "anatomy": None, "region": None, "case_id": "", "subject_id": ""}
        return Sample(image=self.from_unit(image), spacing=spacing, **nothing)

    def to(self, device: str) -> Self:
        """Move the networks."""
        self.networks.to(device)
        return self

    def tensors(self) -> dict[str, Tensor]:
        """The weights of all networks that are kept."""
        return dict(self.networks.state_dict())

    @classmethod
    def from_tensors(cls, info: ModelInfo, tensors: dict[str, Tensor]) -> Self:
        """Make the networks and fill in their weights."""
        networks = cls.generators(info)
        networks.load_state_dict(tensors)
        return cls(info, networks)

    @classmethod
    def picture(cls, info: ModelInfo, module: AdversarialModule, items: HealingItems) -> Figure:
        """Return a figure of four training items: pathological, healed, map, reconstruction."""
        model, rows = cls(info, module.averaged.module).to(str(module.device)), []
        for draw in range(4):
            image = items[draw]["pathological"].numpy()
            healed = model.heal(model.sample_of(image))
            row = {"pathological": image, "healed": model.as_unit(healed.image)}
            if healed.pathology is not None:
                row["map"] = healed.pathology.max(0, keepdims=True)
            if healed.reconstruction is not None:
                row["reconstruction"] = model.as_unit(healed.reconstruction)
            place: tuple[Any, ...] = (0, ...) if image.ndim == 3 else (0, ..., image.shape[-1] // 2)
            rows.append({name: shown[place] for name, shown in row.items()})
        return montage(rows)


def healing_cohort(cohort: Cohort, channels: tuple[str, ...]) -> Cohort:
    """Return the cases that a healer is trained on: known to have a lesion, though perhaps no mask, or to have none.

    Raises:
        CohortError: if there is none.
    """
    cases = cohort.having(channels).diagnosed()
    if not len(cases):
        what = f"has no annotated case with the channels {', '.join(channels)}"
        raise CohortError(cohort.name, what, "annotate some as with a lesion and some as lesion-free")
    return cases
