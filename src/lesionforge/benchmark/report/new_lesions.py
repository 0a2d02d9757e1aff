"""The row of a report on how often each arm saw a lesion that was drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lesionforge.benchmark.arms.control import Lengths
from lesionforge.benchmark.arms.repeats import Arms
from lesionforge.reading import read_json
from lesionforge.tasks.segmentation.new_lesions import ITEMS


def describe_new_lesions(studies: Sequence[tuple[Arms, Lengths]]) -> dict[str, str]:
    """Return row name → text: of each arm with a synthesizer, the share and number of training items with a new lesion.

    Args:
        studies: the study that was run, or those of all folds, each with the training length of its arms.
    """
    parts = []
    for name, arm in studies[0][0].plan.arms.items():
        trainings = [
            repeat.training(name, lengths.steps(repeat.train_size))
            for study, lengths in studies
            for repeat in study.repeats
            if name in repeat.arms
        ]
        folders = [one.folder if arm.finetune is None else one.pretraining_folder for one in trainings]
        notes = [read_json(folder / ITEMS) for folder in folders if (folder / ITEMS).is_file()]
        if notes:
            share = np.mean([note["new_lesion"] for note in notes])
            new = np.mean([note["new_lesion"] * note["items"] for note in notes])
            items = np.mean([note["items"] for note in notes])
            first = "" if arm.finetune is None else " before fine-tuning"
            parts.append(f"{name}: {share:.1%}, about {new:,.0f} of {items:,.0f} items{first}")
    what = "a lesion drawn where the scan had none, counted in random crops or slices; means over the trainings"
    return {"Items with a new lesion": f"{'; '.join(parts)} ({what})"} if parts else {}
