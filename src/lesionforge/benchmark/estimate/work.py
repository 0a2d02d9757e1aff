"""The work of a plan, found by following its run as if every job were done."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from lesionforge.benchmark.arms import arm_jobs
from lesionforge.benchmark.arms.ahead import Ahead
from lesionforge.benchmark.arms.arm_study import ArmStudy, decide
from lesionforge.benchmark.arms.choice import Choice
from lesionforge.benchmark.arms.chosen_generator import choose
from lesionforge.benchmark.arms.ingredients import lengths
from lesionforge.benchmark.arms.repeats import Arms, ArmTraining, Repeat
from lesionforge.benchmark.arms.target_scans import drawn_into
from lesionforge.benchmark.healing.healing_jobs import fit_f_pre, fit_method
from lesionforge.benchmark.healing.healing_study import HealingStudy
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.splits import take_subjects
from lesionforge.config import parse_options
from lesionforge.engine.job import Job
from lesionforge.production.select import SelectionConfig
from lesionforge.scores.drawn_images.realism import FEWEST_SUBJECTS, TRAININGS
from lesionforge.scores.registry import find_score
from lesionforge.synthesizers.registry import SYNTHESIZERS
from lesionforge.tasks.base import TaskConfig

MASK_GENERATOR, SYNTHESIZER, CASES, SCANS = "mask generator", "synthesizer", "offline cases", "scans"
CANDIDATES, SEGMENTOR, CLASSIFIERS = "candidates", "selection: segmentation", "selection: classifiers"
CURVES = "learning curves"
SEARCH, CONTROL, PRETRAINING, ARM, WHOLE = "search", "control", "pretraining", "arm", "whole pool"
METHOD, F_PRE = "method", "f_pre"


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A unit of work that is timed once for all of the same speed: a training step, a drawn case, a scan, a prediction.

    Attributes:
        stage: stage of the work.
        name: name of the mask generator, the synthesizer, the method, or the first arm of this speed.
        choice: for an arm: the augmentation and batch size that are tried.
        selection: for a network that judges the candidates of a generator: the options of the selection.
    """

    stage: str
    name: str
    choice: Choice | None = None
    selection: SelectionConfig | None = None


@dataclass(frozen=True, kw_only=True)
class Work:
    """One training run, its learning curves, the cases that a synthesizer draws, or what a task computes of scans.

    Attributes:
        stage: stage of the run, such as ``control``.
        name: name in the plan.
        count: optimiser steps, cases, scans or predictions; 0 for methods without training.
        unit: the unit that is timed for it.
        reads: scans that it reads before its first step or case, if they were not all read when the unit was timed.
    """

    stage: str
    name: str
    count: int
    unit: Unit
    reads: int = 0

    @property
    def steps(self) -> int:
        """The optimiser steps."""
        return 0 if self.stage in (CASES, CANDIDATES, SCANS, CURVES) else self.count


def work_of(study: ArmStudy | HealingStudy, *, longest: bool = False) -> list[Work]:
    """Return all work of a run, each training run once.

    The plan is followed as if every job were done.

    Args:
        study: the study; its ``out`` is a temporary folder.
        longest: assume that the control lengthens the training to its limit and the search chooses the largest batch
            size and learning rate, rather than no lengthening, the smallest batch size and the plan's learning rate.
    """
    if isinstance(study, HealingStudy):
        return [_healing_work(job) for job in study.jobs() if job.function in (fit_f_pre, fit_method)]
    ahead = Ahead(study=study.arms, scored=partial(_score, longest=longest), found_nothing=lambda training: False)
    decide(ahead)
    tested = {job.arguments[0].folder for job in ahead.jobs.values() if job.function is arm_jobs.score_test}
    works = [work for job in ahead.jobs.values() for work in _works(study.arms, job, tested)]
    return [*works, *_prepared(study.arms, works)]


def _prepared(study: Arms, works: Sequence[Work]) -> list[Work]:
    """Return what the task computes once of each scan, drawn ones included."""
    task = study.plan.task_class
    if not task.prepares:
        return []
    scans = sum(len(cases) for cases in (study.pool, study.development, study.test))
    scans += sum(work.count for work in works if work.stage == CASES)
    return [Work(stage=SCANS, name=task.prepares, count=scans, unit=Unit(stage=SCANS, name=task.prepares))]


def _healing_work(job: Job) -> Work:
    study, *of = job.arguments
    stage, name = (METHOD, of[-1]) if of else (F_PRE, F_PRE)
    training = study.plan.training if of else study.plan.f_pre.training
    return Work(stage=stage, name=name, count=training.steps, unit=Unit(stage=stage, name=name))


def _score(training: ArmTraining, *, longest: bool) -> float:
    """Return a score that makes search and control choose the longest, or the shortest, run."""
    batch = training.options(training.steps).batch_size or 1
    better = longest != (find_score(training.study.plan.primary).higher_is_better is False)
    rate = training.task.learning_rate if longest else 1.0
    return (1e9 if better else -1e9) * training.steps * batch * rate


