"""BraTS, 2019 to 2024: a folder for each case, whose files are named like the folder and a sequence."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from lesionforge.cohort.case import Annotation, Case, Cohort, stem_of
from lesionforge.cohort.layouts.base import Layout
from lesionforge.cohort.layouts.cases_csv import check_ids
from lesionforge.cohort.layouts.labels import OnNote, OnProblem, annotations_of, fail, keep_silent, mask_values
from lesionforge.cohort.layouts.listing import FEW, counted, folders_in, images_in
from lesionforge.cohort.layouts.subjects import subject_finder
from lesionforge.errors import CohortError

SEQUENCES = {
    "T1": ("t1", "t1n"),
    "T1Gd": ("t1ce", "t1c"),
    "T2": ("t2", "t2w"),
    "FLAIR": ("flair", "t2f"),
}
"""Channel → the ends of file names until 2021, and since 2023."""
FILE = re.compile(r"(.+)[-_](t1|t1n|t1ce|t1c|t2|t2w|flair|t2f)", re.IGNORECASE)
NEW = ("t1n", "t1c", "t2w", "t2f")
MASK = re.compile(r"seg|gtv", re.IGNORECASE)
SUBJECT = r"(BraTS(?:-[A-Za-z]+)+-\d+)(?:-\d+)?$|(Brats1\d_[^_]+_[^_]+)_\d+$|(.+)"
"""The number of the visit is the last part of names since 2023, and of names with a site until 2019."""
DEPTH = 3
"""Of the cases' folders below the source: ``HGG`` and ``LGG`` lie between, and sometimes the name of the release."""
UNTIL_2021 = {"NCR": 1, "ED": 2, "ET": 4}
SINCE_2023 = {"NCR": 1, "ED": 2, "ET": 3}
WITH_CAVITY = {**SINCE_2023, "RC": 4}
CHILDREN = {"ET": 1, "NET": 2, "CC": 3, "ED": 4}
TARGET = {"GTV": 1}
MEANINGS = {
    "NCR": "necrotic core",
    "ED": "oedema",
    "ET": "enhancing tumour",
    "NET": "tumour without enhancement",
    "CC": "cyst",
    "RC": "resection cavity",
    "GTV": "gross tumour volume",
}
CORE = ("NCR", "NET", "CC", "ET")
"""Classes of the tumour core; with ED they are the whole tumour."""
OUTERMOST_FIRST = ("ED", "RC", "NCR", "NET", "CC", "ET")
"""The classes as they are nested; their values are in another order."""


def read_brats(
    folder: Path,
    *,
    name: str | None = None,
    labels: Mapping[str, int] | None = None,
    binary_masks: bool = False,
    subject_pattern: str | None = None,
    on_problem: OnProblem = fail,
    on_note: OnNote = keep_silent,
) -> Cohort:
    """Read BraTS folders; the classes are named after the challenge: NCR, ED, ET, and RC, NET and CC where they occur.

    The value of ET is 4 in files with names until 2021 (3 if 3 occurs and 4 does not), and 3 since 2023, where 4 is RC.
    In ``BraTS-PED``, 1 to 4 are ET, NET, CC and ED.

    Args:
        folder: holds the folders of the cases, or those of ``HGG`` and ``LGG``.
        name: name of the cohort; the folder's name by default.
        labels: lesion classes, if those of the challenge are not meant.
        binary_masks: any non-zero mask value is the lesion; write the cohort with the same option.
        subject_pattern: a regular expression that finds the subject's id at the beginning of the case id; by default
            ``BraTS-GLI-00005`` for ``BraTS-GLI-00005-100``.
        on_problem: called with the error of each case that is left out; raises by default.
        on_note: called with lines about the meaning of the classes, and about files that are not used.

    Raises:
        CohortError: if there is no case, or the values of the masks can mean several things.
    """
    found: dict[str, Path] = {}
    for case in _case_folders(folder):
        if case.name in found:
            raise CohortError(case, f"is a second case of this name, beside {found[case.name]}", "rename one of them")
        found[case.name] = case
    if not found:
        raise CohortError(folder, "holds no case of BraTS", "name the folder that holds the cases' folders")
    subject, images, subjects = subject_finder(subject_pattern), dict[str, dict[str, Path]](), dict[str, str]()
    for case_id, case in found.items():
        try:
            subjects[case_id] = subject(case_id) if subject_pattern else _subject_of(case_id)
            images[case_id] = _sequences(case)
        except CohortError as problem:
            on_problem(problem)
    check_ids(({"case_id": case_id, "subject_id": subjects[case_id]} for case_id in images), folder)
    masks = {case_id: mask for case_id in images if (mask := _mask(found[case_id])) is not None}
    values = mask_values(masks, labels, binary_masks=binary_masks, on_problem=on_problem)
    files = [path for of_case in images.values() for path in of_case.values()]
    if binary_masks:
        classes = {"background": 0, "lesion": 1}
    elif labels is None:
        classes = {"background": 0, **_classes(folder, files, masks, set[int]().union(*values.values()))}
        on_note(_meaning(classes))
    else:
        classes = dict(labels)
    _tell_unused(folder, found.values(), on_note)
    annotations = annotations_of(values)
    cases = [
        Case(
            case_id=case_id,
            subject_id=subjects[case_id],
            images=of_case,
            annotation=annotations.get(case_id, Annotation.UNKNOWN),
            label=masks.get(case_id),
        )
        for case_id, of_case in images.items()
        if case_id not in masks or case_id in annotations
    ]
    channels = tuple(channel for channel in SEQUENCES if any(channel in of_case for of_case in images.values()))
    return Cohort(name=name or folder.resolve().name, channels=channels, labels=classes, cases=tuple(cases))


