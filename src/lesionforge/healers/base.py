"""The base class of healers, which remove the lesion from an image and keep the subject (pseudo-healthy synthesis)."""

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
from lesionforge.training.callbacks.preview import montage
from lesionforge.training.fitted_model import TrainedModel
from lesionforge.training.fitting import Recipe, TrainingData, given_or_fitted
from lesionforge.training.inference import in_windows
from lesionforge.training.loop import TrainingConfig
from lesionforge.training.model_folder import ModelInfo


@dataclass(frozen=True, kw_only=True)
class Healed:
    """The result of healing one sample.

    Attributes:
        image: ``(channel, x, y[, z])`` image without lesion, in the model's range.
        pathology: ``(class, x, y[, z])`` lesion probabilities, or ``None`` if the method does not find lesions.
        reconstruction: ``(channel, x, y[, z])`` image with the lesion drawn back in, or ``None`` if the method cannot
            do this.
    """

    image: FloatArray
    pathology: FloatArray | None = None
    reconstruction: FloatArray | None = None

    def label(self, classes: Sequence[int]) -> LabelArray | None:
        """Return the ``(x, y[, z])`` lesion label map, or ``None`` without :attr:`pathology`.

        A voxel gets its likeliest class if the probability of this class is at least one half, otherwise 0.
        """
        if self.pathology is None:
            return None
        likeliest = np.asarray(classes, np.int16)[self.pathology.argmax(0)]
        return np.where(self.pathology.max(0) >= 0.5, likeliest, 0).astype(np.int16)


