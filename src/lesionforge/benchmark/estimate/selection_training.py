"""Short training runs of the networks that choose among the candidates of a generator."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from lesionforge.benchmark.arms.repeats import Repeat
from lesionforge.benchmark.estimate.work import SEGMENTOR
from lesionforge.cohort.case import Cohort
from lesionforge.production.select import SelectionConfig, fit_segmentor
from lesionforge.scores.drawn_images.realism import in_slices
from lesionforge.scores.drawn_images.realism_classifier import RealismConfig, fit_classifier, read_views
from lesionforge.training.loop import Device, TrainingConfig
from lesionforge.training.model_folder import ModelInfo, describe, read_info

ShortTraining = tuple[Callable[[], object], Path, TrainingConfig]
"""A training run, its model folder, and its options."""


def selection_training(repeat: Repeat, name: str, config: SelectionConfig, stage: str, *, steps: int) -> ShortTraining:
    """Return a short training run of the segmentation network or of a classifier of a selection.

    Args:
        repeat: the training set; its generator ``name`` is fitted.
        name: name of the synthesizer.
        config: options of the selection.
        stage: ``SEGMENTOR`` or ``CLASSIFIERS``.
        steps: optimiser steps.
    """
    info, device = read_info(repeat.model_folder(name)), repeat.plan.training.device
    cases = repeat.train.with_channels(info.preprocessing.channels).with_lesions()
    folder = repeat.selection_folder(name) / stage
    if stage == SEGMENTOR:
        short = config.model_copy(update={"segmentor_steps": steps})
        train = partial(fit_segmentor, cases, info, short, folder, repeat.seed, device)
        return train, folder, TrainingConfig(steps=steps, device=device)
    realism = config.realism.model_copy(update={"steps": steps})
    training = TrainingConfig(steps=steps, batch_size=realism.batch_size, device=device)
    return partial(_fit_classifier, cases, info, realism, folder, device), folder, training


def _fit_classifier(cases: Cohort, of: ModelInfo, config: RealismConfig, folder: Path, device: Device) -> None:
    """Train a classifier with the slices of real cases in both roles."""
    preprocessing = in_slices(cases, of.preprocessing)
    views = [view for case in cases for view in read_views(case, preprocessing, config.look_at)]
    training = {"seed": 0, "batch_size": config.batch_size}
    info = describe("realism", config, preprocessing, cases, training=training)
    fit_classifier(views, [views], info, out=folder, device=device)
