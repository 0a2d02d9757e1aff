"""The row of a report on what each arm costs in time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lesionforge.benchmark.arms.control import Lengths
from lesionforge.benchmark.arms.repeats import Arms, ArmTraining
from lesionforge.benchmark.report.made_of import Spent, spent


def describe_cost(studies: Sequence[tuple[Arms, Lengths]]) -> dict[str, str]:
    """Return row name → text: the minutes that each arm takes, by what they are spent on; mean over the trainings.

    Trainings that were not timed, such as those of an earlier version, are left out.

    Args:
        studies: the study that was run, or those of all folds, each with the training length of its arms.
    """
    parts = []
    for name in studies[0][0].plan.arms:
        trainings = [
            repeat.training(name, lengths.steps(repeat.train_size))
            for study, lengths in studies
            for repeat in study.repeats
            if name in repeat.arms
        ]
        costs = [cost for training in trainings if (cost := cost_of(training)) is not None]
        if costs:
            parts.append(f"{name}: {_in_words(costs)}")
    rule = "mean over training sets and seeds, over all threads; what several arms share is counted for each"
    return {"CPU minutes of an arm": f"{'; '.join(parts)} ({rule})"} if parts else {}


def cost_of(training: ArmTraining) -> dict[str, Spent] | None:
    """Return what is made for one training of an arm → what it took, or ``None`` if something was not timed."""
    costs = {what: spent(folders) for what, folders in _folders(training).items()}
    known = {what: cost for what, cost in costs.items() if cost is not None}
    return known if len(known) == len(costs) else None


def _folders(training: ArmTraining) -> dict[str, list[Path]]:
    """Return what is made for a training → the folders in which it is made."""
    repeat, arm, name = training.repeat, training.arm, training.arm.synthesizer
    found: dict[str, list[Path]] = {}
    if name is not None:
        plan = repeat.plan.synthesizers[name]
        found["synthesizer"] = [repeat.model_folder(name)]
        if plan.selection is not None:
            found["synthesizer"].append(repeat.selection_folder(name))
        if plan.mask_generator is not None:
            found["mask generator"] = [repeat.mask_generator_folder(plan.mask_generator)]
        if arm.use == "offline":
            targets = [] if plan.targets is None else [repeat.targets_folder(name)]
            found["drawing"] = [*targets, repeat.cohort_folder(name)]
        if arm.kept is not None:
            found["judging"] = [repeat.judged_folder(name)]
    pretraining = [] if arm.finetune is None else [training.pretraining_folder]
    return found | {"network": [*pretraining, training.folder]}


def _in_words(costs: Sequence[dict[str, Spent]]) -> str:
    means = {what: np.mean([cost[what] for cost in costs], axis=0) for what in costs[0]}
    cpu, wall = np.sum(list(means.values()), axis=0)
    parts = "" if len(means) == 1 else f" ({', '.join(f'{what} {_minutes(mean[0])}' for what, mean in means.items())})"
    return f"{_minutes(cpu)}{parts}, {_minutes(wall)} on the clock"


def _minutes(minutes: float) -> str:
    return f"{minutes:.0f}" if minutes >= 10 else f"{minutes:.2g}"
