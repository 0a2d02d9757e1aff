"""Base class of a task, which a benchmark trains on mixtures of cohorts, applies to other cases, and scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from monai.transforms import Compose
from pydantic import Field

from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.layouts.labels import OnProblem, fail
from lesionforge.cohort.scan import FloatArray, LabelArray, Scan
from lesionforge.config import RoiSize, ScanConfig
from lesionforge.preprocessing.pipeline import Preprocessing, Sample
from lesionforge.scores.curve import Curve
from lesionforge.training.loop import Device, TrainingConfig
from lesionforge.training.model_folder import ModelInfo


class TaskConfig(ScanConfig):
    """Options that every task has and that the arms of a benchmark vary.

    Attributes:
        spatial_dims: 2 (slices) or 3.
        roi_size: size of a training item in voxels.
        learning_rate: initial learning rate.
        augment: name of the augmentation of the training items.
        lesion_share: share of training items that are taken from a lesion.
    """

    spatial_dims: Literal[2, 3] = 2
    roi_size: RoiSize | None = None
    learning_rate: float = Field(default=3e-3, gt=0)
    augment: str = "none"
    lesion_share: float = Field(default=0.5, ge=0, le=1)


class Task(ABC):
    """Base class of a model that is trained on annotated cases, applied to other cases, and scored.

    Attributes:
        method: name of the task in its registry.
        watched_score: name of the score that training logs as ``NAME/training`` and ``NAME/test``.
        Config: class of the task's options.
        curves: curves over all cases, which a report shows for every arm.
        draws_on_the_fly: whether lesions can be drawn into its training items while it trains.
        continues: whether it can start from the weights of a trained task.
        fades: whether :meth:`fit` takes ``fade``, see :meth:`NetworkTask.fit`.
        watches: whether its training logs the score of ``watched``, see :meth:`NetworkTask.fit`.
        prepares: what :meth:`prepare` computes of a scan; empty if it does nothing.
        plans: whether its network or batch depends on all training cases, so that a step must be timed on all of them.
        scoring: options by which predictions are scored, so that all arms of a plan must have the same.
        info: training cases, options and preprocessing of this model.
    """

    method: ClassVar[str]
    watched_score: ClassVar[str]
    Config: ClassVar[type[TaskConfig]]
    curves: ClassVar[tuple[Curve, ...]] = ()
    draws_on_the_fly: ClassVar[bool] = True
    continues: ClassVar[bool] = True
    fades: ClassVar[bool] = False
    watches: ClassVar[bool] = False
    prepares: ClassVar[str] = ""
    plans: ClassVar[bool] = False
    scoring: ClassVar[tuple[str, ...]] = ()
    info: ModelInfo

    @classmethod
    @abstractmethod
    def cases(cls, cohort: Cohort, channels: tuple[str, ...]) -> Cohort:
        """Return the cases that the task can be trained and scored on, with these channels only.

        Raises:
            CohortError: if there are none.
        """

    @classmethod
    @abstractmethod
    def fit(
        cls,
        cohort: Cohort,
        *,
        channels: tuple[str, ...],
        config: Any,
        training: TrainingConfig,
        out: Path,
        synthetic: Any = None,
        share: float = 0.5,
        preprocessing: Preprocessing | None = None,
        pretrained: Any = None,
        watched: Mapping[str, Cohort] | None = None,
        watch_every: int = 100,
        resume: bool = False,
        on_problem: OnProblem = fail,
    ) -> Self:
        """Train on the cases of ``cohort`` and return the task with the weights of the last step.

        Args:
            cohort: training cases.
            channels: image channels to use.
            config: the task's own options, a ``Config``.
            training: number of steps, batch size, seed and device.
            out: the model folder.
            synthetic: synthetic cases to mix in, or a source that draws lesions into the cohort's own cases on the fly.
            share: share of every batch that is synthetic; 1 trains on synthetic cases only.
            preprocessing: preprocessing to share with a synthesizer; fitted on ``cohort`` unless given.
            pretrained: a trained task; training starts from its weights.
            watched: name → cases that are scored during training, without effect on the weights.
            watch_every: steps between two such scorings.
            resume: continue the run in ``out``.
            on_problem: called with the error of each unreadable case, which is left out; raises the error unless given.
        """

    @classmethod
    def prepare(cls, sample: Sample, preprocessing: Preprocessing, config: Any) -> None:
        """Compute what a run computes once of each scan, named in ``prepares``, and keeps.

        Args:
            sample: the scan, in model space.
            preprocessing: its preprocessing.
            config: the task's own options, a ``Config``.

        Raises:
            NotImplementedError: if ``prepares`` is empty.
        """
        raise NotImplementedError

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, *, device: Device = "cpu") -> Self:
        """Read a model folder.

        Raises:
            ModelError: if ``folder`` is not a model folder of this task.
        """

    @abstractmethod
    def predict_case(self, case: Case, out: Path) -> Path:
        """Write the prediction of a case into ``out``, unless it exists, and return its path."""

    @abstractmethod
    def score_case(
        self, prediction: Path, scan: Scan, labels: Mapping[str, int], *, in_plane: bool = False
    ) -> dict[str, float | str]:
        """Return the scores of a saved prediction by name, and the columns that scores of a set are made of.

        Args:
            prediction: path of a prediction that :meth:`predict_case` wrote.
            scan: the case with its true label.
            labels: class name → integer.
            in_plane: measure distances within slices; use it if the slice spacing is uncertain.
        """

    @classmethod
    @abstractmethod
    def score_names(cls, spatial_dims: int, labels: Mapping[str, int]) -> tuple[str, ...]:
        """Return the names of the scores for cases with these dimensions and classes, those of a set of cases last."""

    @classmethod
    def scoring_rules(cls, config: Any, *, in_plane: bool) -> dict[str, str]:
        """Return row name → text of the rules that a reader needs to interpret the scores, for the report."""
        return {}

    @classmethod
    def scores_by_rule(cls, folder: Path, scan: Scan) -> dict[str, dict[str, float | str]]:
        """Return rule → the scores of the prediction in ``folder`` under it, for a report on how much the rule matters.

        A rule is a value of the options :attr:`scoring`; a task without these is not asked.
        """
        return {}

    @classmethod
    @abstractmethod
    def shown(cls, config: Any, folder: Path, scan: Scan) -> tuple[LabelArray, str]:
        """Return the mask to outline in a picture of the prediction in ``folder``, and a short caption with a score."""

    @classmethod
    @abstractmethod
    def describe(cls, config: Any) -> str:
        """Return a description of the network for a report."""

    @classmethod
    @abstractmethod
    def seen(cls, config: Any, sample: Sample, preprocessing: Preprocessing) -> FloatArray:
        """Return the ``(channel, x, y[, z])`` image of a sample as the network receives it."""

    @classmethod
    @abstractmethod
    def augmentation(
        cls, config: Any, kind: str, preprocessing: Preprocessing, spacing: Sequence[float], *, spatial_dims: int
    ) -> Compose | None:
        """Return the augmentation of training items with the name ``kind``, or ``None`` for no augmentation."""
