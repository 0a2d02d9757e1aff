"""White-box membership: what the critic and the generator themselves say about a real scan.

The critic of a generator that was trained for too long calls its training images more real than others (LOGAN, Hayes et
al. 2019), and the generator reconstructs them with a smaller error.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import default_collate

from lesionforge.audit.membership import COLUMNS, Attacks, mean_by_subject
from lesionforge.cohort.case import Cohort
from lesionforge.errors import LesionforgeError, ModelError
from lesionforge.synthesizers.registry import SYNTHESIZERS, load_synthesizer
from lesionforge.synthesizers.translation.pix2pix import Pix2Pix
from lesionforge.synthesizers.translation.training_crops import TrainingCrops
from lesionforge.training.inference import one_thread
from lesionforge.training.items.samples import cached_samples
from lesionforge.training.loop import Device, TrainingConfig, pick_device
from lesionforge.training.model_folder import CRITIC, must_fit, read_critic, read_info

CRITIC_SCORE, RECONSTRUCTION = "critic score", "reconstruction error"
UNTRAINED = ", untrained networks"
PLAIN = {"augment": False, "intensity_variation": False, "mirror": False, "jitter": False, "healthy_holes": 0.0}
METHODS = "pix2pix, spade and cyclegan"


def has_white_box(folder: Path) -> bool:
    """Return whether there is a white-box attack on the model in a folder."""
    method = SYNTHESIZERS[read_info(folder).method]
    return issubclass(method, Pix2Pix) and (folder / CRITIC).is_file()


def white_box(
    folder: Path,
    training: Cohort,
    control: Cohort,
    members: frozenset[str],
    *,
    trained: bool = True,
    crops: int,
    seed: int,
    device: Device,
) -> Attacks:
    """Return two scores of each subject: its mean critic score, and its negative mean reconstruction error.

    Both are means over crops of the kind that the model was trained on, without augmentation. The reconstruction error
    is the mean absolute difference between a real crop and what the generator draws in its place.

    Args:
        folder: the model folder, with its critic.
        training: the training cases.
        control: the held-out cases.
        members: the training subjects.
        trained: whether the networks judge as they are in the folder. Untrained ones remember nobody, so if their
            scores tell members from held-out subjects, the two groups differ; they are named accordingly.
        crops: number of crops per case.
        seed: seed of the crops.
        device: where to compute.

    Raises:
        ModelError: if the model is not of a method that translates images, or its folder lacks the critic.
    """
    model = load_synthesizer(folder, device=pick_device(device))
    if not isinstance(model, Pix2Pix):
        raise ModelError(folder, f"{model.method} has no white-box attack", f"use {METHODS}, or leave the model out")
    if not (folder / CRITIC).is_file():
        raise ModelError(folder, f"holds no {CRITIC}", "train the model again: earlier versions did not keep it")
    judge = _Judge(model, folder, trained=trained, crops=crops, seed=seed, device=device)
    rows = []
    for cohort, is_member in ((training, True), (control, False)):
        for name, scores in judge.scores(cohort).items():
            kept = {subject: score for subject, score in scores.items() if not is_member or subject in members}
            attack = name if trained else f"{name}{UNTRAINED}"
            rows += [(attack, subject, is_member, score) for subject, score in kept.items()]
    return pd.DataFrame(rows, columns=list(COLUMNS))


class _Judge:
    """Scores the cases of a cohort with a generator and its critic."""

    def __init__(self, model: Pix2Pix, folder: Path, *, trained: bool, crops: int, seed: int, device: Device) -> None:
        self.model, self.crops, self.seed, self.device = model, crops, seed, pick_device(device)
        module: Any = model.module(model.config, model.condition, TrainingConfig(seed=seed))
        if trained:
            with must_fit(folder):
                module.critic.load_state_dict(read_critic(folder))
        self.module = module.eval().to(self.device)
        self.generator = model.generator if trained else self.module.result

    def scores(self, cohort: Cohort) -> Mapping[str, Mapping[str, float]]:
        """Return name of the score → subject → mean over cases; unreadable cases are left out."""
        info, options = self.model.info, self.model.config.model_copy(update=PLAIN)
        cases = self.model.training_cases(cohort, info.preprocessing.channels, options)
        found = []
        for case in cases:
            try:
                prepare = partial(self.model.training_scan, options=options)
                samples = cached_samples([case], info.preprocessing, prepare=prepare)
            except LesionforgeError:
                continue
            found.append(
                (case.subject_id, *self._of_case(TrainingCrops(samples, options, self.model.condition, seed=self.seed)))
            )
        subjects = [subject for subject, *_ in found]
        table = {CRITIC_SCORE: [one[1] for one in found], RECONSTRUCTION: [one[2] for one in found]}
        return {name: mean_by_subject(subjects, np.array(values)) for name, values in table.items()}

    def _of_case(self, items: TrainingCrops) -> tuple[float, float]:
        """Return the mean critic score and the negative mean reconstruction error of a case."""
        logits, errors = [], []
        with one_thread(), torch.inference_mode():
            for draw in range(self.crops):
                batch = {name: part.to(self.device) for name, part in default_collate([items[draw]]).items()}
                logits.append(float(self.module.critic_scores(batch)))
                hole = batch["hole"].expand_as(batch["image"])
                drawn = self.generator(batch["condition"])
                errors.append(float((drawn - batch["image"])[hole].abs().mean()))
        return float(np.mean(logits)), -float(np.mean(errors))