def _works(study: Arms, job: Job, tested: Collection[Path]) -> Iterator[Work]:
    """Yield the training runs, the cases and the learning curves of a job."""
    plan = study.plan
    if job.function is arm_jobs.fit_mask_generator:
        _, name = job.arguments
        yield _of_model(MASK_GENERATOR, name, plan.mask_generators[name].training.steps)
    elif job.function is arm_jobs.fit_synthesizer:
        repeat, name = job.arguments
        yield _of_model(SYNTHESIZER, name, synthesizer_steps(repeat, name), reads=len(repeat.train))
    elif job.function is choose:
        yield from _of_selection(*job.arguments)
    elif job.function is arm_jobs.draw_offline:
        repeat, name = job.arguments
        yield _of_model(CASES, name, cases_drawn(repeat, name), reads=len(repeat.train))
    elif job.function in (arm_jobs.pretrain, arm_jobs.train):
        (training,) = job.arguments
        first, last = arm_lengths(training)
        count = first if job.function is arm_jobs.pretrain else last or first
        stage = PRETRAINING if job.function is arm_jobs.pretrain else _stage(training, tested)
        reads = sum(_cases_of(training))
        yield Work(stage=stage, name=training.name, count=count, unit=_arm_unit(training), reads=reads)
        yield from _of_curves(training, count, pretraining=job.function is arm_jobs.pretrain)


def _of_selection(repeat: Repeat, name: str) -> Iterator[Work]:
    """Yield what a choice among candidates draws and trains; see :func:`select_candidates`."""
    plan, cases = repeat.plan.synthesizers[name], repeat.train.with_lesions()
    assert plan.selection is not None
    options: Any = parse_options(SYNTHESIZERS[plan.method].Config, plan.options)
    drawn = len(options.candidates) * len(cases)
    yield Work(stage=CANDIDATES, name=name, count=drawn, unit=Unit(stage=CASES, name=name))
    trained = {SEGMENTOR: [(plan.selection.segmentor_steps, len(cases))]}
    if len(cases.subjects) >= FEWEST_SUBJECTS:
        steps = plan.selection.realism.steps
        trained[CLASSIFIERS] = [(steps, len(cases) + drawn), *[(steps, 0)] * (TRAININGS - 1)]
    for stage, runs in trained.items():
        unit = Unit(stage=stage, name=name, selection=plan.selection)
        yield from (Work(stage=stage, name=name, count=count, unit=unit, reads=reads) for count, reads in runs)


def _of_curves(training: ArmTraining, steps: int, *, pretraining: bool) -> Iterator[Work]:
    """Yield the predictions of the learning curves of a training run, if the plan asks for them; see `DiceCurve`."""
    study = training.study
    every = study.plan.learning_curves
    if every is None or not study.plan.task_class.watches:
        return
    own = training.repeat.train if pretraining else _real_cases(training)
    watched = len(own.with_lesions()) + len(study.test.with_lesions())
    unit = replace(_arm_unit(training), stage=CURVES)
    yield Work(stage=CURVES, name=training.name, count=math.ceil(steps / every) * watched, unit=unit)


def _of_model(stage: str, name: str, count: int, *, reads: int = 0) -> Work:
    return Work(stage=stage, name=name, count=count, unit=Unit(stage=stage, name=name), reads=reads)


def _stage(training: ArmTraining, tested: Collection[Path]) -> str:
    """Return the purpose of a training run: a compared arm, the reference, the search or the control."""
    if training.folder in tested:
        return ARM if training.repeat.train_size in training.study.plan.subjects.numbers else WHOLE
    own = Choice.of(training.study.plan)
    return CONTROL if training.study.choice(training.repeat.train_size) == own else SEARCH


def _arm_unit(training: ArmTraining) -> Unit:
    """Return the unit of an arm: the first arm with the same network, augmentation and on-the-fly synthesizer."""
    study, size = training.study, training.repeat.train_size

    def signature(arm: str) -> tuple[TaskConfig, str | None]:
        own = study.plan.arms[arm]
        task = study.task_of(size, arm).model_copy(update={"learning_rate": 1.0})
        return task, own.synthesizer if own.use == "on_the_fly" and own.placebo is None else None

    first = next(arm for arm in study.plan.arms if signature(arm) == signature(training.name))
    rate = Choice.of(study.plan).learning_rate
    return Unit(stage=ARM, name=first, choice=replace(study.choice(size), learning_rate=rate))


def arm_lengths(training: ArmTraining) -> tuple[int, int]:
    """Return the steps of an arm's first training phase, and of its fine-tuning; see :func:`lengths`."""
    real, drawn = _cases_of(training)
    return lengths(training.repeat.plan, training.arm, training.steps, real=real, synthetic=drawn)


def _cases_of(training: ArmTraining) -> tuple[int, int]:
    """Return the number of real and of offline cases that an arm is trained on."""
    arm = training.arm
    offline = arm.synthesizer if arm.use == "offline" else None
    return len(_real_cases(training)), 0 if offline is None else cases_drawn(training.repeat, offline)


def _real_cases(training: ArmTraining) -> Cohort:
    arm, repeat = training.arm, training.repeat
    return repeat.train if arm.real is None else take_subjects(repeat.train, arm.real, repeat.subjects_seed)


def cases_drawn(repeat: Repeat, name: str) -> int:
    """Return the number of offline cases of a synthesizer; with targets from another cohort, an upper bound."""
    plan = repeat.plan.synthesizers[name]
    number = plan.number_of_cases(len(repeat.train))
    return number or len(drawn_into(plan, repeat.train if plan.targets is None else read_cohort(plan.targets)))


def synthesizer_steps(repeat: Repeat, name: str) -> int:
    """Return the optimiser steps of a synthesizer, up to its last candidate; 0 if it needs no training."""
    plan = repeat.plan.synthesizers[name]
    method = SYNTHESIZERS[plan.method]
    options = parse_options(method.Config, plan.options)
    return method.training_steps(repeat.train, repeat.preprocessing, options, plan.training)
