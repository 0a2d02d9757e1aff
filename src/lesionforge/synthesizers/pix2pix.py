"""``pix2pix``: a generator that sees a condition and draws the image, against a critic of patches.

Isola et al. 2017 (arXiv 1611.07004); networks of Platscher et al. 2020 (arXiv 2010.02745). One training step:

    generator:  min  A(D(c, G(c)), real) + λ · |y − G(c)|₁          (Isola, equation 4)
    critic:     min  ½ A(D(c, y), real) + ½ A(D(c, G(c)), fake)     (Isola, equation 1)

with A least squares (Mao et al. 2017) or cross-entropy, c the condition and y the real image.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.fingerprint import fingerprint
from lesionforge.cohort.scan import LabelArray
from lesionforge.config import parse_options
from lesionforge.errors import CohortError
from lesionforge.losses.adversarial import ADVERSARIAL_LOSSES, discriminator_loss
from lesionforge.networks.discriminator import PatchGAN
from lesionforge.networks.generator import UNetGenerator
from lesionforge.preprocessing.crops import Crop
from lesionforge.preprocessing.pipeline import Preprocessing, Sample
from lesionforge.synthesizers.base import Synthesizer, training_cohort
from lesionforge.synthesizers.conditions import Condition, hole_around
from lesionforge.synthesizers.lesion_crops import LesionCrops
from lesionforge.synthesizers.pix2pix_config import Pix2PixConfig, condition_of, default_roi_size
from lesionforge.training.adversarial import AdversarialModule, Batch, Logs
from lesionforge.training.inference import one_thread
from lesionforge.training.loop import TrainingConfig, claim_run, fit
from lesionforge.training.model_folder import ModelInfo, describe
from lesionforge.training.preview import Preview, montage
from lesionforge.training.rng import torch_seed
from lesionforge.training.samples import cached_samples

SUB_BATCH = 16


class Pix2PixModule(AdversarialModule):
    """The training step of pix2pix."""

    def __init__(self, config: Pix2PixConfig, condition: Condition, *, seed: int, accumulate: int = 1) -> None:
        with torch_seed(seed, "weights"):
            generator = make_generator(config, condition)
            critic = PatchGAN(
                spatial_dims=config.spatial_dims,
                in_channels=condition.critic_channels + condition.image_channels,
                width=config.width,
                spectral_norm=config.spectral_norm,
            )
        super().__init__(generator, critic, config=config.optimiser, seed=seed, accumulate=accumulate)
        self.adversarial = ADVERSARIAL_LOSSES[config.adversarial]
        self.lambda_l1, self.noise_channels = config.lambda_l1, condition.noise_channels

    def generator_loss(self, batch: Batch) -> tuple[Tensor, Tensor, Logs]:
        """Adversarial term plus λ times the mean absolute difference where the generator draws."""
        drawn = batch["hole"]
        fake = torch.where(drawn, self.generator(batch["condition"]), batch["image"])
        pair = torch.cat([self._shown(batch), fake], 1)
        adversarial = self.adversarial(self.critic(pair), True)
        l1 = ((fake - batch["image"]).abs() * drawn).sum() / (drawn.sum() * fake.shape[1]).clamp(min=1)
        return adversarial + self.lambda_l1 * l1, pair.detach(), {"adversarial": adversarial, "l1": l1}

    def critic_loss(self, batch: Batch, fakes: Tensor) -> tuple[Tensor, Logs]:
        """The adversarial loss on real and on (pooled) fake pairs of condition and image."""
        real = self.critic(torch.cat([self._shown(batch), batch["image"]], 1))
        fake = self.critic(fakes)
        return discriminator_loss(self.adversarial, real, fake), {"d_real": real.mean(), "d_fake": fake.mean()}

    def _shown(self, batch: Batch) -> Tensor:
        condition = batch["condition"]
        return condition[:, : condition.shape[1] - self.noise_channels]


class Pix2Pix(Synthesizer):
    """A trained pix2pix generator."""

    method = "pix2pix"
    Config = Pix2PixConfig

    def __init__(self, info: ModelInfo, generator: UNetGenerator) -> None:
        super().__init__(info)
        self.config = Pix2PixConfig.model_validate(info.config)
        self.condition = condition_of(self.config, info)
        self.generator = generator.eval().requires_grad_(False)
        self.device = torch.device("cpu")

    @classmethod
    def fit(
        cls,
        cohort: Cohort,
        *,
        channels: tuple[str, ...],
        config: Mapping[str, Any],
        training: TrainingConfig,
        out: Path,
        preprocessing: Preprocessing | None = None,
        resume: bool = False,
    ) -> Self:
        """Train on crops around the lesions of ``cohort``; see :meth:`Synthesizer.fit`."""
        options = parse_options(Pix2PixConfig, config)
        claim_run(out, resume=resume)
        cases = training_cohort(cohort, channels)
        facts = fingerprint(cases, channels)
        if preprocessing is None or preprocessing.spatial_dims != options.spatial_dims:
            preprocessing = Preprocessing.fit(facts, spatial_dims=options.spatial_dims)
        roi_size = options.roi_size or default_roi_size(facts, options)
        options = options.model_copy(update={"roi_size": roi_size})
        training = training.or_batch_size(facts.batch_size(roi_size))
        samples = cached_samples(cases, preprocessing)
        info = describe(
            cls.method,
            options,
            preprocessing,
            cases,
            anatomy=anatomy_values(samples) if options.condition == "label" else (),
            training=training.model_dump(include={"steps", "batch_size", "accumulate", "seed", "precision"}),
        )
        condition = condition_of(options, info)
        module = Pix2PixModule(options, condition, seed=training.seed, accumulate=training.accumulate)
        crops = LesionCrops(samples, options, condition, seed=training.seed)
        preview = Preview(partial(picture, module, crops), out / "previews", minutes=training.preview_minutes)
        steps = fit(module, crops, out=out, config=training, resume=resume, callbacks=(preview,))
        info = info.model_copy(update={"training": {**info.training, "steps": steps}})
        model = cls(info, cast(UNetGenerator, module.result))
        model.save(out)
        return model

    def synthesize(self, sample: Sample, mask: LabelArray, rng: np.random.Generator) -> Sample:
        """Draw the lesion; see :meth:`Synthesizer.synthesize`."""
        noise = self._noise(sample.image.shape[1:], rng)
        if self.config.condition == "inpaint":
            image = self._inpaint(sample, mask, noise)
        else:
            image = self._translate(sample.with_lesion(sample.image, mask), mask, noise)
        return sample.with_lesion(image, mask)

    def _noise(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Noise for the whole sample; the slices of a volume share one plane, so they fit each other."""
        plane = rng.standard_normal((self.config.noise_channels, *shape[: self.config.spatial_dims]), np.float32)
        missing = len(shape) - self.config.spatial_dims
        return np.broadcast_to(plane.reshape(*plane.shape, *[1] * missing), (len(plane), *shape))

    def _inpaint(self, sample: Sample, mask: LabelArray, noise: Any) -> Any:
        """Draw every hole in a crop of its own, in sub-batches of crops of one size."""
        image = sample.image.copy()
        jobs: dict[tuple[int, ...], list[tuple[Any, Crop, Any, Any]]] = {}
        for place in self._planes(mask):
            hole, weight = hole_around(mask[place], self.config.margin_mm, sample.spacing[: self.config.spatial_dims])
            holes, _ = ndimage.label(hole, np.ones([3] * hole.ndim))
            for index, box in enumerate(ndimage.find_objects(holes), start=1):
                crop = self._crop_around(box, hole.shape)
                own = crop.cut(holes) == index
                inputs = self.condition.encode(
                    crop.cut(sample.image[(slice(None), *place)], fill=-1),
                    crop.cut(mask[place]) * own,
                    None,
                    own,
                    crop.cut(noise[(slice(None), *place)]),
                )
                jobs.setdefault(crop.size, []).append((place, crop, inputs, crop.cut(weight) * own))
        for group in jobs.values():
            drawn = self._generate(np.stack([inputs for _, _, inputs, _ in group]))
            for (place, crop, _, weight), fake in zip(group, drawn, strict=True):
                target = image[(slice(None), *place)]
                before = crop.cut(target, fill=-1)
                crop.paste(before + weight * (fake - before), target)
        return image

    def _translate(self, sample: Sample, new: LabelArray, noise: Any) -> Any:
        """Draw the whole image, slice by slice where the model is 2D and the sample a volume.

        A label map holds the lesions that were there as well as the new one; a scan shows the old ones itself.
        """
        if self.condition.anatomy and sample.anatomy is None:
            raise CohortError(
                sample.case_id, "has no anatomy map, which the model was trained with", "add one to anatomyTr"
            )
        image = np.empty_like(sample.image)
        mask = sample.label if self.config.condition == "label" and sample.label is not None else new
        for place in self._planes(np.ones_like(mask)):
            shape = mask[place].shape
            size = tuple(-(-n // self.generator.divisor) * self.generator.divisor for n in shape)
            crop = Crop(tuple(0 for _ in shape), size)
            inputs = self.condition.encode(
                crop.cut(sample.image[(slice(None), *place)], fill=-1),
                crop.cut(mask[place]),
                None if sample.anatomy is None else crop.cut(sample.anatomy[place]),
                np.ones(size, bool),
                crop.cut(noise[(slice(None), *place)]),
            )
            crop.paste(self._generate(inputs[None])[0], image[(slice(None), *place)])
        return image

    def _planes(self, mask: LabelArray) -> list[tuple[Any, ...]]:
        """Return the index of every part of the sample that the model takes at once and that the mask touches."""
        if mask.ndim == self.config.spatial_dims:
            return [(Ellipsis,)] if mask.any() else []
        return [(Ellipsis, int(z)) for z in np.flatnonzero(mask.any(axis=(0, 1)))]

    def _crop_around(self, box: tuple[slice, ...], shape: tuple[int, ...]) -> Crop:
        """Return the training crop around a hole, or a larger one where the hole and some context would not fit."""
        assert self.config.roi_size is not None
        divisor = self.generator.divisor
        size = tuple(
            max(roi, -(-(s.stop - s.start + divisor) // divisor) * divisor)
            for roi, s in zip(self.config.roi_size, box, strict=True)
        )
        return Crop.around([(s.start + s.stop) / 2 for s in box], size, shape)

    def _generate(self, inputs: Any) -> Any:
        with one_thread(), torch.inference_mode():
            parts = torch.from_numpy(inputs.astype(np.float32)).split(SUB_BATCH)
            return torch.cat([self.generator(part.to(self.device)).float().cpu() for part in parts]).numpy()

    @property
    def draws_whole_image(self) -> bool:
        """``label`` and ``scan`` draw everything."""
        return self.config.condition != "inpaint"

    def margin_mm(self) -> float:
        """The reach of the hole beyond the mask."""
        return self.config.margin_mm

    def to(self, device: str) -> Self:
        """Move the generator."""
        self.device = torch.device(device)
        self.generator.to(self.device)
        return self

    def tensors(self) -> dict[str, Tensor]:
        """The generator's weights."""
        return dict(self.generator.state_dict())

    @classmethod
    def from_tensors(cls, info: ModelInfo, tensors: dict[str, Tensor]) -> Self:
        """Make the generator and fill in its weights."""
        config = Pix2PixConfig.model_validate(info.config)
        generator = make_generator(config, condition_of(config, info))
        generator.load_state_dict(tensors)
        return cls(info, generator)


def make_generator(config: Pix2PixConfig, condition: Condition) -> UNetGenerator:
    """Return the generator that the options ask for."""
    return UNetGenerator(
        spatial_dims=config.spatial_dims,
        in_channels=condition.in_channels,
        out_channels=condition.image_channels,
        channels=config.channels,
        width=config.width,
        dropout=config.dropout,
    )


def anatomy_values(samples: Any) -> tuple[int, ...]:
    """Return every value of the samples' anatomy maps, 0 included; none if a sample has no map."""
    values: set[int] = set()
    for sample in samples:
        if sample.anatomy is None:
            return ()
        values.update(int(value) for value in np.unique(sample.anatomy))
    return tuple(sorted(values))


def picture(module: Pix2PixModule, crops: LesionCrops) -> Any:
    """Return a figure of four training crops: condition, drawn, real."""
    items = [crops[draw] for draw in range(4)]
    condition = torch.stack([item["condition"] for item in items]).to(module.device)
    module.averaged.eval()
    with torch.inference_mode():
        drawn = module.result(condition).float().cpu()
    rows = []
    for item, fake in zip(items, drawn, strict=True):
        composed = torch.where(item["hole"], fake, item["image"])
        index: tuple[Any, ...] = (0, ...) if item["image"].ndim == 3 else (0, ..., item["image"].shape[-1] // 2)
        shown = {"condition": item["condition"], "drawn": composed, "real": item["image"]}
        rows.append({name: value.numpy()[index] for name, value in shown.items()})
    return montage(rows)
