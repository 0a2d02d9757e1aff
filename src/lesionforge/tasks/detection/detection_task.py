"""``DetectionTask``: finds the places of small lesions, each with a confidence.

Source: Faryna et al. 2021 (arXiv 2101.06468), section 2.3: candidates by the fast radial symmetry transform, then a
convolutional network that classifies a patch around each. The network and its training are not published; those here
are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from matplotlib.figure import Figure
from monai.transforms import Compose
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import Dataset

from lesionforge.augmentation.patches import patch_augmentation
from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.scan import FloatArray, LabelArray, Scan, load_scan, save_label
from lesionforge.errors import ConfigError, choose_from
from lesionforge.preprocessing.pipeline import Preprocessing, Sample
from lesionforge.scores.curve import Curve
from lesionforge.scores.detections.case_detections import score_detections, scores_by_tolerance
from lesionforge.scores.detections.detection_file import detection_map, read_detections, write_detections
from lesionforge.scores.detections.detection_scores import DETECTION_SCORES, FROC_CURVE, HIT_RULE
from lesionforge.scores.detections.hits import TOLERANCES_MM, find_hits
from lesionforge.tasks.detection.candidates import find_candidates
from lesionforge.tasks.detection.detection_config import DetectionConfig, make_classifier
from lesionforge.tasks.detection.detection_module import DetectionModule
from lesionforge.tasks.detection.patches import PatchSet, cut_patch
from lesionforge.tasks.detection.training_candidates import about_candidates, candidates_of
from lesionforge.tasks.detection.training_picture import training_picture
from lesionforge.tasks.network_task import NetworkTask
from lesionforge.tasks.training_data import TaskData
from lesionforge.training.inference import in_sub_batches
from lesionforge.training.loop import TrainingConfig
from lesionforge.training.model_folder import ModelInfo

CERTAIN, SHOWN_MM = 0.5, 2.5
"""Confidence from which a detection is shown in pictures and label maps, and the radius of its ball."""


@dataclass(frozen=True, kw_only=True)
class DetectionTask(NetworkTask):
    """Trained detection of small lesions: thresholds for candidates, and their classifier.

    Attributes:
        info: training cases, options and preprocessing of this model.
        network: maps ``(batch, channel, *roi_size)`` to ``(batch, 1)`` logits of showing a lesion.
    """

    method: ClassVar[str] = "detection"
    watched_score: ClassVar[str] = "froc_sensitivity"
    Config: ClassVar[type[DetectionConfig]] = DetectionConfig
    curves: ClassVar[tuple[Curve, ...]] = (FROC_CURVE,)
    command: ClassVar[str] = "detect"
    prepares: ClassVar[str] = "candidates"
    scoring: ClassVar[tuple[str, ...]] = ("tolerance_mm",)
    fixed: ClassVar[tuple[str, ...]] = ("spatial_dims", "filters", "patch_mm", "channel")

    @classmethod
    def check_options(cls, config: DetectionConfig, cohort: Cohort, channels: tuple[str, ...]) -> None:
        """Check that the channel of the candidates exists.

        Raises:
            ConfigError: if it does not.
        """
        if config.channel is not None and config.channel not in channels:
            raise ConfigError("channel", f"{config.channel!r} is not among the channels", choose_from(channels))

    @classmethod
    def sized(cls, config: DetectionConfig, data: TaskData) -> DetectionConfig:
        """Return the options with the size of a patch."""
        return config.model_copy(update={"roi_size": config.patch_size(data.own.samples[0].spacing)})

    @classmethod
    def prepare(cls, sample: Sample, preprocessing: Preprocessing, config: DetectionConfig) -> None:
        """Find the candidates of a scan; see :meth:`Task.prepare`."""
        find_candidates(sample, preprocessing, config)

    @classmethod
    def training_items(
        cls, data: TaskData, config: DetectionConfig, seed: int
    ) -> tuple[DetectionConfig, PatchSet, dict[str, Any]]:
        """Return the options with the threshold for candidates, their patches, and ``candidates.json``.

        That file says how many candidates there are, and how many of the lesions are among them.

        Raises:
            CohortError: if no training case has a lesion.
        """
        config, found = candidates_of(data, config)
        items = PatchSet(
            data.sources,
            found,
            roi_size=config.patch_size(()),
            augment=patch_augmentation(config.spatial_dims) if config.augment == "classical" else None,
            output=data.preprocessing.output,
            seed=seed,
            fade=data.fade,
        )
        return config, items, {"candidates.json": about_candidates(config, found)}

    @classmethod
    def module(
        cls, network: nn.Module, config: DetectionConfig, info: ModelInfo, training: TrainingConfig
    ) -> DetectionModule:
        """Return the Lightning module that trains the classifier."""
        rate, steps = config.learning_rate, training.steps
        return DetectionModule(network, learning_rate=rate, steps=steps, seed=training.seed)

    @classmethod
    def picture(cls, network: nn.Module, items: Dataset[Any]) -> Figure:
        """Return a figure of training items; see :func:`training_picture`."""
        return training_picture(network, items)

    @classmethod
    def make_network(cls, config: DetectionConfig, info: ModelInfo) -> nn.Module:
        """Return the untrained classifier of candidates."""
        return make_classifier(config, info)

    @classmethod
    def prediction_path(cls, out: Path, case: Case) -> Path:
        """Return ``out/CASE.csv``."""
        return out / f"{case.case_id}.csv"

    def predict(self, scan: Scan) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return all candidates of a scan with their confidences.

        Args:
            scan: scan with exactly the model's channels; its label is ignored.

        Returns:
            The ``(n, dimensions)`` positions in voxels of the scan, and the ``(n,)`` confidences, 0 to 1.
        """
        config = self.Config.model_validate(self.info.config)
        assert config.least_response is not None
        preprocessing = self.info.preprocessing
        sample = preprocessing.forward(replace(scan, label=None))
        candidates = find_candidates(sample, preprocessing, config)
        candidates = candidates.at_least(config.least_response, at_most=config.max_candidates)
        if not len(candidates.places):
            return np.empty((0, scan.spatial_dims)), np.empty(0)
        size, output = config.patch_size(()), preprocessing.output
        patches = np.stack([cut_patch(sample, place, size, output) for place in candidates.places])
        logits = in_sub_batches(self.network, patches)[:, 0].astype(np.float64)
        places = preprocessing.geometry(scan).points_to_scan(candidates.places.astype(np.float64))
        return places, 1 / (1 + np.exp(-logits))

    def predict_case(self, case: Case, out: Path) -> Path:
        """Write the detections of a case as ``CASE.csv``, unless it exists, and return its path.

        Raises:
            CohortError: if the case cannot be read or lacks a channel.
        """
        path = self.prediction_path(out, case)
        if not path.is_file():
            scan = load_scan(case, self.info.preprocessing.channels)
            write_detections(path, *self.predict(scan), scan)
        return path

    def show_case(self, case: Case, out: Path) -> None:
        """Write ``maps/CASE.nii.gz`` or ``.png``, a ball around each certain detection, unless it exists."""
        path = out / "maps" / f"{case.case_id}{case.file_ending}"
        if not path.is_file():
            scan = load_scan(case, self.info.preprocessing.channels)
            save_label(path, _map_of(self.prediction_path(out, case), scan), scan.file)

    def score_case(
        self, prediction: Path, scan: Scan, labels: Mapping[str, int], *, in_plane: bool = False
    ) -> dict[str, float | str]:
        """Return the scores of a case, and what the FROC curve is made of; see :meth:`Task.score_case`."""
        config = self.Config.model_validate(self.info.config)
        return score_detections(prediction, scan, tolerance_mm=config.tolerance_mm)

    @classmethod
    def score_names(cls, spatial_dims: int, labels: Mapping[str, int]) -> tuple[str, ...]:
        """Return the names of the scores; see :meth:`Task.score_names`."""
        return tuple(DETECTION_SCORES)

    @classmethod
    def scoring_rules(cls, config: DetectionConfig, *, in_plane: bool) -> dict[str, str]:
        """Return the rule for hits."""
        return {"Hits": HIT_RULE.format(tolerance_mm=config.tolerance_mm)}

    @classmethod
    def scores_by_rule(cls, folder: Path, scan: Scan) -> dict[str, dict[str, float | str]]:
        """Return tolerance → the scores of a case with it; see :meth:`Task.scores_by_rule`."""
        scores = scores_by_tolerance(cls.prediction_path(folder, scan.case), scan, TOLERANCES_MM)
        return {f"{mm:g} mm": of_case for mm, of_case in scores.items()}

    @classmethod
    def shown(cls, config: DetectionConfig, folder: Path, scan: Scan) -> tuple[LabelArray, str]:
        """Return balls around the certain detections, and how many of them are hits and false positives."""
        assert scan.label is not None
        file = folder / f"{scan.case.case_id}.csv"
        places, confidences = read_detections(file, scan)
        certain = confidences >= CERTAIN
        truth, tolerance_mm = scan.label > 0, config.tolerance_mm
        hits = find_hits(places[certain], confidences[certain], truth, scan.spacing, tolerance_mm=tolerance_mm)
        found = _map_of(file, scan)
        n_hit = int(np.isfinite(hits.of_lesions).sum())
        return found, f"{n_hit} of {len(hits.of_lesions)} lesions, {len(hits.false)} false"

    @classmethod
    def describe(cls, config: DetectionConfig) -> str:
        """Return the stages, and the widths of the classifier."""
        widths = ", ".join(map(str, config.filters))
        radii = ", ".join(f"{radius:g}" for radius in config.radii_mm)
        dims = f"{config.spatial_dims}D"
        return f"{dims} radial symmetry of radii {radii} mm, then a {dims} classifier of patches, widths {widths}"

    @classmethod
    def seen(cls, config: DetectionConfig, sample: Sample, preprocessing: Preprocessing) -> FloatArray:
        """Return the image relative to its tissue."""
        return sample.relative_to_tissue(sample.image, preprocessing.output)

    @classmethod
    def augmentation(
        cls,
        config: DetectionConfig,
        kind: str,
        preprocessing: Preprocessing,
        spacing: Sequence[float],
        *,
        spatial_dims: int,
    ) -> Compose | None:
        """Return the augmentation of the patches; see :func:`patch_augmentation`."""
        return patch_augmentation(spatial_dims) if kind == "classical" else None


def _map_of(file: Path, scan: Scan) -> LabelArray:
    """Return a label map with a ball around each certain detection."""
    places, confidences = read_detections(file, scan)
    certain = places[confidences >= CERTAIN]
    return detection_map(certain, scan.spatial_shape, scan.spacing, radius_mm=max(SHOWN_MM, *scan.spacing))
