"""The base class of trained methods that draw a lesion, or a whole image, from a condition."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import torch
from monai.networks.utils import eval_mode
from scipy import ndimage
from torch import Tensor, nn
from torch.utils.data import Dataset

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.scan import FloatArray, LabelArray, Scan
from lesionforge.errors import CohortError, DoubtWarning
from lesionforge.masks.bank import MaskBank
from lesionforge.masks.base import MaskSource
from lesionforge.masks.slice_masks import SliceBank
from lesionforge.preprocessing.brain.region import with_region
from lesionforge.preprocessing.crops import Crop
from lesionforge.preprocessing.lesions.lesion_intensity import (
    Intensities,
    absolute,
    draw,
    draw_faint,
    draw_normal,
    surroundings,
)
from lesionforge.preprocessing.lesions.margin import greatest, hole_around, one_of_range
from lesionforge.preprocessing.lesions.merging import refuse_unseen
from lesionforge.preprocessing.pipeline import Preprocessing, Sample
from lesionforge.synthesizers.base import Synthesizer, training_cohort
from lesionforge.synthesizers.translation.conditions import Condition
from lesionforge.synthesizers.translation.crop_config import CropConfig, condition_of
from lesionforge.synthesizers.translation.training_crops import AIR, TrainingCrops, clipped, epoch_items
from lesionforge.training.averaging import AveragingModule
from lesionforge.training.callbacks.candidates import candidate_steps
from lesionforge.training.callbacks.preview import montage
from lesionforge.training.fitted_model import TrainedModel
from lesionforge.training.fitting import Recipe, TrainingData
from lesionforge.training.inference import in_sub_batches
from lesionforge.training.items.lesion_planes import Planes
from lesionforge.training.items.samples import cached_samples
from lesionforge.training.loop import TrainingConfig
from lesionforge.training.model_folder import ModelInfo

INTENSITIES, KNOWN_INTENSITIES = "lesion_intensities", 256
CONTRASTS = {"crop": draw, "normal": draw_normal}


class Translator(TrainedModel, Synthesizer):
    """Base class of a trained generator that draws what a condition asks for.

    A method names its options and its training step (:meth:`module`).

    Attributes:
        generator: network from condition to image.
        intensities: ``(crop, class, channel)`` relative intensities of training lesions, which new lesions take on; 3
            for each channel if the condition shows quantiles.
    """

    with_gaps = (INTENSITIES,)
    masks_missing: ClassVar[bool] = False
    """Whether the losses leave out the channels that a scan lacks; if the condition shows no image."""

    Config: ClassVar[type[CropConfig]]

    def __init__(self, info: ModelInfo, generator: nn.Module, intensities: Intensities) -> None:
        super().__init__(info)
        self.intensities = intensities
        self.config = self.Config.model_validate(info.config)
        self.condition = condition_of(self.config, info)
        self.generator = generator.eval().requires_grad_(False)

    @classmethod
    def training_cases(cls, cohort: Cohort, channels: tuple[str, ...], options: Any) -> Cohort:
        """Return the cases with lesions and, unless every crop must show a lesion, lesion-free cases.

        Cases that lack channels are among them if the losses leave these out and the condition shows no image.
        """
        incomplete = cls.masks_missing and options.condition == "label"
        return training_cohort(cohort, channels, lesion_free=not options.lesions_only, incomplete=incomplete)

    @classmethod
    def training_scan(cls, scan: Scan, options: Any) -> Scan:
        """Return the scan, with its region if holes are placed in it."""
        return with_region(scan) if options.healthy_holes else scan

    @classmethod
    def recipe(cls, data: TrainingData, info: ModelInfo, training: TrainingConfig) -> Recipe:
        """Return the recipe for training on crops around lesions and, for label maps, also elsewhere.

        The lesions' intensities are kept with the weights.
        """
        options = cls.Config.model_validate(info.config)
        condition = condition_of(options, info)
        crops = TrainingCrops(data.samples, options, condition, seed=training.seed, masks=hole_shapes(data, options))
        module = cls.module(options, condition, training)
        return Recipe(
            module=module,
            items=cls.items(crops),
            picture=partial(picture, module, crops),
            candidates=candidate_steps(options.candidates, len(crops), training, unit=options.candidates_in),
            beside={INTENSITIES: torch.from_numpy(crops.intensities(KNOWN_INTENSITIES))},
        )

    @staticmethod
    @abstractmethod
    def module(config: Any, condition: Condition, training: TrainingConfig) -> AveragingModule:
        """Return the Lightning module: the networks with their training step."""

    @staticmethod
    def items(crops: TrainingCrops) -> Dataset[dict[str, Tensor]]:
        """Return the training items."""
        return crops

    @classmethod
    def anatomy(cls, data: TrainingData, options: Any) -> tuple[int, ...]:
        """Return the values of the anatomy maps; none unless the condition is ``label``."""
        return anatomy_values(data.samples, data.cases.name) if options.condition == "label" else ()

    @classmethod
    def training_steps(
        cls, cohort: Cohort, preprocessing: Preprocessing, options: Any, training: TrainingConfig
    ) -> int:
        """Return the number of optimiser steps; with candidates, training ends at the last of them."""
        items = 0
        if options.candidates and options.candidates_in == "epochs":
            cases = cls.training_cases(cohort, preprocessing.channels, options)
            items = epoch_items(Planes(cached_samples(cases, preprocessing), options.spatial_dims), options)
        training = training.or_batch_size(1)
        kept = candidate_steps(options.candidates, items, training, unit=options.candidates_in)
        return max(kept.values(), default=training.steps)

    def synthesize(self, sample: Sample, mask: LabelArray, rng: np.random.Generator) -> Sample:
        """Return the sample with the drawn lesion; see :meth:`Synthesizer.synthesize`.

        Raises:
            CohortError: if anatomy or lesions have values that the model was not trained on, or there is no anatomy.
        """
        lesions = mask if sample.label is None else np.where(mask > 0, mask, sample.label)
        known = {"structures": self.condition.anatomy, "classes": self.condition.classes}
        refuse_unseen(sample.case_id, sample.anatomy, lesions, **known)
        noise = self._noise(sample.image.shape[1:], rng)
        multiples = CONTRASTS[self.config.lesion_contrast](self.intensities, mask, self.condition.classes, rng)
        if self.config.condition == "inpaint":
            image = self._inpaint(sample, mask, noise, multiples, rng)
        else:
            image = self._translate(sample.with_lesion(sample.image, mask), mask, noise, multiples)
        return sample.with_lesion(image, mask)

    def redraw_healthy(self, sample: Sample, hole: LabelArray, rng: np.random.Generator) -> Sample:
        """Return the sample with healthy tissue or a mimic in a hole; see :meth:`Synthesizer.redraw_healthy`."""
        if not self.draws_negatives:
            return super().redraw_healthy(sample, hole, rng)
        noise, multiples = self._noise(sample.image.shape[1:], rng), None
        if self.config.mimics and rng.random() < self.config.mimics:
            multiples = draw_faint(self.intensities, hole, self.condition.classes, rng)
        return replace(sample, image=self._inpaint(sample, hole, noise, multiples, rng, keep_lesions=True))

    def _noise(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return noise for the whole sample; all slices of a volume share it, so that they fit each other."""
        plane = rng.standard_normal((self.condition.noise_channels, *shape[: self.config.spatial_dims]), np.float32)
        missing = len(shape) - self.config.spatial_dims
        return np.broadcast_to(plane.reshape(*plane.shape, *[1] * missing), (len(plane), *shape))

    def _inpaint(
        self,
        sample: Sample,
        mask: LabelArray,
        noise: Any,
        multiples: Intensities | None,
        rng: np.random.Generator,
        *,
        keep_lesions: bool = False,
    ) -> Any:
        """Draw each hole in its own crop, in sub-batches of crops of equal size.

        Without ``multiples``, holes are filled with healthy tissue. With ``keep_lesions``, lesions of the sample stay
        out of them.
        """
        image, spacing = sample.image.copy(), sample.spacing[: self.config.spatial_dims]
        margin = one_of_range(self.config.margin_mm, rng)
        fade = None if self.config.fade_mm is None else one_of_range(self.config.fade_mm, rng)
        lesion = np.zeros_like(mask) if multiples is None else mask
        jobs: dict[tuple[int, ...], list[tuple[Any, Crop, Any, Any]]] = {}
        for place in self._planes(mask):
            hole, weight = hole_around(mask[place], margin, spacing, fade_mm=fade)
            if keep_lesions and sample.label is not None:
                hole &= sample.label[place] == 0
            holes, _ = ndimage.label(hole, np.ones([3] * hole.ndim))
            for index, box in enumerate(ndimage.find_objects(holes), start=1):
                crop = self._crop_around(box, hole.shape)
                own = crop.cut(holes) == index
                shown = clipped(crop.cut(sample.image[place], fill=AIR))
                wanted = crop.cut(lesion[place]) * own
                others = None if sample.label is None else crop.cut(sample.label[place]) > 0
                inputs = self.condition.encode(
                    shown,
                    wanted,
                    None,
                    own,
                    crop.cut(noise[place]),
                    self._intensities(shown, wanted, spacing, others, multiples),
                )
                jobs.setdefault(crop.size, []).append((place, crop, inputs, crop.cut(weight) * own))
        for group in jobs.values():
            drawn = in_sub_batches(self.generator, np.stack([inputs for _, _, inputs, _ in group]))
            for (place, crop, _, weight), fake in zip(group, drawn, strict=True):
                target = image[place]
                before = crop.cut(target, fill=AIR)
                crop.paste(before + weight * (fake - before), target)
        return image

    def _translate(self, sample: Sample, new: LabelArray, noise: Any, multiples: Intensities) -> Any:
        """Draw the whole image; a 2D model draws volumes in sub-batches of slices.

        A label map holds the old lesions as well as the new one; a scan shows the old ones itself.
        """
        if self.condition.anatomy and sample.anatomy is None:
            raise CohortError(sample.case_id, "has no anatomy map, which the model needs", "add one to anatomyTr")
        image, spacing = np.empty_like(sample.image), sample.spacing[: self.config.spatial_dims]
        mask = sample.label if self.config.condition == "label" and sample.label is not None else new
        shape = mask.shape[: self.config.spatial_dims]
        size = tuple(-(-n // by) * by for n, by in zip(shape, self.config.divisors, strict=True))
        crop = Crop(tuple(0 for _ in shape), size)
        planes, inputs = self._planes(np.ones_like(mask)), []
        for place in planes:
            plane = clipped(sample.image[place])
            others = None if sample.label is None else sample.label[place] > 0
            inputs.append(
                self.condition.encode(
                    crop.cut(plane, fill=AIR),
                    crop.cut(mask[place]),
                    None if sample.anatomy is None else crop.cut(sample.anatomy[place]),
                    np.ones(crop.size, bool),
                    crop.cut(noise[place]),
                    self._intensities(plane, new[place], spacing, others, multiples),
                )
            )
        for place, drawn in zip(planes, in_sub_batches(self.generator, np.stack(inputs)), strict=True):
            crop.paste(drawn, image[place])
        return image

    def _intensities(
        self,
        image: FloatArray,
        mask: LabelArray,
        spacing: tuple[float, ...],
        others: Any,
        multiples: Intensities | None,
    ) -> Intensities | None:
        """Return the intensities for the lesion of a crop, from its surroundings without ``others``."""
        if not self.condition.lesion_intensity:
            return None
        if multiples is None:
            return self.condition.measure(image, mask)
        around = surroundings(image, mask, spacing, margin_mm=self.margin_mm(), leave_out=others)
        return absolute(multiples, around)

    def _planes(self, mask: LabelArray) -> list[tuple[Any, ...]]:
        """Return the indices of the parts of the sample (slices or all of it) that the mask touches."""
        if mask.ndim == self.config.spatial_dims:
            return [(Ellipsis,)] if mask.any() else []
        return [(Ellipsis, int(z)) for z in np.flatnonzero(mask.any(axis=(0, 1)))]

    def _crop_around(self, box: tuple[slice, ...], shape: tuple[int, ...]) -> Crop:
        """Return a crop of the training size around a hole, or a larger one if hole and context need it."""
        assert self.config.roi_size is not None
        size = tuple(
            max(roi, -(-(s.stop - s.start + by) // by) * by)
            for roi, s, by in zip(self.config.roi_size, box, self.config.divisors, strict=True)
        )
        return Crop.around([(s.start + s.stop) / 2 for s in box], size, shape)

    @property
    def draws_whole_image(self) -> bool:
        """Whether the condition is ``label`` or ``scan``."""
        return self.config.condition != "inpaint"

    @property
    def sees_lesions(self) -> bool:
        """Whether the condition is ``scan``."""
        return self.config.condition == "scan"

    def margin_mm(self) -> float:
        """Return how far the hole or the blended edge reaches beyond the mask at most, in mm."""
        return greatest(self.config.margin_mm)

    @property
    def draws_negatives(self) -> bool:
        """Whether the generator can fill holes with healthy tissue or mimics."""
        return self.config.draws_negatives

    def to(self, device: str) -> Self:
        """Move the generator to ``device``."""
        self.generator.to(device)
        return self

    def tensors(self) -> dict[str, Tensor]:
        """Return the generator's weights and the intensities of training lesions."""
        return {**self.generator.state_dict(), INTENSITIES: torch.from_numpy(self.intensities)}

    @classmethod
    def from_tensors(cls, info: ModelInfo, tensors: dict[str, Tensor]) -> Self:
        """Return a model with the given weights and intensities."""
        config = cls.Config.model_validate(info.config)
        condition = condition_of(config, info)
        generator = config.generator(condition.in_channels, condition.image_channels)
        generator.load_state_dict({name: tensor for name, tensor in tensors.items() if name != INTENSITIES})
        return cls(info, generator, tensors[INTENSITIES].numpy())


def hole_shapes(data: TrainingData, options: CropConfig) -> MaskSource | None:
    """Return the lesions whose shapes the holes of ``healthy_holes`` have; ``None`` without such holes."""
    if not options.healthy_holes:
        return None
    return SliceBank(data.samples) if options.spatial_dims == 2 else MaskBank(data.cases)


def anatomy_values(samples: Sequence[Sample], cohort: str) -> tuple[int, ...]:
    """Return all values of the samples' anatomy maps, 0 included; none if any sample has no map.

    :class:`DoubtWarning` says if only some samples have a map, and names their cohort.
    """
    values, without = set[int](), list[str]()
    for sample in samples:
        if sample.anatomy is None:
            without.append(sample.case_id)
        else:
            values.update(int(value) for value in np.unique(sample.anatomy))
    if values and without:
        what = f"{len(without)} of {len(samples)} training cases have no anatomy map (first: {without[0]})"
        remedy = "make their maps with `lesionforge anatomy`, or leave these cases out"
        doubt = f"{cohort}: {what}, so the model is trained without anatomy; {remedy}"
        warnings.warn(doubt, DoubtWarning, stacklevel=2)
    return () if without else tuple(sorted(values))


def picture(module: AveragingModule, crops: TrainingCrops) -> Any:
    """Return a figure of four training crops: condition, drawn image, real image."""
    items = [crops[draw] for draw in range(4)]
    condition = torch.stack([item["condition"] for item in items]).to(module.device)
    with eval_mode(module.result), torch.inference_mode():
        drawn = module.result(condition).float().cpu()
    rows = []
    for item, fake in zip(items, drawn, strict=True):
        composed = torch.where(item["hole"], fake, item["image"])
        index: tuple[Any, ...] = (0, ...) if item["image"].ndim == 3 else (0, ..., item["image"].shape[-1] // 2)
        shown = {"condition": item["condition"], "drawn": composed, "real": item["image"]}
        rows.append({name: value.numpy()[index] for name, value in shown.items()})
    return montage(rows)
