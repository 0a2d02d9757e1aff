"""The file ``dataset.json`` of nnU-Net v2: channels, lesion classes and file ending of a cohort."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lesionforge.cohort.case import FORMATS, IMAGE_ENDINGS
from lesionforge.errors import CohortError
from lesionforge.files import write_json
from lesionforge.reading import read_json

IGNORE = "ignore"
"""The name of nnU-Net's ignore label, in any case."""
IMPORT = "make a cohort of it: lesionforge import FOLDER COHORT"


@dataclass(frozen=True, kw_only=True)
class Description:
    """The content of a ``dataset.json``.

    Attributes:
        name: see :func:`cohort_name`.
        channels: names in the order of the suffixes ``_0000``, ``_0001``, …
        labels: class name → integer, consecutive from ``background`` = 0.
        file_ending: ``.nii.gz``, ``.nii`` or ``.png``; of a dataset that is imported, any that is read.
        ignored: the value of nnU-Net's ignore label, of a dataset that is imported.
        notes: a line for each rule that was applied to the labels.
        listed: case id → its images and its label, of a dataset that is imported and lists them under ``dataset``.
    """

    name: str
    channels: tuple[str, ...]
    labels: Mapping[str, int]
    file_ending: str
    ignored: int | None = None
    notes: tuple[str, ...] = ()
    listed: Mapping[str, tuple[tuple[Path, ...], Path]] = field(default_factory=dict)


def is_version_1(content: Any) -> bool:
    """Return whether the content of a ``dataset.json`` is of the Decathlon or nnU-Net v1, which name modalities."""
    return isinstance(content, dict) and "modality" in content and "channel_names" not in content


def read_dataset_json(folder: Path, *, importing: bool = False) -> Description:
    """Read and check ``dataset.json``.

    Args:
        folder: the cohort folder, or another dataset of nnU-Net v2.
        importing: take regions, see :func:`classes_of_regions`, the ignore label, every file ending that is read, and
            files that are listed under ``dataset``, wherever they lie.

    Raises:
        CohortError: if the file is missing, is not JSON, lacks channels, labels or the file ending, or if these are
            invalid, see :func:`check_names`.
    """
    path = folder / "dataset.json"
    if not path.is_file():
        raise CohortError(folder, "has no dataset.json", "name a cohort folder, or make one with lesionforge import")
    content = read_json(path, remedy="give it channel_names, labels and file_ending")
    if is_version_1(content):
        what = "belongs to the Medical Segmentation Decathlon or nnU-Net v1"
        raise CohortError(path, what, IMPORT)
    try:
        channel_names = {int(number): str(name) for number, name in content["channel_names"].items()}
        labels, file_ending = content["labels"], str(content["file_ending"])
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        what = f"does not describe a dataset of nnU-Net v2 ({error!r})"
        raise CohortError(path, what, "give it channel_names, labels and file_ending") from error
    if sorted(channel_names) != list(range(len(channel_names))) or not channel_names:
        raise CohortError(path, f"the channel numbers are {sorted(channel_names)}", "number them 0, 1, 2, …")
    if file_ending not in (FORMATS if importing else IMAGE_ENDINGS):
        what = f"the file ending {file_ending!r} is {'not that of a cohort' if file_ending in FORMATS else 'unknown'}"
        raise CohortError(path, what, IMPORT if file_ending in FORMATS else f"use one of {', '.join(FORMATS)}")
    if "dataset" in content and not importing:
        raise CohortError(path, "lists the files of its cases under dataset, wherever they lie", IMPORT)
    listed = _listed(content.get("dataset", {}), path, len(channel_names))
    ignored, notes = None, list[str]()
    if importing and isinstance(labels, Mapping):
        labels, ignored = _without_ignored(labels)
        if any(isinstance(value, list) for value in labels.values()):
            labels = classes_of_regions(labels, path)
            named = ", ".join(f"{value} {name}" for name, value in labels.items() if value)
            notes.append(f"labels are regions; a value is the class of its smallest region: {named}")
    check_names(tuple(channel_names.values()), labels, path)
    return Description(
        name=cohort_name(folder),
        channels=tuple(channel_names[number] for number in sorted(channel_names)),
        labels=_checked_labels(labels, path),
        file_ending=file_ending,
        ignored=ignored,
        notes=tuple(notes),
        listed=listed,
    )


