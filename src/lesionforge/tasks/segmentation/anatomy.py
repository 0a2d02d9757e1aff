"""Anatomy maps by a segmentation network that was trained on brain structures instead of lesions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lesionforge.cohort.map_maker import MapMaker
from lesionforge.cohort.scan import LabelArray, Scan, load_scan
from lesionforge.cohort.structures import Structures
from lesionforge.tasks.segmentation.loading import load_segmentation


def segmented_structures(folder: Path) -> tuple[Callable[[Scan], LabelArray], Structures]:
    """Return a function that segments the structures of a scan, and what its values mean.

    The record of what makes the maps names the subjects that the network was trained on.

    Args:
        folder: a model of a segmentation task whose classes are brain structures.

    Raises:
        ModelError: if it is not the folder of such a model.
    """
    task = load_segmentation(folder)
    channels = task.info.preprocessing.channels
    names = {name: value for name, value in task.info.labels.items() if value}

    def segment(scan: Scan) -> LabelArray:
        return task.predict(load_scan(scan.case, channels))

    maker = MapMaker(methods=(task.info.method,), subjects=tuple(sorted(task.info.training_subjects)))
    return segment, replace(Structures.named(names), maker=maker)