class Healer(TrainedModel):
    """Base class of methods that remove lesions.

    Attributes:
        finds_lesions: whether the method returns a lesion map.
        reconstructs: whether the method can draw the removed lesion back in.
        shows_cycles: whether :meth:`cycles` returns images.
        reads_label: whether :meth:`heal` reads the label of the sample: the method must be told where the lesions are.
        seamless: whether windows overlap by half and fade linearly, see
            :func:`~lesionforge.training.inference.in_windows`.
        losses_shown: title of a panel with learning curves → name of the loss in ``metrics.csv``.
        networks: trained networks by name.
    """

    Config: ClassVar[type[HealingConfig]] = HealingConfig
    finds_lesions: ClassVar[bool] = False
    reconstructs: ClassVar[bool] = False
    shows_cycles: ClassVar[bool] = False
    reads_label: ClassVar[bool] = False
    seamless: ClassVar[bool] = False
    losses_shown: ClassVar[Mapping[str, str]] = {"generator loss": "loss_g", "critic loss": "loss_d"}

    def __init__(self, info: ModelInfo, networks: nn.Module) -> None:
        super().__init__(info)
        self.config = self.Config.model_validate(info.config)
        self.networks: Any = networks.eval().requires_grad_(False)

    @classmethod
    def training_cases(cls, cohort: Cohort, channels: tuple[str, ...], options: Any) -> Cohort:
        """Return the cases that are known to have a lesion or to be lesion-free."""
        return healing_cohort(cohort, channels)

    @classmethod
    def prepare(cls, facts: Fingerprint, options: Any, given: Preprocessing | None) -> Preprocessing:
        """Return the given preprocessing if it fits, otherwise one fitted at the spacing of the options."""
        fitted = {"spacing": options.spacing, "intensity": options.intensity}
        return given_or_fitted(given, facts, spatial_dims=options.spatial_dims, **fitted)

    @classmethod
    def recipe(cls, data: TrainingData, info: ModelInfo, training: TrainingConfig) -> Recipe:
        """Return the recipe for training on pathological and healthy images.

        A 2D model trains on the slices of volumes; with ``level_bins``, healthy slices are drawn at the levels of
        pathological ones.

        Raises:
            CohortError: if no image is pathological or none is healthy, or if masks are missing.
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
        return HealingItems(samples, **cls.item_options(info), seed=seed, name=name)

    @classmethod
    def item_options(cls, info: ModelInfo) -> dict[str, Any]:
        """Return the arguments of :class:`HealingItems` that follow from the model's options."""
        options = cls.Config.model_validate(info.config)
        assert options.roi_size is not None
        return {
            "spatial_dims": options.spatial_dims,
            "roi_size": options.roi_size,
            "output": info.preprocessing.output,
            "classes": info.classes,
            "pairing": cls.pairing(options),
            "augment": options.augment,
            "fraction": options.fraction,
        }

    @staticmethod
    def pairing(options: Any) -> Pairing:
        """Return which masks training uses.

        ``paired`` is the mask of the pathological image itself, ``unpaired`` the mask of another subject, ``none`` no
        mask.
        """
        return "none"

    @classmethod
    @abstractmethod
    def generators(cls, info: ModelInfo) -> nn.ModuleDict:
        """Return the untrained networks that the saved model consists of."""

    @classmethod
    @abstractmethod
    def module(cls, info: ModelInfo, training: TrainingConfig) -> AdversarialModule:
        """Return the Lightning module: the networks with their training step."""

    @abstractmethod
    def heal(self, sample: Sample) -> Healed:
        """Return the sample without its lesion; a lesion-free sample stays nearly unchanged.

        Args:
            sample: sample in this model's space; its label is read only with :attr:`reads_label`.

        Raises:
            CohortError: if the label is read and is unknown.
        """

    def cycles(self, sample: Sample) -> dict[str, dict[str, FloatArray]]:
        """Return the images within the method's cycles.

        Args:
            sample: sample in this model's space.

        Returns:
            Cycle name → image title → ``(channel, x, y[, z])`` image, 0 to 1. Empty if the method has no cycles.
        """
        return {}

    def apply(self, name: str, inputs: FloatArray) -> FloatArray:
        """Return the output of a network for a whole sample.

        Args:
            name: name of the network.
            inputs: ``(channel, x, y[, z])``, 0 to 1; a 2D network processes a volume slice by slice.
        """
        assert self.config.roi_size is not None
        network, sliced = self.networks[name], inputs.ndim - 1 > self.config.spatial_dims
        batch = np.moveaxis(inputs, -1, 0) if sliced else inputs[None]
        made = in_windows(network, batch, roi_size=self.config.roi_size, seamless=self.seamless)
        return np.ascontiguousarray(np.moveaxis(made, 0, -1)) if sliced else made[0]

    def as_unit(self, image: FloatArray) -> FloatArray:
        """Return an image rescaled from the model's range to 0 to 1."""
        return to_unit(image, self.info.preprocessing.output)

    def from_unit(self, image: FloatArray) -> FloatArray:
        """Return an image rescaled from 0 to 1 to the model's range."""
        return from_unit(image, self.info.preprocessing.output)

    def sample_of(self, image: FloatArray) -> Sample:
        """Return a sample that holds only an image, given as ``(channel, x, y[, z])`` intensities of 0 to 1."""
        spacing = (1.0,) * (image.ndim - 1)
        nothing: dict[str, Any] = {"label": None, "anatomy": None, "region": None, "case_id": "", "subject_id": ""}
        return Sample(image=self.from_unit(image), spacing=spacing, **nothing)

    def to(self, device: str) -> Self:
        """Move the networks to ``device``."""
        self.networks.to(device)
        return self

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights of the networks that the saved model consists of."""
        return dict(self.networks.state_dict())

    @classmethod
    def from_tensors(cls, info: ModelInfo, tensors: dict[str, Tensor]) -> Self:
        """Return a model with the given weights."""
        networks = cls.generators(info)
        networks.load_state_dict(tensors)
        return cls(info, networks)

    @classmethod
    def picture(cls, info: ModelInfo, module: AdversarialModule, items: HealingItems) -> Figure:
        """Return a figure of four training items: pathological image, healed image, lesion map, reconstruction."""
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
    """Return the cases that a healer is trained on: those known to have a lesion or to be lesion-free.

    A case with a lesion needs no mask here.

    Raises:
        CohortError: if the cohort has no such case.
    """
    cases = cohort.having(channels).diagnosed()
    if not len(cases):
        what = f"has no annotated case with the channels {', '.join(channels)}"
        raise CohortError(cohort.name, what, "annotate cases with lesions and lesion-free cases")
    return cases
