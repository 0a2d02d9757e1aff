"""``SegmentationTask``: a network that segments lesions in slices or volumes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from monai.transforms import Compose
from torch import nn

from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.digest import digest_of
from lesionforge.cohort.layouts.labels import OnProblem, fail
from lesionforge.cohort.scan import FloatArray, LabelArray, Scan, load_scan, read_label, save_label
from lesionforge.errors import CohortError, ConfigError, ModelError, OutputError
from lesionforge.files import claim_output, clear_leftovers, one_at_a_time, write_json
from lesionforge.networks.segmentation.vgg_weights import load_vgg16
from lesionforge.preprocessing.pipeline import Preprocessing, Sample
from lesionforge.reading import read_json
from lesionforge.scores.predictions.case_scores import prediction_file, score_case
from lesionforge.scores.predictions.overlap import dice
from lesionforge.scores.predictions.prediction_scores import EMPTY_MASK_RULE, HIT_RULE, PREDICTION_SCORES
from lesionforge.tasks.base import Task
from lesionforge.tasks.segmentation.learning_curve import DiceCurve
from lesionforge.tasks.segmentation.segmentation_config import Augment, SegmentationConfig, background_of, make_network
from lesionforge.tasks.segmentation.segmentation_module import SegmentationModule
from lesionforge.tasks.segmentation.training_cases import (
    annotated_cases,
    augmentation,
    known_before,
    large_enough,
    make_training_set,
    mixed,
    synthetic_cases,
)
from lesionforge.tasks.segmentation.training_set import Source
from lesionforge.tasks.segmentation.windows import segment_slices, segment_windows
from lesionforge.training.fitting import Recipe, given_or_fitted, train
from lesionforge.training.items.samples import cached_samples, measured_cases, training_size
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
from lesionforge.training.rng import torch_seed


@dataclass(frozen=True, kw_only=True)
class SegmentationTask(Task):
    """A trained segmentation network with its options and preprocessing.

    Attributes:
        info: training cases, options and preprocessing of this model.
        network: maps ``(batch, channel, x, y[, z])`` to logits.
    """

    method: ClassVar[str] = "segmentation"
    watched_score: ClassVar[str] = "dice"
    Config: ClassVar[type[SegmentationConfig]] = SegmentationConfig
    info: ModelInfo
    network: nn.Module

    @classmethod
    def cases(cls, cohort: Cohort, channels: tuple[str, ...]) -> Cohort:
        """Return the cases with lesion masks and the lesion-free cases; see :meth:`Task.cases`."""
        return annotated_cases(cohort, channels)

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
            ConfigError: if ``share`` is not between 0 and 1, or ``pretrained`` has another network, other channels or
                other classes.
            ModelError: if the weights file does not fit the network.
            OutputError: if ``out`` is not empty and ``resume`` is off.
        """
        if not 0 <= share <= 1:
            raise ConfigError("`share`", f"{share} is out of range", "give a number from 0 to 1")
        claim_run(out, resume=resume)
        cases, facts = measured_cases(annotated_cases(cohort, channels), channels, on_problem=on_problem)
        cases = large_enough(cases, facts, config.min_lesion_voxels)
        if pretrained is not None:
            preprocessing, config = pretrained.continued(config, cases)
        preprocessing = given_or_fitted(
            preprocessing, facts, spatial_dims=config.spatial_dims, intensity=config.intensity
        )
        samples = cached_samples(cases, preprocessing)
        roi_size = training_size(facts, samples, config)
        config = config.model_copy(update={"roi_size": roi_size})
        training = training.or_batch_size(facts.batch_size(roi_size))
        own, parents = Source(samples=samples, lesion_share=config.lesion_share), cases
        if isinstance(synthetic, Cohort):
            drawn, _ = measured_cases(synthetic_cases(synthetic, cohort, channels), channels, on_problem=on_problem)
            parents = cases.with_cases((*cases, *drawn))
            known = known_before(drawn, cases, samples)
            synthetic = replace(own, samples=cached_samples(drawn, preprocessing), known=known)
        facts_of_run = training.model_dump(include={"steps", "batch_size", "seed", "precision"})
        if synthetic is not None:
            facts_of_run["share"] = share
        if pretrained is not None:
            facts_of_run["pretrained"] = pretrained.digest
        info = describe(cls.method, config, preprocessing, parents, training=facts_of_run)
        network = _first_network(config, info, training.seed, pretrained)
        if pretrained is not None:
            info = info.descending_from(pretrained.info)
        curves: tuple[DiceCurve, ...] = ()
        if watched:
            predict = cls(info=info, network=network).predict
            curves = (DiceCurve(network, predict, watched, every=watch_every, steps=training.steps),)
        recipe = Recipe(
            module=SegmentationModule(
                network, learning_rate=config.learning_rate, steps=training.steps, seed=training.seed
            ),
            items=make_training_set(mixed(own, synthetic, share), config, preprocessing, seed=training.seed),
            callbacks=curves,
        )
        info = train(recipe, info, training=training, out=out, resume=resume)
        save_model(out, info, dict(network.state_dict()))
        return cls(info=info, network=network.eval())

    def continued(self, config: SegmentationConfig, cases: Cohort) -> tuple[Preprocessing, SegmentationConfig]:
        """Return this task's preprocessing, and ``config`` with its window size, for further training.

        Raises:
            ConfigError: if ``config`` or ``cases`` have another network, other channels or other classes than this
                task.
        """
        own = SegmentationConfig.model_validate(self.info.config)
        fixed = ("spatial_dims", "network", "filters", "width", "res_units", "normalise")
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
    def load(cls, folder: Path, *, device: Device = "cpu") -> Self:
        """Read a model folder.

        Args:
            folder: the model folder.
            device: device for prediction.

        Raises:
            ModelError: if ``folder`` is not a model folder of a segmentation task.
        """
        info = read_info(folder)
        if info.method != cls.method:
            raise ModelError(folder, f"is a model of {info.method}", "name a model that `segment train` made")
        tensors = read_tensors(folder)
        with must_fit(folder):
            network = make_network(SegmentationConfig.model_validate(info.config), info)
            network.load_state_dict(tensors)
        return cls(info=info, network=network.eval()).to(pick_device(device))

    def to(self, device: str) -> Self:
        """Move the network to ``device``."""
        self.network.to(device)
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of the weights."""
        return digest_of_tensors(self.network.state_dict())

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
        config = SegmentationConfig.model_validate(self.info.config)
        with torch.inference_mode():
            image = self.seen(config, sample, preprocessing)
            background = background_of(config, preprocessing)
            if config.spatial_dims == 2:
                found = segment_slices(self.network, image, config, background)
            else:
                (found,) = segment_windows(self.network, torch.from_numpy(image[None]), config, background)
        return preprocessing.geometry(scan).to_scan(found.astype(np.int16), label=True)

    @one_at_a_time
    def predict_cohort(
        self, cohort: Cohort, *, out: Path, progress: Callable[[int, int], None] = lambda done, total: None
    ) -> list[CohortError]:
        """Write the missing predictions of all cases into ``out`` and return the errors.

        Args:
            cohort: cases with the model's channels.
            out: a new folder, or one with predictions of this model.
            progress: called with the number of finished cases and the number of all cases.

        Returns:
            An error for each case that cannot be read or lacks a channel.

        Raises:
            CohortError: if no case has the channels.
            OutputError: if ``out`` holds something else, or predictions of other images with the same case_ids.
        """
        cohort.having(self.info.preprocessing.channels)
        claim_predictions(out, self, cohort)
        problems = []
        for done, case in enumerate(cohort, start=1):
            try:
                self.predict_case(case, out)
            except CohortError as error:
                problems.append(error)
            progress(done, len(cohort))
        return problems

    @classmethod
    def score_case(
        cls, prediction: Path, scan: Scan, labels: Mapping[str, int], *, in_plane: bool = False
    ) -> dict[str, float]:
        """Return Dice, HD95, lesion-wise scores and lesion sizes; see :meth:`Task.score_case`."""
        assert scan.label is not None
        found, _ = read_label(prediction)
        return score_case(found, scan.label, scan.spacing, labels, in_plane=in_plane)

    @classmethod
    def score_names(cls, spatial_dims: int, labels: Mapping[str, int]) -> tuple[str, ...]:
        """Return the names of the scores; see :meth:`Task.score_names`."""
        nothing = np.zeros((1,) * spatial_dims, np.int16)
        return tuple(score_case(nothing, nothing, (1.0,) * spatial_dims, labels))

    @classmethod
    def scoring_rules(cls, spatial_dims: int, *, in_plane: bool) -> dict[str, str]:
        """Return the rules for empty masks, lesions and distances."""
        grid = "in 3D" if spatial_dims == 3 else "on the scan's grid"
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
        path = _prediction(out, case)
        if not path.is_file():
            scan = load_scan(case, channels)
            save_label(path, self.predict(scan), scan.file)
        return path


def _first_network(
    config: SegmentationConfig, info: ModelInfo, seed: int, pretrained: SegmentationTask | None
) -> nn.Module:
    """Return the network before the first training step.

    Raises:
        ModelError: if the weights file does not fit it.
    """
    with torch_seed(seed, "weights"):
        network = make_network(config, info)
    if pretrained is not None:
        network.load_state_dict(pretrained.network.state_dict())
    elif config.weights is not None:
        load_vgg16(network, config.weights)
    return network


def _prediction(out: Path, case: Case) -> Path:
    return out / f"{case.case_id}{case.file_ending}"


def claim_predictions(out: Path, task: SegmentationTask, cases: Cohort) -> None:
    """Check that ``out`` is new, or holds predictions of the same model on the same images, and record the cases.

    Raises:
        OutputError: if it holds anything else.
    """
    info, record = task.info, out / "segmentation.json"
    how = {"config": info.config, "preprocessing": info.preprocessing.model_dump(mode="json")}
    model = json.loads(json.dumps({"weights": task.digest, **how}))
    before: dict[str, Any] = {}
    if not record.is_file():
        claim_output(out)
    else:
        before = read_json(record)
        if before["model"] != model:
            raise OutputError(out, "holds the predictions of another model", "name a new folder")
    known = before.get("images", {})
    for case in cases.with_channels(info.preprocessing.channels):
        found = digest_of([replace(case, label=None, anatomy=None)])
        if _prediction(out, case).is_file() and known.get(case.case_id) != found:
            what = f"holds the prediction of another image, or another subject, with the id {case.case_id}"
            raise OutputError(out, what, "name a new folder")
        known[case.case_id] = found
    write_json(record, {"model": model, "images": known})
    clear_leftovers(out)
