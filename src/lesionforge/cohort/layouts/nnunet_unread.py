"""The files of an nnU-Net dataset that no case has, as lines that an import tells."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from lesionforge.cohort.layouts.dataset_json import Description
from lesionforge.cohort.layouts.listing import counted, images_in


def unread_files(folder: Path, description: Description, case_ids: Collection[str]) -> Iterator[str]:
    """Yield a line for each kind of files that are not read: of other endings, images of no case, labels of no case.

    Args:
        folder: the dataset.
        description: its ``dataset.json``.
        case_ids: the cases, those that cannot be used included.
    """
    ending = description.file_ending
    listed = {file.resolve() for images, label in description.listed.values() for file in (*images, label)}
    stems = {f"{case_id}_{number:04d}" for case_id in case_ids for number in range(len(description.channels))}
    for name in ("imagesTr", "imagesTs", "labelsTr", "anatomyTr"):
        known = stems if name.startswith("images") else case_ids
        others = [
            path
            for path in images_in(folder / name)
            if path.resolve() not in listed and path.name.removesuffix(ending) not in known
        ]
        strange = [path for path in others if not path.name.endswith(ending)]
        if strange:
            yield f"not read, files of {name} that do not end with {ending}: {counted(strange)}"
        left = [path for path in others if path.name.endswith(ending)]
        if left and name == "imagesTs":
            cases = sorted({path.name.removesuffix(ending)[:-5] for path in left})
            yield f"not read, images of imagesTs of {len(cases)} cases that no cases.csv lists, such as {cases[0]}"
        elif left:
            what = "images that are no channel of a case" if name == "imagesTr" else "maps of no case with an image"
            yield f"not read, {what} in {name}: {counted(left)}"
