"""What a plan trains and draws, found by following its run without doing the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lesionforge.benchmark import jobs
from lesionforge.benchmark.arms.choice import Choice
from lesionforge.benchmark.arms.control import controlled_lengths
from lesionforge.benchmark.arms.ingredients import lengths
from lesionforge.benchmark.arms.tune import tuned
from lesionforge.benchmark.healing.healing_jobs import F_PRE
from lesionforge.benchmark.healing.healing_run import trainings
from lesionforge.benchmark.healing.healing_setting import HealingSetting
from lesionforge.benchmark.plan import SynthesizerPlan
from lesionforge.benchmark.run import Run, fit_models, train_arms
from lesionforge.benchmark.setting import Number, Setting
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.splits import take_subjects
from lesionforge.config import parse_options
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.production.synthesize import lesion_free_scans
from lesionforge.scores.registry import find_score
from lesionforge.synthesizers.base import training_cohort
from lesionforge.synthesizers.registry import SYNTHESIZERS
from lesionforge.synthesizers.translation.pix2pix_config import Pix2PixConfig
from lesionforge.synthesizers.translation.training_crops import epoch_items
from lesionforge.tasks.segmentation.segmentation_config import SegmentationConfig
from lesionforge.training.candidates import candidate_steps
from lesionforge.training.lesion_planes import Planes
from lesionforge.training.samples import cached_samples

MASK_GENERATOR, SYNTHESIZER, CASES = "mask generator", "synthesizer", "offline cases"
SEARCH, CONTROL, PRETRAINING, ARM, WHOLE = "search", "control", "pretraining", "arm", "whole pool"
METHOD = "method"


@dataclass(frozen=True, kw_only=True)
class Unit:
    """What is timed once for all work that is as fast: one step of a network, or one case that is drawn.

    Attributes:
        stage: of the work.
        name: of the mask generator, the synthesizer, the method, or the first of the arms that are as fast.
        choice: of an arm: the augmentation and the batch size that are tried.
    """

    stage: str
    name: str
    choice: Choice | None = None


@dataclass(frozen=True, kw_only=True)
class Work:
    """One training, or the offline cases of one synthesizer.

    Attributes:
        stage: when it is done, such as ``control``.
        name: in the plan.
        count: optimiser steps, or cases; 0 for what needs no training.
        unit: what of it is timed.
    """

    stage: str
    name: str
    count: int
    unit: Unit


def work_of(setting: Setting | HealingSetting, *, longest: bool = False) -> list[Work]:
    """Return all that a run does, each training once.

    The run itself is followed, with a job that notes what would be done in place of each that does it.

    Args:
        setting: of the run; its ``out`` is a temporary folder.
        longest: let the control lengthen the arms as far as it may, and the search find the largest batch; else the
            control ends at once, and the search finds the smallest batch.
    """
    works: dict[Path, Work] = {}
    if isinstance(setting, HealingSetting):
        for _, seed, name in trainings(setting):
            folder = setting.f_pre_folder if name == F_PRE else setting.model_folder(seed, name)
            of = setting.plan.f_pre.training if name == F_PRE else setting.plan.training
            stage = F_PRE if name == F_PRE else METHOD
            works[folder] = Work(stage=stage, name=name, count=of.steps, unit=Unit(stage=stage, name=name))
        return list(works.values())

    def following(stage: str) -> Run:
        def follow(job: Callable[..., Any], asked: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
            for one in asked:
                for folder, work in JOBS[job](*one):
                    renamed = stage if stage and work.stage in (ARM, WHOLE) else work.stage
                    works.setdefault(folder, replace(work, stage=renamed))
                yield _score(*one, longest=longest) if job is jobs.development_score else ""

        return follow

    fit_models(setting, following(""), _say_nothing)
    setting = tuned(setting, following(SEARCH), _say_nothing)
    found = controlled_lengths(setting, following(CONTROL), _say_nothing)
    train_arms(setting, found, following(""), _say_nothing)
    return list(works.values())


def _say_nothing(line: str) -> None:
    pass


def _score(setting: Setting, number: Number, seed: int, name: str, steps: int, *, longest: bool) -> float:
    """Return a score with which search and control make a run as long, or as short, as it can be."""
    batch = setting.training_of(number, seed=seed, steps=steps).batch_size or 1
    better = longest != (find_score(setting.plan.primary).higher_is_better is False)
    return (1e9 if better else -1e9) * steps * batch


Found = Iterator[tuple[Path, Work]]


def _mask_generator(setting: Setting, number: Number, seed: int, name: str) -> Found:
    unit, steps = Unit(stage=MASK_GENERATOR, name=name), setting.plan.mask_generators[name].training.steps
    folder = setting.mask_generator_folder(number, seed, name)
    yield folder, Work(stage=MASK_GENERATOR, name=name, count=steps, unit=unit)


def _synthesizer(setting: Setting, number: Number, seed: int, name: str) -> Found:
    unit, steps = Unit(stage=SYNTHESIZER, name=name), synthesizer_steps(setting, number, seed, name)
    yield setting.model_folder(number, seed, name), Work(stage=SYNTHESIZER, name=name, count=steps, unit=unit)
    if any(arm.synthesizer == name and arm.use == "offline" for arm in setting.plan.arms.values()):
        unit, cases = Unit(stage=CASES, name=name), cases_drawn(setting, number, seed, name)
        yield setting.cohort_folder(number, seed, name), Work(stage=CASES, name=name, count=cases, unit=unit)


def _arm(setting: Setting, number: Number, seed: int, name: str, steps: int) -> Found:
    """Yield an arm's training and, if it is fine-tuned, that of what it fine-tunes."""
    unit, (first, last) = _arm_unit(setting, number, name), arm_lengths(setting, number, seed, name, steps)
    if last:
        folder = setting.pretraining_folder(number, seed, name, steps)
        yield folder, Work(stage=PRETRAINING, name=name, count=first, unit=unit)
    stage = ARM if number in setting.plan.subjects.numbers else WHOLE
    yield setting.arm_folder(number, seed, name, steps), Work(stage=stage, name=name, count=last or first, unit=unit)


