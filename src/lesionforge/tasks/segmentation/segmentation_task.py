"""``SegmentationTask``: a network that segments lesions in slices or volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from lightning import LightningModule
from lightning.pytorch.callbacks import Callback
from matplotlib.figure import Figure
from monai.transforms import Compose
from torch import nn
from torch.utils.data import Dataset

from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.inspection.fingerprint import Fingerprint
from lesionforge.cohort.scan import FloatArray, LabelArray, Scan, load_scan, read_label, save_label
from lesionforge.networks.segmentation.vgg_weights import load_vgg16
from lesionforge.preprocessing.pipeline import Preprocessing, Sample
from lesionforge.scores.predictions.case_scores import prediction_file, score_case
from lesionforge.scores.predictions.overlap import dice
from lesionforge.scores.predictions.prediction_scores import EMPTY_MASK_RULE, HIT_RULE, PREDICTION_SCORES
from lesionforge.tasks.network_task import NetworkTask
from lesionforge.tasks.segmentation.learning_curve import DiceCurve
from lesionforge.tasks.segmentation.new_lesions import ITEMS, count_new_lesions
from lesionforge.tasks.segmentation.segmentation_config import Augment, SegmentationConfig, background_of, make_network
from lesionforge.tasks.segmentation.segmentation_module import SegmentationModule
from lesionforge.tasks.segmentation.training_cases import augmentation, check_mirroring, large_enough, make_training_set
from lesionforge.tasks.segmentation.training_picture import training_picture
from lesionforge.tasks.segmentation.training_set import TrainingSet
from lesionforge.tasks.segmentation.windows import segment_slices, segment_windows
from lesionforge.tasks.training_data import TaskData
from lesionforge.training.items.samples import training_size
from lesionforge.training.loop import TrainingConfig
from lesionforge.training.model_folder import ModelInfo


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
    watches: ClassVar[bool] = True
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
    def check_options(cls, config: SegmentationConfig, cohort: Cohort, channels: tuple[str, ...]) -> None:
        """Check that no class that has a side is mirrored; see :func:`check_mirroring`."""
        check_mirroring(cohort.labels, config)

    @classmethod
    def usable(cls, cases: Cohort, facts: Fingerprint, config: SegmentationConfig) -> Cohort:
        """Return the lesion-free cases and those with lesions that are large enough; see :func:`large_enough`."""
        return large_enough(cases, facts, config.min_lesion_voxels)

    @classmethod
    def sized(cls, config: SegmentationConfig, data: TaskData) -> SegmentationConfig:
        """Return the options with the size of training items; see :func:`training_size`."""
        return config.model_copy(update={"roi_size": training_size(data.facts, data.own.samples, config)})

    @classmethod
    def training_items(
        cls, data: TaskData, config: SegmentationConfig, seed: int
    ) -> tuple[SegmentationConfig, TrainingSet, dict[str, Any]]:
        """Return the options, the items and, if some are synthetic, their :func:`count_new_lesions`."""
        items = make_training_set(data.sources, config, data.preprocessing, seed=seed, fade=data.fade)
        return config, items, {} if data.synthetic is None else {ITEMS: count_new_lesions(items, data.items)}

    def watching(self, watched: Mapping[str, Cohort], *, every: int, training: TrainingConfig) -> tuple[Callback, ...]:
        """Return the curve of the mean Dice of ``watched``; see :class:`DiceCurve`."""
        return (DiceCurve(self.network, self.predict, watched, every=every, training=training),) if watched else ()

    @classmethod
    def module(
        cls, network: nn.Module, config: SegmentationConfig, info: ModelInfo, training: TrainingConfig
    ) -> LightningModule:
        """Return the Lightning module that trains ``network`` in place."""
        rate, steps = config.learning_rate, training.steps
        return SegmentationModule(network, learning_rate=rate, steps=steps, seed=training.seed)

    @classmethod
    def picture(cls, network: nn.Module, items: Dataset[Any]) -> Figure:
        """Return a figure of training items; see :func:`training_picture`."""
        return training_picture(network, items)

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
    def shown(cls, config: SegmentationConfig, folder: Path, scan: Scan) -> tuple[LabelArray, str]:
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
