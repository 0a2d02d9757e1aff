"""A folder of lesion label maps without scans, to train a mask generator on."""

from __future__ import annotations

from pathlib import Path

from lesionforge.cohort.case import Annotation, Case, Cohort, ending_of, stem_of
from lesionforge.cohort.layouts.labels import OnProblem, check_classes, fail
from lesionforge.cohort.layouts.subjects import subject_of
from lesionforge.cohort.scan import read_label
from lesionforge.errors import CohortError, told


def read_masks(folder: Path, *, on_problem: OnProblem = fail) -> Cohort:
    """Read the label maps of a folder as a cohort without channels.

    A file with a BIDS name, ``sub-LABEL_….nii.gz``, belongs to the subject ``sub-LABEL``; any other file is its own
    subject. The classes are 0 to the greatest value found; 0/255 is refused.

    Args:
        folder: holds ``.nii.gz``, ``.nii`` or ``.png`` files.
        on_problem: called with the error of each file that is left out, including empty ones; raises by default.

    Raises:
        CohortError: if the folder is missing or holds no lesion.
    """
    if not folder.is_dir():
        raise CohortError(folder, "there is no such folder", "check the path")
    cases, problems, greatest = [], list[CohortError](), 0
    for path in sorted(folder.iterdir()):
        if not ending_of(path):
            continue
        try:
            greatest = max(greatest, _greatest_class(path))
        except CohortError as problem:
            problems.append(problem)
            on_problem(problem)
            continue
        name = stem_of(path)
        cases.append(
            Case(
                case_id=name,
                subject_id=subject_of(name),
                images={},
                annotation=Annotation.LESION,
                label=path,
            )
        )
    if not cases:
        raise CohortError(folder, told("holds no lesion mask", problems), "put .nii.gz label files there")
    names = {"lesion": 1} if greatest == 1 else {f"lesion_{value}": value for value in range(1, greatest + 1)}
    return Cohort(name=folder.name, channels=(), labels={"background": 0, **names}, cases=tuple(cases))


def _greatest_class(path: Path) -> int:
    label, _ = read_label(path)
    if not label.any():
        raise CohortError(path, "holds no lesion", "leave it out")
    greatest = int(label.max())
    check_classes(label, path, {str(value): value for value in ([0, 1] if greatest == 255 else range(greatest + 1))})
    return greatest
