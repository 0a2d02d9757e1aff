"""A figure of the augmentation of a training case."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lesionforge.augmentation.seeded import apply_seeded
from lesionforge.benchmark.arms.finished import FinishedRun
from lesionforge.benchmark.report.figures.charts import Illustration
from lesionforge.benchmark.report.figures.pictures import LESION_COLOUR
from lesionforge.cohort.inspection.panels import Panel, sheet, window_of
from lesionforge.cohort.inspection.planes import key_plane
from lesionforge.cohort.scan import load_scan
from lesionforge.seeding import derive_seed

VERSIONS = 7


def augmentations(run: FinishedRun) -> Illustration | None:
    """Draw a row per kind of augmentation: the slice with most lesion of a training case, and augmented versions."""
    tasks = (run.study.task_of(run.repeat.train_size, name) for name in run.repeat.arms)
    kinds = list(dict.fromkeys(task.augment for task in tasks if task.augment != "none"))
    cases = run.train.with_lesions()
    if not kinds or not len(cases):
        return None
    preprocessing, task = run.repeat.preprocessing, run.study.plan.task
    sample = preprocessing.forward(load_scan(cases.cases[len(cases) // 2], run.study.channels))
    assert sample.label is not None
    seen = run.study.plan.task_class.seen(task, sample, preprocessing)
    plane = key_plane(sample.as_scan())
    image, label = plane.cut(seen[0]).astype(np.float32), plane.cut(sample.label)
    plain = Panel(
        image=image, window=window_of(image), aspect=plane.aspect, title="as it is", outlines={LESION_COLOUR: label}
    )
    rows: list[list[Panel | None]] = []
    for kind in kinds:
        vary = run.study.plan.task_class.augmentation(task, kind, preprocessing, sample.spacing, spatial_dims=2)
        assert vary is not None
        row: list[Panel | None] = [replace(plain, note=sample.case_id)]
        for number in range(VERSIONS):
            item = {"image": image[None], "label": label[None].astype(np.float32)}
            varied = apply_seeded(vary, item, derive_seed(run.repeat.seed, "shown", kind, number))
            shown, moved = np.asarray(varied["image"])[0], np.asarray(varied["label"])[0] > 0
            title = f"augment: {kind}" if number == 0 else ""
            row.append(replace(plain, image=shown, title=title, outlines={LESION_COLOUR: moved.astype(np.int16)}))
        rows.append(row)
    caption = (
        f"What augmentation makes of a training case in {VERSIONS} random versions, with its lesion outlined, at the "
        "spacing of the networks, first channel. In training each item is varied anew."
    )
    return Illustration("augmentations.png", caption, sheet(rows))
