"""Lesion classes: the values that label files may hold, and the annotation of a case that follows from them."""

from collections.abc import Callable, Mapping
from os.path import commonpath
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np

from lesionforge.cohort.case import Annotation
from lesionforge.cohort.scan import ALL_BUT_0, STORED_0_TOP, LabelArray, read_label
from lesionforge.errors import CohortError

NoMask = Literal["unknown", "lesion_free"]
OnProblem = Callable[[CohortError], None]
"""Called with the error of a case that a reader leaves out."""

SMOOTHED = f"save it without anti-aliasing; `binary_masks` takes {ALL_BUT_0}"

OnNote = Callable[[str], None]
"""Called with a line about a rule that a reader applied."""


def keep_silent(note: str) -> None:
    """Drop the note; the default of every reader."""


def fail(problem: CohortError) -> NoReturn:
    """Raise the problem; the default of every reader, which then stops at the first bad case."""
    raise problem


def check_label_values(path: Path, labels: Mapping[str, int]) -> LabelArray:
    """Read a label map, check its values against the classes, and return it.

    Args:
        path: the label file.
        labels: class name → integer, ``background`` = 0 included.

    Raises:
        CohortError: if the file cannot be read, or holds a value that is not a class; 0/255 masks get
            their own remedy.
    """
    label, _ = read_label(path)
    check_classes(label, path, labels)
    return label


def check_classes(label: LabelArray, path: Path, labels: Mapping[str, int]) -> None:
    """Check the values of a label map that was read from ``path``; see :func:`check_label_values`."""
    values = set(np.unique(label).tolist())
    _refuse_grey_values(path, values, set(labels.values()))
    strange = sorted(values - set(labels.values()))
    if strange:
        known = ", ".join(f"{value} {name}" for name, value in labels.items())
        raise CohortError(path, f"holds the label values {strange}, known are {known}", "correct it or name the class")


def consecutive(labels: Mapping[str, int]) -> dict[str, int]:
    """Return the classes numbered 0, 1, 2, … in the order of their values, as nnU-Net requires.

    Args:
        labels: class name → value in the files.
    """
    numbers = {value: number for number, value in enumerate(sorted(set(labels.values())))}
    return {name: numbers[value] for name, value in labels.items()}


def renumber(label: LabelArray, labels: Mapping[str, int]) -> LabelArray:
    """Return a label map with the numbers of :func:`consecutive` for the values of ``labels``."""
    values, numbers = sorted(labels.values()), np.arange(len(labels), dtype=np.int16)
    return label if values == numbers.tolist() else numbers[np.searchsorted(values, label)]


def derive_annotation(path: Path, labels: Mapping[str, int], *, binary_masks: bool = False) -> Annotation:
    """Return *lesion* if the label file has a non-zero voxel, else *lesion_free*.

    Args:
        path: the label file.
        labels: class name → integer.
        binary_masks: any non-zero value is the lesion.

    Raises:
        CohortError: see :func:`check_label_values`.
    """
    label = read_label(path, binary=True)[0] if binary_masks else check_label_values(path, labels)
    return Annotation.LESION if label.any() else Annotation.LESION_FREE


def annotate(
    masks: Mapping[str, Path],
    labels: Mapping[str, int] | None,
    *,
    binary_masks: bool,
    on_problem: OnProblem,
) -> tuple[dict[str, Annotation], dict[str, int]]:
    """Read the masks of an import; return each case's annotation and the lesion classes.

    Args:
        masks: case id → mask file.
        labels: the classes, or ``None`` to name them after the values of the masks: ``lesion`` for a single class,
            else ``lesion_1`` … ``lesion_k``.
        binary_masks: any non-zero value is the lesion.
        on_problem: called with the error of each mask that cannot be used; its case gets no annotation.

    Raises:
        CohortError: if ``labels`` is ``None`` and the values are not 1 … k.
    """
    found = mask_values(masks, labels, binary_masks=binary_masks, on_problem=on_problem)
    values = set[int]().union(*found.values())
    return annotations_of(found), dict(labels) if labels is not None else _name_classes(values, masks)


def mask_values(
    masks: Mapping[str, Path], labels: Mapping[str, int] | None, *, binary_masks: bool, on_problem: OnProblem
) -> dict[str, set[int]]:
    """Return the values except 0 of each mask that can be used; the arguments are those of :func:`annotate`."""
    found = {}
    for case_id, path in masks.items():
        try:
            found[case_id] = _values(path, labels, binary_masks=binary_masks)
        except CohortError as problem:
            on_problem(problem)
    return found


def annotations_of(values: Mapping[str, set[int]]) -> dict[str, Annotation]:
    """Return the annotations of cases by the values of their masks: *lesion* if there are any but 0."""
    return {case_id: Annotation.LESION if found else Annotation.LESION_FREE for case_id, found in values.items()}


def _values(path: Path, labels: Mapping[str, int] | None, *, binary_masks: bool) -> set[int]:
    """Return the non-zero values of a mask."""
    if labels is not None and not binary_masks:
        return set(np.unique(check_label_values(path, labels)).tolist()) - {0}
    label, _ = read_label(path, binary=binary_masks)
    if binary_masks:
        return {1} if label.any() else set()
    values = set(np.unique(label).tolist())
    _refuse_grey_values(path, values, set())
    if min(values) < 0:
        raise CohortError(path, f"holds the label value {min(values)}, below 0", "set it to a class, or to 0")
    return values - {0}


def _refuse_grey_values(path: Path, values: set[int], known: set[int]) -> None:
    if 255 not in values - known:
        return
    if values <= {0, 255}:
        raise CohortError(path, "the mask is stored as 0 and 255", STORED_0_TOP)
    raise CohortError(path, f"the mask has smoothed edges: {len(values)} values from 0 to 255", SMOOTHED)


def _name_classes(values: set[int], masks: Mapping[str, Path]) -> dict[str, int]:
    if values and values != set(range(1, max(values) + 1)):
        where = Path(commonpath([path.parent for path in masks.values()]))
        named = " ".join(f"`label=NAME={value}`" for value in sorted(values))
        what = f"the masks hold the values {sorted(values)}, not 1 … k"
        raise CohortError(where, what, f"name each class, {named}, to renumber them")
    if len(values) <= 1:
        return {"background": 0, "lesion": 1}
    return {"background": 0, **{f"lesion_{value}": value for value in sorted(values)}}
