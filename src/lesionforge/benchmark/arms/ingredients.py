"""The training data and training length of an arm, and its training run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.transforms import Compose

from lesionforge.benchmark.arm_plan import Arm
from lesionforge.benchmark.arms.chosen_generator import load_fitted
from lesionforge.benchmark.arms.judged import kept
from lesionforge.benchmark.arms.mask_sources import mask_source, slice_masks
from lesionforge.benchmark.arms.placebo import undrawn, with_shuffled_labels
from lesionforge.benchmark.arms.repeats import ArmTraining, Repeat
from lesionforge.benchmark.arms.target_scans import target_scans
from lesionforge.benchmark.plan import Plan
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.leaks import check_no_leak
from lesionforge.cohort.splits import take_subjects
from lesionforge.preprocessing.brain.region import with_region
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.production.on_the_fly import CarveMixd, SynthesizeLesiond
from lesionforge.production.synthesize import lesion_free_scans
from lesionforge.synthesizers.base import Synthesizer
from lesionforge.training.items.samples import cached_samples
from lesionforge.training.items.source import Source
from lesionforge.training.loop import Device, TrainingConfig
from lesionforge.training.model_folder import read_info

PAPER_EPOCHS = {"real": 500, "synthetic": 300, "finetune": 150}
"""Epochs in Platscher et al. 2020; an epoch visits every case once."""


@dataclass(frozen=True, kw_only=True)
class Ingredients:
    """The training data of one arm.

    Attributes:
        train: all real cases of the training set.
        real: the real cases that the arm trains on.
        synthetic: a synthetic cohort on disk, a source that draws on the fly, or ``None``.
    """

    train: Cohort
    real: Cohort
    synthetic: Cohort | Source | None

    @property
    def drawn(self) -> int:
        """Number of synthetic cases on disk."""
        return len(self.synthetic) if isinstance(self.synthetic, Cohort) else 0


def ingredients(training: ArmTraining) -> Ingredients:
    """Return the training data of an arm.

    Raises:
        LeakError: if a test or development subject is a parent of any training data or model.
    """
    arm, repeat, study = training.arm, training.repeat, training.study
    model: Synthesizer | None = None
    synthetic: Cohort | Source | None = None
    if arm.synthesizer is not None:
        model = load_fitted(repeat, arm.synthesizer, device=drawing_device(study.plan.training))
        synthetic = offline_cases(training) if arm.use == "offline" else on_the_fly(training, model)
    fitted = _fitted(repeat, arm, model)
    parents = repeat.train
    if isinstance(synthetic, Cohort):
        parents = parents.with_cases((*parents, *synthetic))
    for held_out in (study.test, study.development):
        check_no_leak(parents, held_out, models=fitted)
    real = repeat.train if arm.real is None else take_subjects(repeat.train, arm.real, repeat.subjects_seed)
    return Ingredients(train=repeat.train, real=real, synthetic=synthetic)


def offline_cases(training: ArmTraining) -> Cohort:
    """Return the synthetic cohort of an arm, or what stands in for it.

    Raises:
        CohortError: if no drawing is kept, or no scan has two, between which labels could be shuffled.
    """
    repeat, name = training.repeat, training.arm.synthesizer
    assert name is not None
    drawn = read_cohort(repeat.cohort_folder(name))
    if training.arm.kept is not None:
        drawn = kept(drawn, repeat, name, training.arm.kept)
    if training.arm.placebo == "undrawn":
        return undrawn(drawn, target_scans(repeat, name))
    return drawn if training.arm.placebo is None else with_shuffled_labels(drawn, repeat.seed)


def train_arm(training: ArmTraining) -> None:
    """Train one arm and write it to its folder.

    Raises:
        LeakError: see :func:`ingredients`.
    """
    of_arm, folder = ingredients(training), training.folder
    first, last = _lengths(training, of_arm)
    if last:
        pretrained = training.study.plan.task_class.load(training.pretraining_folder)
        _fit(training, of_arm.real, last, folder, pretrained=pretrained)
    else:
        share = training.arm.synthetic_share(real=len(of_arm.real), synthetic=of_arm.drawn)
        fade = {} if training.arm.fade is None else {"fade": training.arm.fade}
        _fit(training, of_arm.real, first, folder, synthetic=of_arm.synthetic, share=share, **fade)


def pretrain_arm(training: ArmTraining) -> None:
    """Train the network that an arm fine-tunes, on synthetic cases only.

    Raises:
        LeakError: see :func:`ingredients`.
    """
    of_arm = ingredients(training)
    first, _ = _lengths(training, of_arm)
    _fit(training, of_arm.train, first, training.pretraining_folder, synthetic=of_arm.synthetic, share=1.0)


def _lengths(training: ArmTraining, of_arm: Ingredients) -> tuple[int, int]:
    plan = training.study.plan
    return lengths(plan, training.arm, training.steps, real=len(of_arm.real), synthetic=of_arm.drawn)


def _fit(training: ArmTraining, cohort: Cohort, steps: int, out: Path, **options: Any) -> None:
    study, how = training.study, training.options(steps)
    if isinstance(options.get("synthetic"), Source) and how.workers is None:
        how = how.model_copy(update={"workers": 0})  # see drawing_device
    watch_every = study.plan.learning_curves
    study.plan.task_class.fit(
        cohort,
        channels=study.channels,
        config=training.task,
        training=how,
        out=out,
        preprocessing=training.repeat.preprocessing,
        watched={"training": cohort, "test": study.test} if watch_every else None,
        watch_every=watch_every or 1,
        resume=True,
        **options,
    )


def lengths(plan: Plan, arm: Arm, steps: int, *, real: int, synthetic: int) -> tuple[int, int]:
    """Return the steps of an arm's first training phase, and of its fine-tuning (0 without).

    Args:
        plan: sets the budget.
        arm: the arm.
        steps: steps of every arm that is not ``longer``, unless the plan's budget is ``paper``.
        real: number of real cases in the last phase.
        synthetic: number of cases in the synthetic cohort.
    """
    if plan.budget == "steps":
        steps = round(steps * (arm.longer or 1))
        last = 0 if arm.finetune is None else max(1, round(arm.finetune * steps))
        return steps - last, last
    assert plan.training.batch_size is not None
    only_synthetic = arm.finetune is not None or (arm.share == 1 and arm.fade is None)
    first = (0 if only_synthetic and synthetic else real) + synthetic
    epochs = PAPER_EPOCHS["real" if arm.synthesizer is None else "synthetic"]
    last = 0 if arm.finetune is None else PAPER_EPOCHS["finetune"] * math.ceil(real / plan.training.batch_size)
    return epochs * math.ceil(first / plan.training.batch_size), last


def _fitted(repeat: Repeat, arm: Arm, model: Synthesizer | None) -> dict[str, tuple[str, ...]]:
    """Return the name of every model behind an arm → the subjects that it was fitted on."""
    if arm.synthesizer is None or model is None:
        return {}
    fitted = {arm.synthesizer: model.info.training_subjects}
    name = repeat.plan.synthesizers[arm.synthesizer].mask_generator
    if name is not None:
        fitted[name] = read_info(repeat.mask_generator_folder(name)).training_subjects
    return fitted


def drawing_device(training: TrainingConfig) -> Device:
    """Return the device on which lesions are drawn during training.

    That is the network's own device if the training process itself draws. Loader processes are forks, which cannot use
    CUDA, and the processes of a multi-device run would all draw on one device; both draw on the CPU. An arm that draws
    on the fly has no loader processes unless the plan sets ``workers``.
    """
    return "cpu" if training.workers or training.devices > 1 else training.device


def on_the_fly(training: ArmTraining, model: Synthesizer) -> Source:
    """Return a source of the real samples with the synthesizer as its transform.

    As a placebo, it gives the slices or scans that would be drawn into.
    """
    repeat, task, synthesizer = training.repeat, training.task, training.arm.synthesizer
    assert synthesizer is not None
    plan = repeat.plan.synthesizers[synthesizer]
    prepare = with_region if model.needs_mask or model.finds_place else None
    train = (repeat.train.with_lesions() if model.needs_lesion else repeat.train).in_order()
    samples: Sequence[Sample] = cached_samples(train, repeat.preprocessing, prepare=prepare)
    if not model.needs_mask:
        transform = CarveMixd(model, prob=1.0)
    else:
        if task.spatial_dims == 2:
            masks = slice_masks(repeat, plan, samples)
        else:
            masks = mask_source(repeat, plan, device=drawing_device(repeat.plan.training))
        transform = SynthesizeLesiond(
            model,
            masks,
            prob=1.0,
            min_volume=plan.min_volume,
            negatives=plan.negatives,
            displacement=plan.displacement,
        )
    if plan.lesion_free:
        free = lesion_free_scans(train).cases
        samples = [sample for case, sample in zip(train, samples, strict=True) if case in free]
    if training.arm.placebo == "undrawn":
        return Source(samples=samples, lesion_share=0.0)
    return Source(samples=samples, transform=Compose([transform]), lesion_share=task.lesion_share)
