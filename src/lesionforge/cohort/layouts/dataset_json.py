"""The file ``dataset.json`` of nnU-Net v2: channels, lesion classes and file ending of a cohort."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lesionforge.errors import CohortError
from lesionforge.files import write_json
from lesionforge.reading import read_json


@dataclass(frozen=True, kw_only=True)
class Description:
    """The content of a ``dataset.json``.

    Attributes:
        name: see :func:`cohort_name`.
        channels: names in the order of the suffixes ``_0000``, ``_0001``, …
        labels: class name → integer, consecutive from ``background`` = 0.
        file_ending: ``.nii.gz``, ``.nii`` or ``.png``.
    """

    name: str
    channels: tuple[str, ...]
    labels: Mapping[str, int]
    file_ending: str


def is_version_1(content: Any) -> bool:
    """Return whether the content of a ``dataset.json`` is of the Decathlon or nnU-Net v1, which name modalities."""
    return isinstance(content, dict) and "modality" in content and "channel_names" not in content


def read_dataset_json(folder: Path) -> Description:
    """Read and check ``dataset.json``.

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
        raise CohortError(path, what, f"import it: lesionforge import {folder} COHORT")
    try:
        channel_names = {int(number): str(name) for number, name in content["channel_names"].items()}
        labels, file_ending = content["labels"], str(content["file_ending"])
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        what = f"does not describe a dataset of nnU-Net v2 ({error!r})"
        raise CohortError(path, what, "give it channel_names, labels and file_ending") from error
    if sorted(channel_names) != list(range(len(channel_names))) or not channel_names:
        raise CohortError(path, f"the channel numbers are {sorted(channel_names)}", "number them 0, 1, 2, …")
    if file_ending not in (".nii.gz", ".nii", ".png"):
        raise CohortError(path, f"the file ending {file_ending!r} is unknown", "use .nii.gz (3D) or .png (2D)")
    check_names(tuple(channel_names.values()), labels, path)
    return Description(
        name=cohort_name(folder),
        channels=tuple(channel_names[number] for number in sorted(channel_names)),
        labels=_checked_labels(labels, path),
        file_ending=file_ending,
    )


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
        _refuse_regions(labels, path)
        ignored = [name for name in labels if str(name).casefold() == "ignore"]
        if ignored:
            what = f"has an ignore label ({labels[ignored[0]]}), which is not a lesion class and is not supported"
            remedy = "set these voxels to 0 in the label files, or leave their cases out, and remove it from labels"
            raise CohortError(path, what, remedy)
    whole = isinstance(labels, Mapping) and all(type(value) is int for value in labels.values())
    if not whole or sorted(labels.values()) != list(range(len(labels))) or labels.get("background") != 0:
        raise CohortError(path, "labels are not consecutive integers", 'use {"background": 0, "lesion": 1, …}')
    return {str(name): value for name, value in sorted(labels.items(), key=lambda item: item[1])}


def _refuse_regions(labels: Mapping[Any, Any], path: Path) -> None:
    """Raise ``CohortError`` for nnU-Net's region-based labels, with the labels to write instead."""
    regions = {name: value for name, value in labels.items() if isinstance(value, list | tuple)}
    if not regions:
        return
    listed = {value for region in regions.values() for value in region if type(value) is int}
    single = {value: str(name) for name, value in labels.items() if type(value) is int and name != "ignore"}
    values = sorted((listed | set(single)) - {0})
    instead = {"background": 0, **{single.get(value, f"class_{value}"): value for value in values}}
    what = f"labels are regions ({', '.join(map(str, regions))}), which are not supported"
    remedy = f"write the classes that the files hold: {json.dumps(instead, ensure_ascii=False)}, without "
    raise CohortError(path, what, remedy + "regions_class_order, with your own names")
