"""``SegmentationTask``: a U-Net that finds the lesions, slice by slice or in volumes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from monai.networks.nets import UNet
from monai.transforms import Compose
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from lesionforge.cohort.case import Annotation, Case, Cohort
from lesionforge.cohort.fingerprint import Fingerprint, fingerprint
from lesionforge.cohort.scan import FloatArray, LabelArray, Scan, load_scan, save_label
from lesionforge.errors import CohortError, ConfigError, ModelError, OutputError
from lesionforge.files import claim_output, write_json
from lesionforge.networks.stroke_unet import StrokeUNet
from lesionforge.preprocessing.pipeline import Preprocessing, Sample
from lesionforge.tasks.augmentation import classical_augmentation
from lesionforge.tasks.training_set import Source, TrainingSet
from lesionforge.training.loop import TrainingConfig, claim_run, fit, pick_device
from lesionforge.training.model_folder import ModelInfo, describe, must_fit, read_info, read_tensors, save_model
from lesionforge.training.rng import torch_seed
from lesionforge.training.samples import cached_samples
from lesionforge.training.segmentation import SegmentationModule

SLICES_AT_ONCE, WINDOWS_AT_ONCE = 16, {2: 16, 3: 2}


class SegmentationConfig(BaseModel):
    """Options of the segmentation task.

    Attributes:
        spatial_dims: 2 (slices along the thickest axis) or 3.
        network: ``residual`` (MONAI's U-Net with residual units and instance norm) or ``stroke`` (Platscher et al.
            2020: plain convolutions with ReLU).
        filters: width at each resolution; each further one is half as fine.
        res_units: ``residual``: units at each resolution; 0 has one plain convolution instead.
        dropout: probability in every layer.
        roi_size: size in voxels of training items, and of the windows that slide over a scan in prediction; ``None``
            takes whole slices (2D) or the fingerprint's crop (3D).
        normalise: ``tissue`` gives the network intensities relative to each scan's typical tissue; ``none`` those of
            the preprocessing.
        learning_rate: of Adam, at the first step.
        augment: ``none`` or ``classical``.
        lesion_share: share of training items that are taken from a lesion.
        min_lesion_voxels: cases whose lesions have fewer voxels in all are not trained on; lesion-free ones are.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    spatial_dims: Literal[2, 3] = 2
    network: Literal["residual", "stroke"] = "residual"
    filters: tuple[int, ...] = Field(default=(16, 32, 64, 128, 256), min_length=2)
    res_units: int = Field(default=2, ge=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    roi_size: tuple[int, ...] | None = None
    normalise: Literal["tissue", "none"] = "tissue"
    learning_rate: float = Field(default=3e-3, gt=0)
    augment: Literal["none", "classical"] = "classical"
    lesion_share: float = Field(default=0.5, ge=0, le=1)
    min_lesion_voxels: int = Field(default=0, ge=0)

    @property
    def divisor(self) -> int:
        """What the network needs the size of its input to be a multiple of."""
        return int(2 ** (len(self.filters) - 1))

    @model_validator(mode="after")
    def _roi_fits(self) -> Self:
        if self.roi_size is None:
            return self
        if len(self.roi_size) != self.spatial_dims or any(n <= 0 or n % self.divisor for n in self.roi_size):
            numbers = f"{self.spatial_dims} multiples of {self.divisor}"
            raise ValueError(f"roi_size is {self.roi_size}, but {len(self.filters)} filters need {numbers}")
        return self


@dataclass(frozen=True, kw_only=True)
class SegmentationTask:
    """A trained network with all that is needed to apply it.

    Attributes:
        info: what it was trained on and how.
        network: ``(batch, channel, x, y[, z])`` to logits.
    """

    info: ModelInfo
    network: nn.Module

    @classmethod
    def fit(
        cls,
        cohort: Cohort,
        *,
        channels: tuple[str, ...],
        config: SegmentationConfig,
        training: TrainingConfig,
        out: Path,
        synthetic: Cohort | Source | None = None,
        share: float = 0.5,
        preprocessing: Preprocessing | None = None,
        pretrained: SegmentationTask | None = None,
        resume: bool = False,
    ) -> Self:
        """Train on the annotated cases of ``cohort``; the last step's weights are the result.

        Args:
            cohort: training cases; preprocessing is fitted on them.
            channels: image channels to use.
            config: network and augmentation.
            training: steps, batch size, seed and machine.
            out: the model folder.
            synthetic: synthetic cases to mix in, whose parents become training subjects too; or a source that draws
                lesions into the cohort's own samples on the fly.
            share: of every batch that is synthetic; 1 trains on synthetic cases alone.
            preprocessing: to share with a synthesizer; fitted on ``cohort`` unless given.
            pretrained: a task of the same network, whose weights this one begins with and whose preprocessing and
                window it keeps; its training subjects become this one's too.
            resume: go on with the run in ``out``.

        Raises:
            CohortError: if there is no annotated case with these channels, or the classes of ``synthetic`` are others.
            ConfigError: if ``pretrained`` has another network, other channels or other classes.
            OutputError: if ``out`` holds anything already and ``resume`` is off.
        """
        claim_run(out, resume=resume)
        cases = annotated_cases(cohort, channels)
        facts = fingerprint(cases, channels)
        cases = large_enough(cases, facts, config.min_lesion_voxels)
        if pretrained is not None:
            preprocessing, config = pretrained.continued(config, cases)
        preprocessing = preprocessing or Preprocessing.fit(facts, spatial_dims=config.spatial_dims)
        samples = cached_samples(cases, preprocessing)
        roi_size = config.roi_size or default_roi_size(samples, facts, config)
        config = config.model_copy(update={"roi_size": roi_size})
        training = training.or_batch_size(facts.batch_size(roi_size))
        sources = [Source(samples=samples, lesion_share=config.lesion_share)]
        parents = cases
        if isinstance(synthetic, Cohort):
            drawn = _synthetic_cases(synthetic, cohort, channels)
            parents = cases.with_cases((*cases, *drawn))
            before = {case.case_id: sample.label for case, sample in zip(cases, samples, strict=True)}
            synthetic = Source(
                samples=cached_samples(drawn, preprocessing),
                lesion_share=config.lesion_share,
                known=[before.get(case.source_case) for case in drawn],
            )
        if synthetic is not None:
            sources = [replace(sources[0], share=1 - share), replace(synthetic, share=share)]
        facts_of_run = training.model_dump(include={"steps", "batch_size", "seed", "precision"})
        info = describe("segmentation", config, preprocessing, parents, training=facts_of_run)
        with torch_seed(training.seed, "weights"):
            network = make_network(config, info)
        if pretrained is not None:
            network.load_state_dict(pretrained.network.state_dict())
            info = info.descending_from(pretrained.info)
        module = SegmentationModule(
            network, learning_rate=config.learning_rate, steps=training.steps, seed=training.seed
        )
        items = make_training_set(sources, config, preprocessing, seed=training.seed)
        steps = fit(module, items, out=out, config=training, resume=resume)
        info = info.model_copy(update={"training": {**info.training, "steps": steps}})
        task = cls(info=info, network=network.eval())
        save_model(out, info, dict(network.state_dict()))
        return task

    def continued(self, config: SegmentationConfig, cases: Cohort) -> tuple[Preprocessing, SegmentationConfig]:
        """Return the preprocessing and, with this task's window, the options with which training goes on.

        Raises:
            ConfigError: if the network, the channels or the classes are not this task's.
        """
        own = SegmentationConfig.model_validate(self.info.config)
        fixed = ("spatial_dims", "network", "filters", "res_units", "normalise")
        for name in fixed:
            if getattr(own, name) != getattr(config, name):
                what = f"is {getattr(config, name)}, but {getattr(own, name)} in the pretrained model"
                raise ConfigError(name, what, "take the pretrained model's")
        if self.info.preprocessing.channels != cases.channels or self.info.labels != dict(cases.labels):
            raise ConfigError(
                cases.name, "has other channels or lesion classes than the pretrained model", "match them"
            )
        return self.info.preprocessing, config.model_copy(update={"roi_size": own.roi_size})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a model folder.

        Raises:
            ModelError: if it is none, or one of another kind.
        """
        info = read_info(folder)
        if info.method != "segmentation":
            raise ModelError(folder, f"is a model of {info.method}", "name a model that `segment train` made")
        tensors = read_tensors(folder)
        with must_fit(folder):
            network = make_network(SegmentationConfig.model_validate(info.config), info)
            network.load_state_dict(tensors)
        return cls(info=info, network=network.eval())

    def predict(self, scan: Scan, *, device: Literal["auto", "cpu", "cuda"] = "auto") -> LabelArray:
        """Return the lesion classes on the scan's own grid.

        Args:
            scan: with exactly the model's channels; its label is not looked at.
            device: where to compute.
        """
        preprocessing = self.info.preprocessing
        sample = preprocessing.forward(scan)
        network = self.network.to(pick_device(device))
        config = SegmentationConfig.model_validate(self.info.config)
        with torch.inference_mode():
            image = sample.image
            if config.normalise == "tissue":
                image = sample.relative_to_tissue(image, preprocessing.output)
            background = background_of(config, preprocessing)
            if config.spatial_dims == 2:
                found = _slices(network, image, config, background)
            else:
                (found,) = _window(network, torch.from_numpy(image[None]), config, background)
        return preprocessing.geometry(scan).to_scan(found.astype(np.int16), label=True)

    def predict_case(self, case: Case, out: Path, *, device: Literal["auto", "cpu", "cuda"] = "auto") -> Path:
        """Write the prediction of a case as ``CASE.nii.gz`` or ``CASE.png``, unless it is there; return its path.

        Raises:
            CohortError: if the case cannot be read, or lacks a channel.
        """
        channels = self.info.preprocessing.channels
        ending = ".png" if any(path.name.endswith(".png") for path in case.images.values()) else ".nii.gz"
        path = out / f"{case.case_id}{ending}"
        if not path.is_file():
            scan = load_scan(case, channels)
            save_label(path, self.predict(scan, device=device), scan.affine)
        return path


def claim_predictions(out: Path, task: SegmentationTask) -> None:
    """See that ``out`` is new, or holds predictions of this very model, which then need not be made again.

    Raises:
        OutputError: if it holds anything else.
    """
    digest = hashlib.sha256()
    for _, tensor in sorted(task.network.state_dict().items()):
        digest.update(tensor.cpu().numpy().tobytes())
    record, model = out / "segmentation.json", {"model": digest.hexdigest()}
    if not record.is_file():
        claim_output(out)
        write_json(record, model)
    elif json.loads(record.read_text(encoding="utf-8")) != model:
        raise OutputError(out, "holds the predictions of another model", "name a new folder")


def annotated_cases(cohort: Cohort, channels: tuple[str, ...]) -> Cohort:
    """Return the cases whose lesions are known and that have every channel, with these channels alone.

    Raises:
        CohortError: if there is none.
    """
    cases = cohort.having(channels).annotated().with_channels(channels)
    if not len(cases):
        raise CohortError(cohort.name, f"has no annotated case with {', '.join(channels)}", "check the cohort")
    return cases


def large_enough(cases: Cohort, facts: Fingerprint, voxels: int) -> Cohort:
    """Return the lesion-free cases, and those whose lesions have at least so many voxels in all.

    Raises:
        CohortError: if none is left.
    """
    sizes = {case.case_id: case.lesion_volume / np.prod(case.spacing) for case in facts.cases}
    kept = [
        case
        for case in cases
        if case.annotation is not Annotation.LESION or round(sizes.get(case.case_id, voxels)) >= voxels
    ]
    if not kept:
        raise CohortError(cases.name, f"has no case with lesions of {voxels} voxels", "lower min_lesion_voxels")
    return cases.with_cases(kept)


def _synthetic_cases(synthetic: Cohort, real: Cohort, channels: tuple[str, ...]) -> Cohort:
    if dict(synthetic.labels) != dict(real.labels):
        raise CohortError(synthetic.name, f"its lesion classes are not those of {real.name}", "mix equal classes")
    return annotated_cases(synthetic, channels)


def make_network(config: SegmentationConfig, info: ModelInfo) -> nn.Module:
    """Return MONAI's U-Net with residual units and instance norm, or that of the stroke system."""
    if config.network == "stroke":
        return StrokeUNet(
            spatial_dims=config.spatial_dims,
            in_channels=len(info.preprocessing.channels),
            out_channels=len(info.classes) + 1,
            filters=config.filters,
            dropout=config.dropout,
        )
    return UNet(
        spatial_dims=config.spatial_dims,
        in_channels=len(info.preprocessing.channels),
        out_channels=len(info.classes) + 1,
        channels=config.filters,
        strides=[2] * (len(config.filters) - 1),
        num_res_units=config.res_units,
        dropout=config.dropout,
    )


def make_training_set(
    sources: Sequence[Source], config: SegmentationConfig, preprocessing: Preprocessing, *, seed: int
) -> TrainingSet:
    """Return the training items of ``sources``."""
    assert config.roi_size is not None
    background = background_of(config, preprocessing)
    augment: Compose | None = None
    if config.augment == "classical":
        augment = classical_augmentation(config.spatial_dims, background=background)
    return TrainingSet(
        sources,
        spatial_dims=config.spatial_dims,
        roi_size=config.roi_size,
        background=background,
        augment=augment,
        seed=seed,
        relative_to=preprocessing.output if config.normalise == "tissue" else None,
    )


def background_of(config: SegmentationConfig, preprocessing: Preprocessing) -> float:
    """Return the network's intensity of air."""
    return -1.0 if config.normalise == "tissue" else preprocessing.output[0]


def default_roi_size(samples: Sequence[Sample], facts: Any, config: SegmentationConfig) -> tuple[int, ...]:
    """Return whole slices (2D) or the fingerprint's crop (3D), as multiples of what the network needs."""
    divisor = config.divisor
    if config.spatial_dims == 3:
        return tuple(facts.roi_size(3, divisor=divisor))
    largest = np.max([sample.image.shape[1:3] for sample in samples], axis=0)
    return tuple(int(-(-n // divisor) * divisor) for n in largest)


def _slices(network: nn.Module, image: FloatArray, config: SegmentationConfig, background: float) -> Any:
    """Return the class index of every voxel, slice by slice."""
    volume = image if image.ndim == 4 else image[..., None]
    stack = torch.from_numpy(np.ascontiguousarray(np.moveaxis(volume, -1, 0)))
    found = [_window(network, slices, config, background) for slices in stack.split(SLICES_AT_ONCE)]
    together = np.moveaxis(np.concatenate(found), 0, -1)
    return together if image.ndim == 4 else together[..., 0]


def _window(network: nn.Module, images: Tensor, config: SegmentationConfig, background: float) -> Any:
    """Return the class index of every voxel of ``(batch, channel, x, y[, z])``.

    The window is as large as a training crop: instance norm makes of an image what it makes of its crops only if they
    are alike.
    """
    assert config.roi_size is not None
    device, at_once = next(network.parameters()).device, WINDOWS_AT_ONCE[config.spatial_dims]
    logits = sliding_window_inference(
        images.to(device), config.roi_size, at_once, network, overlap=0.5, mode="gaussian", cval=background
    )
    return torch.as_tensor(logits).argmax(1).cpu().numpy()