class Brats(Layout):
    """Brain Tumour Segmentation Challenge."""

    method = "brats"
    sought = "folders with files named like them, such as CASE/CASE_flair.nii.gz or CASE/CASE-t2f.nii.gz"
    read = staticmethod(read_brats)

    @classmethod
    def recognise(cls, source: Path) -> str:
        """Return whether one of the first folders is a case of BraTS."""
        case = next(_case_folders(source, few=FEW), None)
        return "" if case is None else f"it holds files such as {_named_files(case)[0][1].name}"


def _case_folders(folder: Path, *, few: int | None = None, depth: int = DEPTH) -> Iterator[Path]:
    """Yield the folders of cases in order of their paths, looking into a few on each level, or into all."""
    for below in folders_in(folder)[:few]:
        if _named_files(below):
            yield below
        elif depth > 1:
            yield from _case_folders(below, few=few, depth=depth - 1)


def _named_files(case: Path) -> list[tuple[str, Path]]:
    """Return the channel and the path of each file that is named like its folder and a sequence."""
    matches = [(FILE.fullmatch(stem_of(path)), path) for path in images_in(case)]
    ends = [(match[2].lower(), path) for match, path in matches if match and match[1] == case.name]
    return [(next(channel for channel in SEQUENCES if end in SEQUENCES[channel]), path) for end, path in ends]


def _sequences(case: Path) -> dict[str, Path]:
    """Return channel → file of a case.

    Raises:
        CohortError: if two files are of one sequence.
    """
    found: dict[str, Path] = {}
    for channel, path in _named_files(case):
        if channel in found:
            what = f"has two files of one sequence, {found[channel].name} and {path.name}"
            raise CohortError(case, what, "move one of them away")
        found[channel] = path
    return found


def _mask(case: Path) -> Path | None:
    """Return the mask of a case; that of ``BraTS20_Training_355`` is not named like its folder."""
    others = [path for path in images_in(case) if MASK.search(stem_of(path).removeprefix(case.name))]
    return others[0] if others else None


def _tell_unused(folder: Path, cases: Collection[Path], on_note: OnNote) -> None:
    """Tell how many folders hold images that are not named like them, and how many images of the cases are not used."""
    others = list(_other_folders(folder))
    if others:
        named = f"{others[0].name}/{images_in(others[0])[0].name}"
        on_note(
            f"not read, folders whose images are not named like them and a sequence: {len(others)}, such as {named}"
        )
    used = {path for case in cases for path in (*(path for _, path in _named_files(case)), _mask(case))}
    further = [path for case in cases for path in images_in(case) if path not in used]
    if further:
        on_note(f"not used, further images in the folders of cases: {counted(further)}")


def _other_folders(folder: Path, *, depth: int = DEPTH) -> Iterator[Path]:
    """Yield the folders that hold images and are no cases, as deep as those of cases lie."""
    for below in folders_in(folder):
        if _named_files(below):
            continue
        if images_in(below):
            yield below
        if depth > 1:
            yield from _other_folders(below, depth=depth - 1)


def _subject_of(case_id: str) -> str:
    match = re.match(SUBJECT, case_id, re.IGNORECASE)
    return next(filter(None, match.groups()), case_id) if match else case_id


def _classes(folder: Path, files: list[Path], masks: Mapping[str, Path], values: set[int]) -> dict[str, int]:
    """Return class → value of the challenge that the files seem to be of.

    Raises:
        CohortError: if the values can mean several things, or are not of BraTS.
    """
    new = any(stem_of(path).lower().endswith(NEW) for path in files)
    if masks and all(stem_of(mask).lower().endswith("gtv") for mask in masks.values()):
        fits = [TARGET]
    elif any("-PED-" in path.name.upper() for path in files):
        fits = [CHILDREN] if 4 in values else [CHILDREN, SINCE_2023]
    elif new:
        fits = [WITH_CAVITY if 4 in values else SINCE_2023]
    else:
        fits = [SINCE_2023 if 3 in values and 4 not in values else UNTIL_2021]
    if len(fits) == 1 and values <= set(fits[0].values()):
        return fits[0]
    named = " ".join(f"`label=NAME={value}`" for value in sorted(values))
    what = f"the masks hold the values {sorted(values)}, whose meaning differs between the years of BraTS"
    raise CohortError(folder, what, f"name each class, {named}")


def _meaning(classes: Mapping[str, int]) -> str:
    told = ", ".join(f"{value} {name} ({MEANINGS[name]})" for name, value in classes.items() if value)
    core = [name for name in CORE if name in classes]
    nested = f"; nested: tumour core = {' + '.join(core)}, whole tumour = core + ED" if "ED" in classes else ""
    return f"classes: {told}{nested}"
