"""Archives of every layout, each a tree with one good case and many wrong ones.

A wrong case is left out and listed in one line that names it; the good one is imported.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.cohort.dicom.files import write_series
from tests.faults.changes import png
from tests.faults.wrong import Wrong
from tests.faults.wrong_dicom import wrong_studies
from tests.faults.wrong_files import (
    IMAGE,
    LESION,
    MASK,
    SLICE,
    Files,
    save_nifti,
    wrong_formats,
    wrong_slices,
    wrong_volumes,
)

HEALTHY = ("--no-mask", "lesion_free")
"""Nobody becomes healthy since a mask is wrong."""
FIRST = 100
"""Number of the first wrong case."""


@dataclass(frozen=True, kw_only=True)
class Archive:
    """Cases of one layout.

    Attributes:
        options: of ``lesionforge import``.
        wrong: its wrong cases.
        put: writes a good case, given the root and its number, and returns what is changed to make it wrong.
        finish: writes what lists the cases, given the root and their numbers.
    """

    options: tuple[str, ...]
    wrong: tuple[Wrong[Any], ...]
    put: Callable[[Path, int], Any]
    finish: Callable[[Path, Sequence[int]], object] = lambda root, numbers: None

    def write(self, root: Path) -> None:
        """Write the archive."""
        root.mkdir()
        for number, wrong in enumerate((None, *self.wrong), start=FIRST - 1):
            place = self.put(root, number)
            if wrong is not None:
                wrong.make(place)
        self.finish(root, range(FIRST - 1, FIRST + len(self.wrong)))


def archives() -> dict[str, Archive]:
    """Return an archive of each layout, by its name."""
    volumes = tuple(wrong_volumes())
    return {
        "dicom": Archive(options=("--channel", "MR=flair", *HEALTHY), wrong=tuple(wrong_studies()), put=_study),
        "folders": Archive(
            options=("--channel", "FLAIR=image.[!irj]*", "--mask", "mask.*", *HEALTHY),
            wrong=(*volumes, *wrong_formats()),
            put=_files("w{0}/image.nii.gz", "w{0}/mask.nii.gz"),
        ),
        "bids": Archive(
            options=HEALTHY,
            wrong=(*volumes, *_wrong_sessions()),
            put=_files(
                "sub-w{0}/anat/sub-w{0}_FLAIR.nii.gz",
                "derivatives/lesions/sub-w{0}/anat/sub-w{0}_label-lesion_mask.nii.gz",
            ),
        ),
        "brats": Archive(
            options=(),
            wrong=(*volumes, *_wrong_tumours()),
            put=_files("w{0}/w{0}_flair.nii.gz", "w{0}/w{0}_seg.nii.gz"),
        ),
        "msd": Archive(
            options=(),
            wrong=(*volumes, *_wrong_entries()),
            put=_files("imagesTr/w{0}.nii.gz", "labelsTr/w{0}.nii.gz"),
            finish=_decathlon,
        ),
        "nnunet": Archive(
            options=(),
            wrong=volumes,
            put=_files("imagesTr/w{0}_0000.nii.gz", "labelsTr/w{0}.nii.gz"),
            finish=_nnunet,
        ),
        "slices": Archive(options=(), wrong=tuple(wrong_slices()), put=_slice, finish=_table),
    }


def _study(root: Path, number: int) -> tuple[Path, int]:
    if number < FIRST:
        write_series(root / f"w{number}", study=number)
    return root / f"w{number}", number


def _files(image: str, mask: str) -> Callable[[Path, int], Files]:
    def put(root: Path, number: int) -> Files:
        files = root / image.format(number), root / mask.format(number)
        save_nifti(files[0], IMAGE)
        save_nifti(files[1], LESION)
        return files

    return put


def _slice(root: Path, number: int) -> Files:
    folder = root / f"w{number}"
    folder.mkdir()
    files = folder / "image.png", folder / "mask.png"
    files[0].write_bytes(png(SLICE))
    files[1].write_bytes(png(MASK))
    return files


def _table(root: Path, numbers: Sequence[int]) -> None:
    rows = [f"w{n},s{n},w{n}/image.png,w{n}/mask.png" for n in numbers]
    (root / "slices.csv").write_text("\n".join(["slice_id,subject_id,image,mask", *rows]) + "\n")


def _decathlon(root: Path, numbers: Sequence[int]) -> None:
    entries = [{"image": f"./imagesTr/w{n}.nii.gz", "label": f"./labelsTr/w{n}.nii.gz"} for n in numbers]
    content = {"modality": {"0": "FLAIR"}, "labels": {"0": "background", "1": "lesion"}, "training": entries}
    (root / "dataset.json").write_text(json.dumps(content))


def _nnunet(root: Path, numbers: Sequence[int]) -> None:
    content = {
        "channel_names": {"0": "FLAIR"},
        "labels": {"background": 0, "lesion": 1},
        "numTraining": len(numbers),
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(content))


def _wrong_sessions() -> Iterator[Wrong[Files]]:
    def copied(which: int, old: str, new: str) -> Callable[[Files], object]:
        return lambda files: save_nifti(
            files[which].with_name(files[which].name.replace(old, new)), (IMAGE, LESION)[which]
        )

    two = "has several files for"
    yield Wrong(
        name="two acquisitions", told=f"{two} FLAIR", make=_renamed(0, "_FLAIR", "_acq-a_FLAIR", "_acq-b_FLAIR")
    )
    yield Wrong(
        name="two masks", told="has several lesion masks", make=copied(1, "lesion_mask", "lesion_desc-core_mask")
    )
    yield Wrong(name="masks of two runs", told="has several lesion masks", make=copied(1, "_label", "_run-2_label"))


def _renamed(which: int, old: str, *new: str) -> Callable[[Files], object]:
    def apply(files: Files) -> None:
        for name in new:
            files[which].with_name(files[which].name.replace(old, name)).write_bytes(files[which].read_bytes())
        files[which].unlink()

    return apply


def _wrong_tumours() -> Iterator[Wrong[Files]]:
    twice = _renamed(0, "_flair", "_flair", "_t2f")

    def both(files: Files) -> None:
        content = files[0].read_bytes()
        twice(files)
        files[0].write_bytes(content)

    yield Wrong(name="two files of one sequence", told="has two files of one sequence", make=both)


def _wrong_entries() -> Iterator[Wrong[Files]]:
    def volumes(count: int) -> Callable[[Files], object]:
        return lambda files: save_nifti(files[0], np.stack([IMAGE] * count, -1))

    yield Wrong(name="more volumes than modalities", told="holds 3 volumes, but dataset.json names 1", make=volumes(3))
    yield Wrong(name="an image that is missing", told="the file is missing", make=lambda files: files[0].unlink())
    yield Wrong(name="a mask that is missing", told="the file is missing", make=lambda files: files[1].unlink())
