"""Commands that train and apply a task: segment, detect."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from lesionforge.cli.common import (
    CaseList,
    Channels,
    CohortFolder,
    Device,
    DeviceOption,
    LoaderWorkers,
    ModelFolder,
    Out,
    Resume,
    Role,
    Seed,
    Settings,
    Steps,
    Subjects,
    Target,
    TimeBudget,
    a_cohort,
    a_model,
    console,
    finish,
    parse_settings,
    progress_bar,
    read_selection,
)
from lesionforge.cli.models import training_options
from lesionforge.cohort.structures import structures_as_lesions
from lesionforge.errors import LesionforgeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lesionforge.cohort.case import Cohort
    from lesionforge.tasks.network_task import NetworkTask

Synthetic = Annotated[Path | None, typer.Option("--with", callback=a_cohort, help="A synthetic cohort to mix in.")]
Share = Annotated[float, typer.Option(min=0, max=1, help="The share of synthetic cases in every batch.")]


class SegmentationMethod(StrEnum):
    """How a segmentation network is trained: with Dice loss and cross-entropy, or against a critic."""

    PLAIN = "segmentation"
    PIX2PIX = "pix2pix_segmentation"


Pretrained = Annotated[Path | None, typer.Option(callback=a_model, help="Fine-tune the weights of this model.")]


def segment_train(
    cohort: CohortFolder,
    out: Out,
    method: Annotated[SegmentationMethod, typer.Option(help="How the network is trained.")] = SegmentationMethod.PLAIN,
    target: Annotated[Target, typer.Option(help="What is segmented.")] = Target.LESIONS,
    channels: Channels = None,
    synthetic: Synthetic = None,
    share: Share = 0.5,
    pretrained: Pretrained = None,
    subjects: Subjects = None,
    cases: CaseList = None,
    role: Role = None,
    settings: Settings = None,
    steps: Steps = None,
    time_budget: TimeBudget = None,
    resume: Resume = False,
    seed: Seed = 0,
    device: DeviceOption = Device.AUTO,
    workers: LoaderWorkers = None,
) -> None:
    """Train a segmentation network on the annotated cases of a cohort; the result has the weights of the last step.

    Example: lesionforge segment train Dataset001_WMH --with Dataset101_Synthetic --out unet --steps 2000
    """
    from lesionforge.tasks.registry import TASKS

    options, training = parse_settings(settings)
    chosen = read_selection(cohort, subjects=subjects, cases=cases, role=role, seed=seed)
    if target is Target.ANATOMY:
        chosen = structures_as_lesions(chosen, cohort)
    training = training_options(
        training, steps=steps, time_budget=time_budget, seed=seed, device=device, workers=workers
    )
    mixed = {"synthetic": synthetic, "share": share, "pretrained": pretrained}
    task = cast("type[NetworkTask]", TASKS[method.value])
    _train(task, chosen, out, channels, options, training, mixed, resume=resume)


def segment_predict(
    model: ModelFolder,
    cohort: CohortFolder,
    out: Out,
    subjects: Subjects = None,
    cases: CaseList = None,
    role: Role = None,
    device: DeviceOption = Device.AUTO,
) -> None:
    """Write the label map of the lesions or structures of every case of a cohort, on the grid of the case.

    The same command skips cases that are done.

    Example: lesionforge segment predict unet Dataset002_Test --out predictions
    """
    from lesionforge.tasks.segmentation.loading import load_segmentation

    chosen = read_selection(cohort, subjects=subjects, cases=cases, role=role)
    _predict(load_segmentation(model, device=device.value), chosen, out, doing="segmenting", made="label maps")


def detect_train(
    cohort: CohortFolder,
    out: Out,
    channels: Channels = None,
    synthetic: Synthetic = None,
    share: Share = 0.5,
    pretrained: Pretrained = None,
    subjects: Subjects = None,
    cases: CaseList = None,
    role: Role = None,
    settings: Settings = None,
    steps: Steps = None,
    time_budget: TimeBudget = None,
    resume: Resume = False,
    seed: Seed = 0,
    device: DeviceOption = Device.AUTO,
    workers: LoaderWorkers = None,
) -> None:
    """Train the detection of small lesions: choose the candidates, and train the network that classifies them.

    Example: lesionforge detect train Dataset001_SWI --out detector --steps 2000
    """
    from lesionforge.tasks.detection.detection_task import DetectionTask

    options, training = parse_settings(settings)
    chosen = read_selection(cohort, subjects=subjects, cases=cases, role=role, seed=seed)
    training = training_options(
        training, steps=steps, time_budget=time_budget, seed=seed, device=device, workers=workers
    )
    mixed = {"synthetic": synthetic, "share": share, "pretrained": pretrained}
    _train(DetectionTask, chosen, out, channels, options, training, mixed, resume=resume)


def detect_predict(
    model: ModelFolder,
    cohort: CohortFolder,
    out: Out,
    subjects: Subjects = None,
    cases: CaseList = None,
    role: Role = None,
    device: DeviceOption = Device.AUTO,
) -> None:
    """Write the places of lesions in every case of a cohort, each with a confidence, as CASE.csv and a label map.

    The same command skips cases that are done.

    Example: lesionforge detect predict detector Dataset002_Test --out detections
    """
    from lesionforge.tasks.detection.detection_task import DetectionTask

    chosen = read_selection(cohort, subjects=subjects, cases=cases, role=role)
    _predict(
        DetectionTask.load(model, device=device.value), chosen, out, doing="detecting", made="cases with detections"
    )


def _train(
    task: type[NetworkTask],
    cohort: Cohort,
    out: Path,
    channels: Sequence[str] | None,
    options: dict[str, Any],
    training: dict[str, Any],
    mixed: dict[str, Any],
    *,
    resume: bool,
) -> None:
    """Train a task, and report the cases that could not be read."""
    from lesionforge.cohort.layouts import read_cohort
    from lesionforge.cohort.layouts.cases_csv import write_problems
    from lesionforge.config import parse_options
    from lesionforge.training.loop import TrainingConfig
    from lesionforge.training.quiet import quiet

    quiet()
    problems: list[LesionforgeError] = []
    synthetic, pretrained = mixed["synthetic"], mixed["pretrained"]
    task.fit(
        cohort,
        channels=tuple(channels or cohort.channels),
        config=parse_options(task.Config, options),
        training=parse_options(TrainingConfig, training),
        out=out,
        synthetic=None if synthetic is None else read_cohort(synthetic),
        share=mixed["share"],
        pretrained=None if pretrained is None else task.load(pretrained),
        resume=resume,
        on_problem=problems.append,
    )
    console.print(f"{out}: see {out / 'model_card.md'}")
    write_problems(out / "problems.csv", problems)
    finish(problems, out / "problems.csv")


def _predict(task: NetworkTask, cohort: Cohort, out: Path, *, doing: str, made: str) -> None:
    """Predict every case of a cohort, and report those that could not be read."""
    from lesionforge.cohort.layouts.cases_csv import write_problems
    from lesionforge.training.quiet import quiet

    quiet()
    with progress_bar(doing) as progress:
        problems = task.predict_cohort(cohort, out=out, progress=progress)
    console.print(f"{out}: {len(cohort) - len(problems)} {made}")
    write_problems(out / "problems.csv", problems)
    finish(problems, out / "problems.csv")
