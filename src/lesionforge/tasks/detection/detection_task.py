"""``DetectionTask``: finds the places of small lesions, each with a confidence.

Source: Faryna et al. 2021 (arXiv 2101.06468), section 2.3: candidates by the fast radial symmetry transform, then a
convolutional network that classifies a patch around each. The network and its training are not published; those here
are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from monai.transforms import Compose
from numpy.typing import NDArray
from torch import nn

from lesionforge.augmentation.patches import patch_augmentation
from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.layouts.labels import OnProblem, fail
from lesionforge.cohort.scan import FloatArray, LabelArray, Scan, load_scan, save_label
from lesionforge.errors import ConfigError, choose_from
from lesionforge.files import one_at_a_time, write_json
from lesionforge.preprocessing.pipeline import Preprocessing, Sample
from lesionforge.scores.curve import Curve
from lesionforge.scores.detections.case_detections import score_detections
from lesionforge.scores.detections.detection_file import detection_map, read_detections, write_detections
from lesionforge.scores.detections.detection_scores import DETECTION_SCORES, FROC_CURVE, HIT_RULE
from lesionforge.scores.detections.hits import find_hits
from lesionforge.tasks.detection.candidates import find_candidates
from lesionforge.tasks.detection.detection_config import DetectionConfig, make_classifier
from lesionforge.tasks.detection.detection_module import DetectionModule
from lesionforge.tasks.detection.patches import PatchSet, cut_patch
from lesionforge.tasks.detection.training_candidates import about_candidates, candidates_of
from lesionforge.tasks.network_task import NetworkTask
from lesionforge.tasks.training_data import annotated_cases, check_share, task_data
from lesionforge.training.fitting import Recipe, given_or_fitted, train
from lesionforge.training.inference import in_sub_batches
from lesionforge.training.items.samples import measured_cases
from lesionforge.training.items.source import Source
from lesionforge.training.loop import TrainingConfig, claim_run
from lesionforge.training.model_folder import ModelInfo, describe, save_model

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
    fixed: ClassVar[tuple[str, ...]] = ("spatial_dims", "filters", "patch_mm", "channel")

    @classmethod
    @one_at_a_time
    def fit(
        cls,
        cohort: Cohort,
        *,
        channels: tuple[str, ...],
        config: DetectionConfig,
        training: TrainingConfig,
        out: Path,
        synthetic: Cohort | Source | None = None,
        share: float = 0.5,
        preprocessing: Preprocessing | None = None,
        pretrained: Self | None = None,
        watched: Mapping[str, Cohort] | None = None,
        watch_every: int = 100,
        resume: bool = False,
        on_problem: OnProblem = fail,
    ) -> Self:
        """Choose the threshold for candidates and train their classifier; see :meth:`Task.fit`.

        ``candidates.json`` in ``out`` says how many candidates there are, and how many of the lesions are among them.
        ``watched`` has no effect: a FROC curve of whole cohorts during training takes longer than training.

        Raises:
            CohortError: if no training case has a lesion, or ``synthetic`` has other lesion classes.
            ConfigError: if ``share`` is not between 0 and 1, the channel of the candidates does not exist, or
                ``pretrained`` has another network, other channels or other classes.
            OutputError: if ``out`` is not empty and ``resume`` is off.
        """
        check_share(share)
        if config.channel is not None and config.channel not in channels:
            raise ConfigError("channel", f"{config.channel!r} is not among the channels", choose_from(channels))
        claim_run(out, resume=resume)
        cases, facts = measured_cases(annotated_cases(cohort, channels), channels, on_problem=on_problem)
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
        config = config.model_copy(update={"roi_size": config.patch_size(data.own.samples[0].spacing)})
        config, found = candidates_of(data, config)
        training = training.or_batch_size(facts.batch_size(config.patch_size(())))
        about = training.model_dump(include={"steps", "batch_size", "seed", "precision"})
        about |= data.about(pretrained.digest if pretrained else None)
        info = describe(cls.method, config, preprocessing, data.parents, training=about)
        network = cls.first_network(config, info, training.seed, pretrained)
        if pretrained is not None:
            info = info.descending_from(pretrained.info)
        rate, steps = config.learning_rate, training.steps
        recipe = Recipe(
            module=DetectionModule(network, learning_rate=rate, steps=steps, seed=training.seed),
            items=PatchSet(
                data.sources,
                found,
                roi_size=config.patch_size(()),
                augment=patch_augmentation(dims) if config.augment == "classical" else None,
                output=preprocessing.output,
                seed=training.seed,
            ),
        )
        info = train(recipe, info, training=training, out=out, resume=resume)
        write_json(out / "candidates.json", about_candidates(config, found))
        save_model(out, info, dict(network.state_dict()))
        return cls(info=info, network=network.eval())

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
    def shown(cls, folder: Path, scan: Scan) -> tuple[LabelArray, str]:
        """Return balls around the certain detections, and how many of them are hits and false positives."""
        assert scan.label is not None
        file = folder / f"{scan.case.case_id}.csv"
        places, confidences = read_detections(file, scan)
        certain = confidences >= CERTAIN
        hits = find_hits(places[certain], confidences[certain], scan.label > 0, scan.spacing)
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