def _pretraining(setting: Setting, number: Number, seed: int, name: str, steps: int) -> Found:
    found = _arm(setting, number, seed, name, steps)
    yield next(found)


JOBS: dict[Callable[..., Any], Callable[..., Found]] = {
    jobs.fit_mask_generator: _mask_generator,
    jobs.fit_synthesizer: _synthesizer,
    jobs.development_score: _arm,
    jobs.pretrain: _pretraining,
    jobs.score_arm: _arm,
}


def _arm_unit(setting: Setting, number: Number, name: str) -> Unit:
    """Return what is timed for an arm: the first arm with the same network, augmentation and drawing on the fly."""

    def signature(arm: str) -> tuple[SegmentationConfig, str | None]:
        own = setting.plan.arms[arm]
        task = setting.task_of(number, arm).model_copy(update={"learning_rate": 1.0})
        return task, own.synthesizer if own.use == "on_the_fly" else None

    first = next(arm for arm in setting.plan.arms if signature(arm) == signature(name))
    rate = Choice.of(setting.plan).learning_rate
    return Unit(stage=ARM, name=first, choice=replace(setting.choice(number), learning_rate=rate))


def arm_lengths(setting: Setting, number: Number, seed: int, name: str, steps: int) -> tuple[int, int]:
    """Return the steps of an arm's first run, and of fine-tuning after it; see :func:`lengths`."""
    arm, train = setting.plan.arms[name], setting.train[number, seed]
    real = train if arm.real is None else take_subjects(train, arm.real, setting.draw_seed(seed))
    drawn = 0
    if arm.synthesizer is not None and arm.use == "offline":
        drawn = cases_drawn(setting, number, seed, arm.synthesizer)
    return lengths(setting.plan, arm, steps, real=len(real), synthetic=drawn)


def cases_drawn(setting: Setting, number: Number, seed: int, name: str) -> int:
    """Return how many offline cases a synthesizer draws; into healthy scans of another cohort at most so many."""
    plan, scans = setting.plan.synthesizers[name], setting.train[number, seed]
    return plan.cases or len(_drawn_into(plan, scans if plan.targets is None else read_cohort(plan.targets)))


def _drawn_into(plan: SynthesizerPlan, scans: Cohort) -> Cohort:
    if plan.targets is not None or plan.lesion_free:
        return lesion_free_scans(scans)
    return scans.with_lesions() if plan.masks == "own" else scans


def synthesizer_steps(setting: Setting, number: Number, seed: int, name: str) -> int:
    """Return the optimiser steps of a synthesizer, up to the last of its candidates; 0 if it needs no training."""
    plan = setting.plan.synthesizers[name]
    options = parse_options(SYNTHESIZERS[plan.method].Config, plan.options)
    if not hasattr(options, "optimiser"):
        return 0
    if not (isinstance(options, Pix2PixConfig) and options.candidates):
        return plan.training.steps
    items = 0
    if options.candidates_in == "epochs":
        cases = training_cohort(setting.train[number, seed], setting.channels, lesion_free=not options.lesions_only)
        items = _items(cases, setting.preprocessing[number, seed], options)
    training = plan.training.or_batch_size(1)
    return max(candidate_steps(options.candidates, items, training, unit=options.candidates_in).values())


def _items(cases: Cohort, preprocessing: Preprocessing, options: Pix2PixConfig) -> int:
    return epoch_items(Planes(cached_samples(cases, preprocessing), options.spatial_dims), options)
