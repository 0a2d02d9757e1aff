"""A task: what a benchmark trains on mixtures of cohorts, applies to other cases, and scores."""

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
from lesionforge.training.loop import Device, TrainingConfig
from lesionforge.training.model_folder import ModelInfo


class TaskConfig(ScanConfig):
    """Options that every task has: those that a benchmark's arms vary.

    Attributes:
        spatial_dims: 2 (slices) or 3.
        roi_size: size in voxels of training items.
        learning_rate: at the first step.
        augment: name of what varies the training items.
        lesion_share: share of training items that are taken from a lesion.
    """

    spatial_dims: Literal[2, 3] = 2
    roi_size: RoiSize | None = None
    learning_rate: float = Field(default=3e-3, gt=0)
    augment: str = "none"
    lesion_share: float = Field(default=0.5, ge=0, le=1)


class Task(ABC):
    """Something that is trained on annotated cases, applied to other cases, and scored.

    Attributes:
        method: its name in the dictionary of tasks.
        Config: its options.
        info: what it was trained on and how.
    """

    method: ClassVar[str]
    Config: ClassVar[type[TaskConfig]]
    info: ModelInfo

    @classmethod
    @abstractmethod
    def cases(cls, cohort: Cohort, channels: tuple[str, ...]) -> Cohort:
        """Return the cases that it can be trained and scored on, with these channels alone.

        Raises:
            CohortError: if there is none.
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
        """Train on the cases of ``cohort``; the last step's weights are the result.

        Args:
            cohort: training cases.
            channels: image channels to use.
            config: the task's own options, a ``Config``.
            training: steps, batch size, seed and machine.
            out: the model folder.
            synthetic: synthetic cases to mix in, or a source that draws lesions into the cohort's own on the fly.
            share: of every batch that is synthetic; 1 trains on synthetic cases alone.
            preprocessing: to share with a synthesizer; fitted on ``cohort`` unless given.
            pretrained: a trained task whose weights this one begins with.
            watched: name → cases that are scored on the way; the weights do not depend on it.
            watch_every: steps between two of these.
            resume: continue the run in ``out``.
            on_problem: called with the error of each case that cannot be read and is left out; raises unless given.
        """

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, *, device: Device = "cpu") -> Self:
        """Read a model folder.

        Raises:
            ModelError: if it is none, or one of another kind.
        """

    @abstractmethod
    def predict_case(self, case: Case, out: Path) -> Path:
        """Write the prediction of a case into ``out``, unless it is there, and return its path."""

    @classmethod
    @abstractmethod
    def score_case(
        cls, prediction: Path, scan: Scan, labels: Mapping[str, int], *, in_plane: bool = False
    ) -> dict[str, float]:
        """Return the scores of a written prediction, by name.

        Args:
            prediction: what :meth:`predict_case` wrote.
            scan: the case, with its truth.
            labels: class name → integer.
            in_plane: measure distances within slices, where the slice spacing is unsure.
        """

    @classmethod
    @abstractmethod
    def score_names(cls, spatial_dims: int, labels: Mapping[str, int]) -> tuple[str, ...]:
        """Return the names of the scores that cases of these dimensions and classes have."""

    @classmethod
    @abstractmethod
    def shown(cls, folder: Path, scan: Scan) -> tuple[LabelArray, str]:
        """Return what a picture of the prediction in ``folder`` outlines, and a few words on how good it is."""

    @classmethod
    @abstractmethod
    def describe(cls, config: Any) -> str:
        """Return what a report says of the network."""

    @classmethod
    @abstractmethod
    def seen(cls, config: Any, sample: Sample, preprocessing: Preprocessing) -> FloatArray:
        """Return the ``(channel, x, y[, z])`` image of a sample as the network sees it."""

    @classmethod
    @abstractmethod
    def augmentation(
        cls, config: Any, kind: str, preprocessing: Preprocessing, spacing: Sequence[float], *, spatial_dims: int
    ) -> Compose | None:
        """Return what varies the training items under the name ``kind``, ``None`` for nothing."""