def classes_of_regions(labels: Mapping[str, Any], path: Path) -> dict[str, int]:
    """Return exclusive classes for nnU-Net's region-based labels.

    A value is the class of the smallest region that holds it. If the region holds other values too, the class is called
    ``REGION_rest``, or ``REGION_VALUE`` where several values have the same smallest region.

    Args:
        labels: region → its values, or a single value.
        path: the file that the error names.

    Raises:
        CohortError: if a region is not a list of whole numbers.

    Example:
        >>> classes_of_regions({"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}, Path())
        {'background': 0, 'whole_rest': 1, 'core_rest': 2, 'enhancing': 3}
    """
    regions = {str(name): value if isinstance(value, list) else [value] for name, value in labels.items()}
    if not all(type(value) is int for values in regions.values() for value in values):
        raise CohortError(path, "has a region that is not a list of whole numbers", "write, as nnU-Net does, [1, 2, 3]")
    values = sorted({value for region in regions.values() for value in region} - {0})
    sizes = {name: len(set(region)) for name, region in regions.items()}
    holding = {value: [name for name in regions if value in regions[name]] for value in values}
    smallest = {value: min(names, key=sizes.__getitem__) for value, names in holding.items()}
    classes = {"background": 0}
    for value, name in smallest.items():
        shared = list(smallest.values()).count(name) > 1
        part = "" if sizes[name] == 1 else f"_{value}" if shared else "_rest"
        classes[f"{name}{part}"] = value
    return classes


def _listed(entries: Any, path: Path, n_channels: int) -> dict[str, tuple[tuple[Path, ...], Path]]:
    """Return the files that nnU-Net finds under ``dataset``; paths are relative to the folder.

    Raises:
        CohortError: if an entry has another form, or another number of images than there are channels.
    """
    if not isinstance(entries, Mapping):
        raise CohortError(path, "has a dataset that is no list of cases", 'write {"CASE": {"images": […], "label": …}}')
    listed = {}
    for case_id, entry in entries.items():
        entry = entry if isinstance(entry, Mapping) else {}
        images, label = entry.get("images"), entry.get("label")
        files = [*images, label] if isinstance(images, list) else []
        if len(files) != n_channels + 1 or not all(isinstance(file, str) for file in files):
            remedy = f'write {{"images": [{n_channels} paths, one for each channel], "label": "…"}}'
            raise CohortError(path, f"does not name the files of the case {case_id!r}", remedy)
        listed[str(case_id)] = tuple(path.parent / file for file in files[:-1]), path.parent / files[-1]
    return listed


def _without_ignored(labels: Mapping[str, Any]) -> tuple[dict[str, Any], int | None]:
    """Return the labels without nnU-Net's ignore label, and its value."""
    ignored = next((name for name in labels if str(name).casefold() == IGNORE), None)
    kept = {str(name): value for name, value in labels.items() if name != ignored}
    value = None if ignored is None else labels[ignored]
    return (kept, value) if type(value) is int else (dict(labels), None)


def cohort_name(folder: Path) -> str:
    """Return the name of a cohort: the folder name without ``DatasetNNN_``, whatever ``dataset.json`` says."""
    return re.sub(r"^Dataset\d+_", "", folder.resolve().name)


def write_dataset_json(
    folder: Path,
    *,
    channels: Sequence[str],
    labels: Mapping[str, int],
    num_training: int,
    file_ending: str,
    name: str = "",
) -> None:
    """Write ``dataset.json`` with the keys that nnU-Net requires and, if given, a name.

    Raises:
        CohortError: see :func:`check_names`.
    """
    path = folder / "dataset.json"
    content = {
        "channel_names": {str(number): channel for number, channel in enumerate(channels)},
        "labels": check_names(channels, labels, path),
        "numTraining": num_training,
        "file_ending": file_ending,
    }
    write_json(path, content | ({"name": name} if name else {}))


def check_names(channels: Sequence[str], labels: Any, where: Path) -> dict[str, int]:
    """Check that ``dataset.json`` can hold the channels and labels, and return the labels, sorted.

    Raises:
        CohortError: if the labels are not consecutive integers from ``background`` = 0, one of them is nnU-Net's ignore
            label, two channels have the same name, or a name is empty or holds a semicolon or a line break
            (``missing_channels`` could not list it).
    """
    for channel in channels:
        if not channel.strip() or channel != channel.strip() or ";" in channel or not channel.isprintable():
            remedy = "use a name without semicolons, line breaks and spaces at its ends"
            raise CohortError(where, f"{channel!r} cannot be a channel name", remedy)
        if channels.count(channel) > 1:
            raise CohortError(where, f"two channels are named {channel}", "give every channel its own name")
    return _checked_labels(labels, where)


def _checked_labels(labels: Any, path: Path) -> dict[str, int]:
    if isinstance(labels, Mapping):
        regions = [str(name) for name, value in labels.items() if isinstance(value, list | tuple)]
        ignored = [name for name in labels if str(name).casefold() == IGNORE]
        if regions:
            raise CohortError(path, f"labels are regions ({', '.join(regions)})", IMPORT)
        if ignored:
            raise CohortError(path, f"has an ignore label ({labels[ignored[0]]}), which is no lesion class", IMPORT)
    whole = isinstance(labels, Mapping) and all(type(value) is int for value in labels.values())
    if not whole or sorted(labels.values()) != list(range(len(labels))) or labels.get("background") != 0:
        raise CohortError(path, "labels are not consecutive integers", 'use {"background": 0, "lesion": 1, …}')
    return {str(name): value for name, value in sorted(labels.items(), key=lambda item: item[1])}
