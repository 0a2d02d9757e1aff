"""The Medical Segmentation Decathlon, and nnU-Net v1: ``dataset.json`` of version 1 lists images and labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lesionforge.cohort.case import Cohort, ending_of, stem_of
from lesionforge.cohort.image_file import read_header, volume_in
from lesionforge.cohort.layouts.base import Layout
from lesionforge.cohort.layouts.cases_csv import check_ids
from lesionforge.cohort.layouts.dataset_json import is_version_1
from lesionforge.cohort.layouts.exported import exported_case, read_facts, row_of
from lesionforge.cohort.layouts.labels import OnNote, OnProblem, annotate, fail, keep_silent
from lesionforge.cohort.layouts.subjects import subject_finder
from lesionforge.cohort.stored import missing_file
from lesionforge.errors import CohortError
from lesionforge.reading import Row, read_json

WRITTEN = "written by lesionforge"
"""The description of a dataset that an export wrote."""
REMEDY = 'give it modality, labels and training, a list of {"image": …, "label": …}'


def read_decathlon(
    folder: Path,
    *,
    name: str | None = None,
    labels: Mapping[str, int] | None = None,
    binary_masks: bool = False,
    subject_pattern: str | None = None,
    on_problem: OnProblem = fail,
    on_note: OnNote = keep_silent,
) -> Cohort:
    """Read a dataset of the Decathlon: the volumes of a 4D image are its channels, in the order of ``modality``.

    An image that lies there as ``CASE_0000.nii.gz``, ``CASE_0001.nii.gz``, … is read from these files, as nnU-Net v1
    keeps it. Images under ``test`` have no labels and are not read. ``cases.csv``, which an export writes beside
    ``dataset.json``, says who is who, and what was drawn from whom.

    Args:
        folder: holds ``dataset.json``.
        name: name of the cohort; the folder's name by default.
        labels: lesion classes in place of those of ``dataset.json``.
        binary_masks: any non-zero mask value is the lesion; write the cohort with the same option.
        subject_pattern: a regular expression that finds the subject's id at the beginning of the case id; by default
            each case is its own subject. Not for a dataset with ``cases.csv``.
        on_problem: called with the error of each case that is left out; raises by default.
        on_note: called with a line about what is not read.

    Raises:
        CohortError: if ``dataset.json`` is missing, of another version, or lists no case; if an export wrote it and
            ``cases.csv`` is missing.
        ConfigError: if ``cases.csv`` names subjects and a pattern is given.
    """
    path = folder / "dataset.json"
    content = read_json(path, remedy=REMEDY)
    channels, classes, training = _checked(content, path)
    subject = subject_finder(subject_pattern)
    made_by = path if content.get("description") == WRITTEN else None
    rows = read_facts(folder, made_by=made_by, subject_pattern=subject_pattern)
    images: dict[str, dict[str, Path]] = {}
    facts: dict[str, Row] = {}
    masks: dict[str, Path] = {}
    for entry in training:
        image, label = _file(folder, entry["image"], path), _file(folder, entry["label"], path)
        case_id = stem_of(image)
        if case_id in facts:
            raise CohortError(path, f"lists the case {case_id} twice", "list each image once, with its own name")
        try:
            facts[case_id] = row_of(case_id, rows, image)
            facts[case_id].setdefault("subject_id", subject(case_id))
            images[case_id] = _channels(image, channels)
            masks[case_id] = label
        except CohortError as problem:
            on_problem(problem)
    check_ids((facts[case_id] for case_id in images), path)
    if content.get("test"):
        on_note(f"{len(content['test'])} images under test have no labels and are not read")
    known = {"background": 0, "lesion": 1} if binary_masks else labels or classes
    annotations, _ = annotate(masks, known, binary_masks=binary_masks, on_problem=on_problem)
    cases = [
        exported_case(facts[case_id], images=images[case_id], found=annotation, label=masks[case_id])
        for case_id, annotation in annotations.items()
    ]
    return Cohort(name=name or folder.resolve().name, channels=channels, labels=known, cases=tuple(cases))


class Decathlon(Layout):
    """The Medical Segmentation Decathlon, and nnU-Net v1."""

    method = "msd"
    sought = "dataset.json with modality"
    read = staticmethod(read_decathlon)

    @classmethod
    def recognise(cls, source: Path) -> str:
        """Return whether there is a ``dataset.json`` of version 1."""
        path = source / "dataset.json"
        try:
            known = path.is_file() and is_version_1(read_json(path))
        except CohortError:
            known = False
        return "it holds a dataset.json of the Decathlon or of nnU-Net v1" if known else ""


def _checked(content: Any, path: Path) -> tuple[tuple[str, ...], dict[str, int], list[dict[str, str]]]:
    """Return channels, classes and the list of cases of a ``dataset.json``.

    Raises:
        CohortError: if it is of another version, or a part has another form.
    """
    if not is_version_1(content):
        raise CohortError(path, "is not of the Decathlon or nnU-Net v1", "import it with `layout=nnunet`")
    try:
        modalities = {int(number): str(name) for number, name in content["modality"].items()}
        classes = {str(name): int(number) for number, name in content["labels"].items()}
        training = [{key: entry[key] for key in ("image", "label")} for entry in content["training"]]
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise CohortError(path, f"does not describe a dataset of the Decathlon ({error!r})", REMEDY) from error
    texts = all(isinstance(value, str) for entry in training for value in entry.values())
    if not texts or sorted(modalities) != list(range(len(modalities))) or not modalities:
        raise CohortError(path, "does not describe a dataset of the Decathlon", REMEDY)
    if len(classes) < len(content["labels"]) or 0 not in classes.values():
        raise CohortError(path, "two classes have one name, or none has the number 0", "give each its own name")
    if not training:
        raise CohortError(path, "lists no case under training", "add the images and their labels")
    named = {name: number for name, number in classes.items() if number}
    return tuple(modalities[number] for number in sorted(modalities)), {"background": 0, **named}, training


def _file(folder: Path, listed: str, path: Path) -> Path:
    """Return a listed file, which must be an image inside the folder."""
    file = folder / listed
    if not file.resolve().is_relative_to(folder.resolve()) or not ending_of(file):
        raise CohortError(path, f"lists {listed!r}, which is no image in its folder", "list paths such as ./imagesTr/…")
    return file


def _channels(image: Path, channels: tuple[str, ...]) -> dict[str, Path]:
    """Return channel → its file, or its volume in a 4D file; a channel without a file is missing.

    Raises:
        CohortError: if a file does not hold as many volumes as there are channels.
    """
    if not image.is_file():
        stem, ending = stem_of(image), image.name[len(stem_of(image)) :]
        files = [image.with_name(f"{stem}_{number:04d}{ending}") for number in range(len(channels))]
        found = {channel: file for channel, file in zip(channels, files, strict=True) if file.is_file()}
        if not found:
            raise missing_file(image)
        return found
    header = read_header(image)
    shape: tuple[int, ...] = () if header is None else header.get_data_shape()
    volumes = shape[3] if len(shape) > 3 else 1
    if volumes != len(channels):
        what = f"holds {volumes} volumes, but dataset.json names {len(channels)} modalities"
        raise CohortError(image, what, "correct modality, or export the image again")
    if len(channels) == 1:
        return {channels[0]: image}
    return {channel: volume_in(image, number) for number, channel in enumerate(channels)}
