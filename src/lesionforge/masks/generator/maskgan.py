"""``maskgan``: lesion masks from a generator, after Platscher et al. 2020 (arXiv 2010.02745), section 2.3.

A Wasserstein GAN with gradient penalty (Gulrajani et al. 2017, equation 3) on whole masks in template space:

    critic:     min  D(G(z)) − D(y) + λ_gp (‖∇D(x̂)‖₂ − 1)²
    generator:  min  −D(G(z))

y is a real mask with one channel for the background and one for each lesion class; G(z) is the generator's softmax. A
voxel is a lesion if the background has less than one half.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.layouts.labels import OnProblem, fail
from lesionforge.cohort.scan import FloatArray, LabelArray, Scan
from lesionforge.cohort.splits import split_by_subject
from lesionforge.config import parse_options
from lesionforge.errors import ConfigError, ModelError
from lesionforge.files import one_at_a_time, write_text
from lesionforge.masks.base import MaskRequest, MaskSource
from lesionforge.masks.generator.maskgan_training import (
    MaskGANConfig,
    MaskGANModule,
    MaskItems,
    Watch,
    make_generator,
    picture,
)
from lesionforge.masks.generator.template_space import take_masks
from lesionforge.masks.mask import DrawnMask, PlacedMask
from lesionforge.masks.placement import crop_to_lesion
from lesionforge.networks.generators.mask_gan import MaskGenerator
from lesionforge.preprocessing.alignment.template_grid import TemplateGrid
from lesionforge.preprocessing.brain.brain_shape import BrainShape
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.scores.cohorts.mask_shapes import compare_masks
from lesionforge.seeding import generator as random_generator
from lesionforge.training.fitting import Recipe, train
from lesionforge.training.inference import in_sub_batches
from lesionforge.training.loop import Device, TrainingConfig, claim_run, pick_device
from lesionforge.training.model_folder import (
    ModelInfo,
    describe,
    digest_of_tensors,
    must_fit,
    read_info,
    read_tensors,
    save_model,
)

METHOD, BATCH_SIZE, SUB_BATCH, LOOKED_AT, COMPARED = "maskgan", 8, 16, 32, 200


class MaskGAN(MaskSource):
    """A trained mask generator.

    Attributes:
        info: training cases and settings.
        generator: network from latent vector to logits.
        grid: grid of its masks.
    """

    method = "gan:MODEL"

    def __init__(self, info: ModelInfo, generator: MaskGenerator, grid: TemplateGrid) -> None:
        self.info, self.grid = info, grid
        self.config = MaskGANConfig.model_validate(info.config)
        self.generator = generator.eval().requires_grad_(False)
        self.subjects = frozenset(info.training_subjects)

    @classmethod
    @one_at_a_time
    def fit(
        cls,
        cohort: Cohort,
        *,
        config: Mapping[str, Any],
        training: TrainingConfig,
        out: Path,
        resume: bool = False,
        on_problem: OnProblem = fail,
    ) -> Self:
        """Train on the lesion masks of ``cohort`` and save the model, and ``mask_scores.csv``, into ``out``.

        Args:
            cohort: volumes with lesions, with scans or, from :func:`read_masks`, without.
            config: see :class:`MaskGANConfig`.
            training: ``batch_size`` is what each of the critic's steps takes; 8 unless given, as in the paper.
            out: the model folder.
            resume: go on with the run in ``out``.
            on_problem: called with the error of each case that is left out; raises unless given.

        Raises:
            ConfigError: if an option is unknown or out of range.
            CohortError: if there are too few masks, or they are all alike.
        """
        options = parse_options(MaskGANConfig, config)
        claim_run(out, resume=resume)
        grid = TemplateGrid.covering(options.size)
        cases, masks = take_masks(cohort, grid, on_problem=on_problem)
        parts = split_by_subject(cases, {"train": 1 - options.held_out, "held_out": options.held_out}, training.seed)
        place = {case.case_id: number for number, case in enumerate(cases)}
        train_masks, held_out = (masks[[place[case.case_id] for case in part]] for part in parts.values())
        training = training.or_batch_size(BATCH_SIZE)
        classes = int(masks.max())
        info = describe(
            METHOD,
            options,
            Preprocessing(spatial_dims=3, channels=cohort.channels),
            parts["train"],
            training=training.model_dump(include={"steps", "batch_size", "accumulate", "seed"}),
        )
        module = MaskGANModule(options, classes, seed=training.seed, accumulate=training.accumulate)
        draw = partial(_draw, module, seed=training.seed)
        recipe = Recipe(
            module=module,
            items=MaskItems(train_masks, classes, mirror=options.mirror, seed=training.seed),
            picture=lambda: picture(draw(8), train_masks),
            callbacks=(Watch(partial(draw, LOOKED_AT), grid.brain_voxels),),
        )
        info = train(recipe, info, training=training, out=out, resume=resume)
        model = cls(info, cast(MaskGenerator, module.result), grid).to(pick_device(training.device))
        drawn = model.generate(COMPARED, random_generator(training.seed, "compare"))
        scores = compare_masks(drawn, held_out, train_masks, spacing=grid.spacing)
        write_text(out / "mask_scores.csv", scores.to_csv(index=False))
        model.save(out)
        return model

    def generate(self, n: int, rng: np.random.Generator) -> LabelArray:
        """Return ``(n, x, y, z)`` masks in template space.

        Args:
            n: number of masks.
            rng: source of all randomness.
        """
        latent = rng.standard_normal((n, self.config.latent), np.float32)
        return np.stack([_classes(shares[1:]) for shares in self._shares(latent)])

    def draw(self, scan: Scan, rng: np.random.Generator) -> DrawnMask:
        """Draw a mask and bring it into the scan by the affine between the two brains.

        Raises:
            ConfigError: if the scan is a slice.
            CohortError: if the scan shows no brain.
        """
        if scan.spatial_dims != 3:
            raise ConfigError(scan.case.case_id, "is a slice, but maskgan draws volumes", "use another mask source")
        shares = self._shares(rng.standard_normal((1, self.config.latent), np.float32))[0]
        mask = _classes(self.grid.put(shares[1:], scan))
        mask, corner = crop_to_lesion(mask) if mask.any() else (mask, None)
        return DrawnMask(mask=mask, mask_id=METHOD, subjects=self.subjects, corner=corner)

    def least_volume(self, scan: Scan) -> float:
        """Return the volume of the model's ``min_voxels`` on the scale of this brain."""
        shrunk = abs(float(np.linalg.det(self.grid.from_scan(scan)[:3, :3]))) if scan.spatial_dims == 3 else 1.0
        return self.config.min_voxels * self.grid.voxel_mm3 / shrunk

    def sample(
        self, scan: Scan, rng: np.random.Generator, *, min_volume: float | None = None, **options: Any
    ) -> PlacedMask:
        """Draw masks until one fits; see :meth:`MaskSource.sample`. ``min_volume`` is at least :meth:`least_volume`."""
        least = max(self.least_volume(scan), min_volume or 0.0)
        return super().sample(scan, rng, min_volume=least, **options)

    @property
    def digest(self) -> str:
        """The SHA-256 of all tensors."""
        return digest_of_tensors(self.tensors())

    def to(self, device: str) -> Self:
        """Move the generator."""
        self.generator.to(device)
        return self

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of ``model.safetensors``."""
        tensors = {f"generator.{name}": tensor for name, tensor in self.generator.state_dict().items()}
        grid = {"affine": self.grid.affine, "mean": self.grid.brain.mean, "covariance": self.grid.brain.covariance}
        kept = {f"grid.{name}": torch.from_numpy(np.ascontiguousarray(array)) for name, array in grid.items()}
        return {**tensors, **kept}

    def save(self, folder: Path) -> None:
        """Write the model folder."""
        save_model(folder, self.info, self.tensors())

    @classmethod
    def load(cls, folder: Path, *, device: Device = "cpu") -> Self:
        """Read a model folder.

        Args:
            folder: the model folder.
            device: the device to draw on.

        Raises:
            ModelError: if it is not a model folder, or a model of another kind.
        """
        info = read_info(folder)
        if info.method != METHOD:
            raise ModelError(folder, f"is a model of {info.method}", f"name a model that `train {METHOD}` made")
        tensors = read_tensors(folder)
        with must_fit(folder):
            config = MaskGANConfig.model_validate(info.config)
            network = make_generator(config, len(info.classes))
            network.load_state_dict(_under("generator.", tensors))
            kept = {name: tensor.numpy() for name, tensor in _under("grid.", tensors).items()}
            brain = BrainShape(mean=kept["mean"], covariance=kept["covariance"])
            grid = TemplateGrid(size=config.size, affine=kept["affine"], brain=brain)
        return cls(info, network, grid).to(pick_device(device))

    @classmethod
    def from_request(cls, request: MaskRequest) -> Self:
        """Load the model folder that the user named."""
        return cls.load(Path(request.argument), device=request.device)

    def _shares(self, latent: FloatArray) -> FloatArray:
        """Return ``(n, background and classes, x, y, z)`` from 0 to 1."""
        shares = nn.Sequential(self.generator, nn.Softmax(1))
        return in_sub_batches(shares, latent, size=SUB_BATCH)


def _classes(shares: FloatArray) -> LabelArray:
    """Return the likeliest class where the ``(class, x, y, z)`` shares sum to one half or more, 0 elsewhere."""
    return np.where(shares.sum(0) >= 0.5, shares.argmax(0) + 1, 0).astype(np.int16)


def _draw(module: MaskGANModule, n: int, *, seed: int) -> LabelArray:
    """Return masks of the generator as it is during training, always from the same latent vectors."""
    latent = torch.from_numpy(random_generator(seed, "look").standard_normal((n, module.latent), np.float32))
    with torch.inference_mode():
        shares = module.result(latent.to(module.device)).float().softmax(1).cpu().numpy()
    return np.stack([_classes(part[1:]) for part in shares])


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
