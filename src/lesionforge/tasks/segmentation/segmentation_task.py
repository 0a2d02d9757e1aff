"""``SegmentationTask``: a network that segments lesions in slices or volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self, cast

import numpy as np
import torch
from lightning import LightningModule
from monai.transforms import Compose
from torch import nn

from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.layouts.labels import OnProblem, fail
from lesionforge.cohort.scan import FloatArray, LabelArray, Scan, load_scan, read_label, save_label
from lesionforge.files import one_at_a_time
from lesionforge.networks.segmentation.vgg_weights import load_vgg16
from lesionforge.preprocessing.pipeline import Preprocessing, Sample
from lesionforge.scores.predictions.case_scores import prediction_file, score_case
from lesionforge.scores.predictions.overlap import dice
from lesionforge.scores.predictions.prediction_scores import EMPTY_MASK_RULE, HIT_RULE, PREDICTION_SCORES
from lesionforge.tasks.network_task import NetworkTask
from lesionforge.tasks.segmentation.learning_curve import DiceCurve
from lesionforge.tasks.segmentation.segmentation_config import Augment, SegmentationConfig, background_of, make_network
from lesionforge.tasks.segmentation.segmentation_module import SegmentationModule
from lesionforge.tasks.segmentation.training_cases import augmentation, check_mirroring, large_enough, make_training_set
from lesionforge.tasks.segmentation.windows import segment_slices, segment_windows
from lesionforge.tasks.training_data import annotated_cases, check_share, task_data
from lesionforge.training.fitting import Recipe, given_or_fitted, train
from lesionforge.training.items.samples import measured_cases, training_size
from lesionforge.training.items.source import Source
from lesionforge.training.loop import TrainingConfig, claim_run
from lesionforge.training.model_folder import ModelInfo, describe, save_model


@dataclass(frozen=True, kw_only=True)
class SegmentationTask(NetworkTask):
    """A trained segmentation network with its options and preprocessing.

    Attributes:
        info: training cases, options and preprocessing of this model.
        network: maps ``(batch, channel, x, y[, z])`` to logits.
    """

    method: ClassVar[str] = "segmentation"
    watched_score: ClassVar[str] = "dice"
    Config: ClassVar[type[SegmentationConfig]] = SegmentationConfig
    command: ClassVar[str] = "segment"
    fixed: ClassVar[tuple[str, ...]] = (
        "spatial_dims",
        "network",
        "filters",
        "strides",
        "width",
        "res_units",
        "normalise",
    )

    @classmethod
    @one_at_a_time
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
        watched: Mapping[str, Cohort] | None = None,
        watch_every: int = 100,
        resume: bool = False,
        on_problem: OnProblem = fail,
    ) -> Self:
        """Train on the annotated cases of ``cohort`` and return the task with the weights of the last step.

        Args:
            cohort: training cases; the preprocessing is fitted on them.
            channels: image channels to use.
            config: network and augmentation.
            training: number of steps, batch size, seed and device.
            out: the model folder.
            synthetic: synthetic cases to mix in, whose parents are added to the training subjects; or a source that
                draws lesions into the cohort's own samples on the fly.
            share: share of every batch that is synthetic; 1 trains on synthetic cases only.
            preprocessing: preprocessing to share with a synthesizer; fitted on ``cohort`` unless given.
            pretrained: a task with the same network. Training starts from its weights and keeps its preprocessing and
                window size; its training subjects are added to those of the new model.
            watched: name → cases whose mean Dice is logged during training, without effect on the weights; see
                :class:`~lesionforge.tasks.segmentation.learning_curve.DiceCurve`.
            watch_every: steps between two such scorings.
            resume: continue the run in ``out``.
            on_problem: called with the error of each unreadable case, which is left out; raises the error unless given.

        Raises:
            CohortError: if there is no annotated case with these channels, or ``synthetic`` has other lesion classes.
            ConfigError: if ``share`` is not between 0 and 1, classes with a side would be mirrored, or ``pretrained``
                has another network, other channels or other classes.
            ModelError: if the weights file does not fit the network.
            OutputError: if ``out`` is not empty and ``resume`` is off.
        """
        check_share(share)
        check_mirroring(cohort.labels, config)
        claim_run(out, resume=resume)
        cases, facts = measured_cases(annotated_cases(cohort, channels), channels, on_problem=on_problem)
        cases = large_enough(cases, facts, config.min_lesion_voxels)
        if pretrained is not None:
            preprocessing, config = pretrained.continued(config, cases)
        dims, intensity = config.spatial_dims, config.intensity
        preprocessing = given_or_fitted(preprocessing, facts, spatial_dims=dims, intensity=intensity)
        data = task_data(
            cases,
            facts,
            preprocessing,
            real=cohort,
            synthetic=synthetic,
            share=share,
            lesion_share=config.lesion_share,
            on_problem=on_problem,
        )
        roi_size = training_size(facts, data.own.samples, config)
        config = config.model_copy(update={"roi_size": roi_size})
        training = training.or_batch_size(facts.batch_size(roi_size))
        about = training.model_dump(include={"steps", "batch_size", "seed", "precision"})
        about |= data.about(pretrained.digest if pretrained else None)
        info = describe(cls.method, config, preprocessing, data.parents, training=about)
        network = cls.first_network(config, info, training.seed, pretrained)
        if pretrained is not None:
            info = info.descending_from(pretrained.info)
        curves: tuple[DiceCurve, ...] = ()
        if watched:
            predict = cls(info=info, network=network).predict
            curves = (DiceCurve(network, predict, watched, every=watch_every, steps=training.steps),)
        recipe = Recipe(
            module=cls.module(network, config, info, training),
            items=make_training_set(data.sources, config, preprocessing, seed=training.seed),
            callbacks=curves,
        )
        info = train(recipe, info, training=training, out=out, resume=resume)
        save_model(out, info, dict(network.state_dict()))
        return cls(info=info, network=network.eval())

    @classmethod
    def module(
        cls, network: nn.Module, config: SegmentationConfig, info: ModelInfo, training: TrainingConfig
    ) -> LightningModule:
        """Return the Lightning module that trains ``network`` in place."""
        rate, steps = config.learning_rate, training.steps
        return SegmentationModule(network, learning_rate=rate, steps=steps, seed=training.seed)

    @classmethod
    def make_network(cls, config: SegmentationConfig, info: ModelInfo) -> nn.Module:
        """Return the network that the options define; see :func:`make_network`."""
        return make_network(config, info)

    @classmethod
    def first_network(
        cls, config: SegmentationConfig, info: ModelInfo, seed: int, pretrained: SegmentationTask | None
    ) -> nn.Module:
        """Return the network before the first training step, with VGG-16's weights if the options name a file.

        Raises:
            ModelError: if the weights file does not fit it.
        """
        network = super().first_network(config, info, seed, pretrained)
        if pretrained is None and config.weights is not None:
            load_vgg16(network, config.weights)
        return network

    @classmethod
    def prediction_path(cls, out: Path, case: Case) -> Path:
        """Return ``out/CASE.nii.gz`` or ``out/CASE.png``."""
        return out / f"{case.case_id}{case.file_ending}"

    def predict(self, scan: Scan, *, image: FloatArray | None = None) -> LabelArray:
        """Return the predicted lesion classes on the scan's own voxel grid.

        The prediction runs on the network's device. On a CPU it uses all threads; their number can change the last bit
        of a logit, and so the class of a voxel with two equally likely classes.

        Args:
            scan: scan with exactly the model's channels; its label is ignored.
            image: ``(channel, x, y[, z])`` to segment in place of the scan's own image, such as the scan with its
                lesion removed. It must have the scan's units and intensity scale.
        """
        preprocessing = self.info.preprocessing
        sample = preprocessing.forward(scan, image=image)
        config = self.Config.model_validate(self.info.config)
        with torch.inference_mode():
            image = self.seen(config, sample, preprocessing)
            background = background_of(config, preprocessing)
            if config.spatial_dims == 2:
                found = segment_slices(self.network, image, config, background)
            else:
                (found,) = segment_windows(self.network, torch.from_numpy(image[None]), config, background)
        return preprocessing.geometry(scan).to_scan(found.astype(np.int16), label=True)

    def score_case(
        self, prediction: Path, scan: Scan, labels: Mapping[str, int], *, in_plane: bool = False
    ) -> dict[str, float | str]:
        """Return Dice, HD95, lesion-wise scores and lesion sizes; see :meth:`Task.score_case`."""
        assert scan.label is not None
        found, _ = read_label(prediction)
        return {**score_case(found, scan.label, scan.spacing, labels, in_plane=in_plane)}

    @classmethod
    def score_names(cls, spatial_dims: int, labels: Mapping[str, int]) -> tuple[str, ...]:
        """Return the names of the scores; see :meth:`Task.score_names`."""
        nothing = np.zeros((1,) * spatial_dims, np.int16)
        return tuple(score_case(nothing, nothing, (1.0,) * spatial_dims, labels))

    @classmethod
    def scoring_rules(cls, config: SegmentationConfig, *, in_plane: bool) -> dict[str, str]:
        """Return the rules for empty masks, lesions and distances."""
        grid = "in 3D" if config.spatial_dims == 3 else "on the scan's grid"
        distances = "within slices" if in_plane else grid
        return {"Empty masks": EMPTY_MASK_RULE, "Lesions": HIT_RULE, "HD95": distances}

    @classmethod
    def shown(cls, folder: Path, scan: Scan) -> tuple[LabelArray, str]:
        """Return the predicted classes, and the Dice of all classes together as a caption; see :meth:`Task.shown`."""
        assert scan.label is not None
        found, _ = read_label(prediction_file(folder, scan.case.case_id))
        score = PREDICTION_SCORES["dice"]
        return found, f"{score.title} {dice(found > 0, scan.label > 0) * score.factor:.1f}"

    @classmethod
    def describe(cls, config: SegmentationConfig) -> str:
        """Return the type of the network and its widths."""
        if config.network == "fcn8s":
            begun = ", encoder weights read from a file" if config.weights else ""
            return f"FCN-8s at {config.width:g} of the published width{begun}"
        return f"{config.spatial_dims}D U-Net, widths {', '.join(map(str, config.filters))}"

    @classmethod
    def seen(cls, config: SegmentationConfig, sample: Sample, preprocessing: Preprocessing) -> FloatArray:
        """Return the image, relative to its tissue if ``normalise`` is ``tissue``."""
        if config.normalise == "tissue":
            return sample.relative_to_tissue(sample.image, preprocessing.output)
        return sample.image

    @classmethod
    def augmentation(
        cls,
        config: SegmentationConfig,
        kind: str,
        preprocessing: Preprocessing,
        spacing: Sequence[float],
        *,
        spatial_dims: int,
    ) -> Compose | None:
        """Return the augmentation of the training items; see :func:`augmentation`."""
        background = background_of(config, preprocessing)
        return augmentation(cast("Augment", kind), spatial_dims, background=background, spacing=spacing)

    def predict_case(self, case: Case, out: Path) -> Path:
        """Write the prediction of a case as ``CASE.nii.gz`` or ``CASE.png``, unless it exists, and return its path.

        Raises:
            CohortError: if the case cannot be read or lacks a channel.
        """
        channels = self.info.preprocessing.channels
        path = self.prediction_path(out, case)
        if not path.is_file():
            scan = load_scan(case, channels)
            save_label(path, self.predict(scan), scan.file)
        return path
