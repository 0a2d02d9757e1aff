"""The rules of a task."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from lesionforge.cohort.case import Annotation, Case, Cohort
from lesionforge.cohort.scan import load_scan
from lesionforge.config import parse_options
from lesionforge.errors import ConfigError, LesionforgeError
from lesionforge.files import sha256_of
from lesionforge.scores.registry import find_score
from lesionforge.scores.score import Score
from lesionforge.tasks.base import Task
from lesionforge.tasks.registry import TASKS
from lesionforge.testing.rules import CHANNELS, SHORT, copied, refused, rule, same, simulated_cohort
from lesionforge.training.loop import TrainingConfig

SYNTHETIC_PARENT = "parent_of_a_drawing"


def check_task(
    method: type[Task] | str,
    *,
    spatial_dims: Sequence[int] = (2, 3),
    options: Mapping[str, Any] | None = None,
    training: TrainingConfig = SHORT,
) -> None:
    """Check the rules of a task on a tiny simulated cohort; takes seconds and five fits for each number of dimensions.

    Training subjects and their parents, and those of synthetic cases, are recorded. The same seed gives the same
    predictions, also after loading. A prediction does not depend on the label or on other cases, and an existing one
    is kept. Every case has the scores that ``score_names`` lists, and each has an entry in the dictionary of scores. A
    wrong option, channel or share, a cohort without annotations, and a used folder raise a ``LesionforgeError``.

    Args:
        method: the class, or its name in :data:`~lesionforge.tasks.registry.TASKS`.
        spatial_dims: 2 checks it on slices, 3 on volumes.
        options: options of the task, such as small networks.
        training: length and batch size; two steps on the CPU by default.

    Raises:
        AssertionError: says which rule is broken.
        LesionforgeError: if the task cannot be fitted with these options.
    """
    chosen = TASKS[method] if isinstance(method, str) else method
    for dims in spatial_dims:
        with TemporaryDirectory() as folder:
            cohort = simulated_cohort(Path(folder, "cohort"), dims)
            trial = TaskTrial(chosen, {"spatial_dims": dims, **(options or {})}, training, cohort, Path(folder))
            _check_fitting(trial)
            _check_predictions(trial)
            _check_scores(trial)
            _check_items(trial)
            _check_refusals(trial)


@dataclass(frozen=True)
class TaskTrial:
    """A task, its options, and the cohort and folder that it is tried in."""

    method: type[Task]
    options: Mapping[str, Any]
    training: TrainingConfig
    cohort: Cohort
    folder: Path

    def config(self, **options: Any) -> Any:
        """Return the options of the task, with further ones."""
        return parse_options(self.method.Config, {**self.options, **options})

    def fit(self, name: str, cohort: Cohort | None = None, *, channels: Sequence[str] = CHANNELS, **extra: Any) -> Task:
        """Fit the task into a new folder."""
        return self.method.fit(
            self.cohort if cohort is None else cohort,
            channels=tuple(channels),
            config=self.config(),
            training=self.training,
            out=self.folder / name,
            **extra,
        )

    def predictions(self, task: Task, name: str, cases: Sequence[Case]) -> list[Path]:
        """Return the predictions of cases, written into a new folder."""
        out = self.folder / name
        out.mkdir()
        return [task.predict_case(case, out) for case in cases]


def _check_fitting(trial: TaskTrial) -> None:
    task, name = trial.fit("model"), trial.method.method
    rule(isinstance(task, trial.method), f"fit must return a {trial.method.__name__}, not {type(task).__name__}")
    rule(task.info.method == name, f"info.method is {task.info.method!r}, but the class's method is {name!r}")
    used = trial.method.cases(trial.cohort, CHANNELS)
    _check_recorded(task, used.ancestry)
    drawn = trial.cohort.with_lesions()
    drawn = drawn.with_cases([_as_if_drawn(case) for case in drawn])
    _check_recorded(trial.fit("mixed", synthetic=drawn), {*used.ancestry, SYNTHETIC_PARENT})


def _as_if_drawn(case: Case) -> Case:
    return replace(case, case_id=f"{case.case_id}_s", parents=(SYNTHETIC_PARENT,), origin="synthetic")


def _check_recorded(task: Task, known: set[str] | frozenset[str]) -> None:
    missing = ", ".join(sorted(known - set(task.info.training_subjects)))
    told = f"info.training_subjects lacks {missing}: it must hold training subjects and the parents of all cases"
    rule(not missing, told)


def _check_predictions(trial: TaskTrial) -> None:
    task, cases = trial.method.load(trial.folder / "model"), trial.cohort.cases
    found = trial.predictions(task, "predicted", cases)
    rule(all(path.is_file() for path in found), "predict_case must write the file that it returns")
    rule(len(set(found)) == len(cases), "predict_case must write one file for each case")
    expected = [sha256_of(path) for path in found]
    without = [replace(case, label=None, annotation=Annotation.UNKNOWN) for case in cases]
    for other, predicted, told in (
        (trial.fit("again"), cases, "same seed, same bytes: a second fit with the same seed predicts something else"),
        (copied(task), cases, "a pickled copy predicts something else"),
        (task, cases[::-1], "a prediction must not depend on the cases predicted before"),
        (task, without, "a prediction must not depend on the label"),
    ):
        paths = trial.predictions(other, f"predicted_{len(list(trial.folder.iterdir()))}", predicted)
        made = {path.name: sha256_of(path) for path in paths}
        rule([made.get(path.name) for path in found] == expected, told)
    before = found[0].stat().st_mtime_ns
    task.predict_case(cases[0], found[0].parent)
    rule(found[0].stat().st_mtime_ns == before, "predict_case must keep a prediction that exists")


def _check_scores(trial: TaskTrial) -> None:
    method, cohort = trial.method, trial.cohort
    for case in method.cases(cohort, CHANNELS):
        scan = load_scan(case, CHANNELS)
        task = method.load(trial.folder / "model")
        path = task.predict_case(case, trial.folder / "predicted")
        row = task.score_case(path, scan, cohort.labels)
        names = method.score_names(scan.spatial_dims, cohort.labels)
        _check_row(row, [_known(name) for name in names])
        _check_shown(method, trial.config(), trial.folder / "predicted", case)


def _check_row(row: Mapping[str, object], scores: Sequence[Score[Any]]) -> None:
    """Check that a case has its scores, and the columns that those of a set are made of, and nothing else."""
    of_case = [score.name for score in scores if score.level != "set"]
    columns = [*of_case, *dict.fromkeys(name for score in scores for name in score.made_of)]
    rule(list(row) == columns, f"score_names lists scores with {', '.join(columns)}, but a case has {', '.join(row)}")
    values = {name: row[name] for name in of_case}
    wrong = [name for name, value in values.items() if not isinstance(value, (int, float)) or math.isinf(value)]
    rule(not wrong, f"every score must be a finite number or NaN, but {', '.join(wrong)} is not")


def _known(name: str) -> Score[Any]:
    try:
        return find_score(name)
    except ConfigError as error:
        raise AssertionError(f"the score {name} has no entry in a dictionary of scores") from error


def _check_shown(method: type[Task], config: Any, folder: Path, case: Case) -> None:
    scan = load_scan(case, CHANNELS)
    outlined, words = method.shown(config, folder, scan)
    rule(outlined.shape == scan.spatial_shape, f"shown must return a map on the scan's grid {scan.spatial_shape}")
    rule(isinstance(words, str) and words, "shown must say in words how good the prediction is")


def _check_items(trial: TaskTrial) -> None:
    task, config = trial.method.load(trial.folder / "model"), trial.config()
    told = trial.method.describe(config)
    rule(isinstance(told, str) and told, "describe must return what a report says about the network")
    preprocessing = task.info.preprocessing
    sample = preprocessing.forward(load_scan(trial.cohort.cases[0], CHANNELS))
    kept = copied(sample)
    seen = trial.method.seen(config, sample, preprocessing)
    rule(seen.shape == sample.image.shape and np.isfinite(seen).all(), "seen must return finite values for each voxel")
    rule(same(sample.image, kept.image), "seen must not change the sample: work on a copy")
    dims = preprocessing.spatial_dims
    nothing = trial.method.augmentation(config, "none", preprocessing, (1.0,) * dims, spatial_dims=dims)
    rule(nothing is None, "augmentation must return None for the name none")


def _check_refusals(trial: TaskTrial) -> None:
    refused(lambda: trial.config(no_such_option=1), "an unknown option")
    refused(
        lambda: trial.fit("no_channel", channels=("absent",)), "fitting with a channel that the cohort has no file of"
    )
    unknown = [replace(case, label=None, annotation=Annotation.UNKNOWN) for case in trial.cohort]
    refused(lambda: trial.fit("unknown", trial.cohort.with_cases(unknown)), "fitting without an annotated case")
    drawn = trial.cohort.with_cases([_as_if_drawn(case) for case in trial.cohort.with_lesions()])
    refused(lambda: trial.fit("share", synthetic=drawn, share=1.5), "a share above 1")
    refused(lambda: trial.fit("model"), "fitting into a used folder without resume")
    refused(lambda: trial.method.load(trial.folder / "cohort"), "loading a folder that is no model")
    _check_resume(trial)


def _check_resume(trial: TaskTrial) -> None:
    """Check that the same command again leaves a finished model as it is."""
    case, out = trial.cohort.cases[0], trial.folder / "resumed"
    out.mkdir()
    try:
        again = trial.fit("model", resume=True)
    except LesionforgeError as error:
        raise AssertionError(f"fit with resume=True must accept its own finished model, but: {error}") from error
    expected = sha256_of(trial.method.load(trial.folder / "model").predict_case(case, trial.folder / "predicted"))
    rule(sha256_of(again.predict_case(case, out)) == expected, "fit with resume=True changed a finished model")
