"""Lists of cases as MONAI reads them: Auto3DSeg and bundles take ``dataset_0.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lesionforge.cohort.export.base import CaseFiles
from lesionforge.files import write_json

FoldIds = Mapping[str, Sequence[str]]
"""``train`` and ``val`` → case ids, as in nnU-Net's ``splits_final.json``."""
Item = dict[str, Any]


def write_datalists(folder: Path, files: Mapping[str, CaseFiles], folds: Sequence[FoldIds]) -> list[Path]:
    """Write one list for all folds, or, if training sets differ by more than the validation cases, one for each fold.

    In ``dataset_0.json`` for all folds, each case has the ``fold`` that it is validated in; one without ``fold`` is
    trained on in every fold. A single fold has ``training`` and ``validation``, of which Auto3DSeg makes one fold.
    ``testing`` holds the cases without a label. Paths are relative to ``folder``.

    Args:
        folder: where the files lie.
        files: case id → its files.
        folds: at least one.

    Returns:
        The lists.
    """
    testing = [_item(folder, case) for case in files.values() if case.label is None]

    def items(ids: Sequence[str]) -> list[Item]:
        return [_item(folder, files[case_id]) for case_id in ids]

    if _one_list_does(folds):
        fold_of = {case_id: number for number, fold in enumerate(folds) for case_id in fold["val"]}
        ids = sorted({case_id for fold in folds for case_id in (*fold["train"], *fold["val"])})
        training = [
            item | ({"fold": fold_of[case_id]} if case_id in fold_of else {})
            for case_id, item in zip(ids, items(ids), strict=True)
        ]
        contents = [{"training": training, "testing": testing}]
    else:
        contents = [
            {"training": items(fold["train"]), "validation": items(fold["val"]), "testing": testing} for fold in folds
        ]
    paths = [folder / f"dataset_{number}.json" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        write_json(path, content)
    return paths


def _one_list_does(folds: Sequence[FoldIds]) -> bool:
    """Return whether every fold trains on all cases except those that it validates on, each validated on once."""
    everyone = [{*fold["train"], *fold["val"]} for fold in folds]
    validated = [case_id for fold in folds for case_id in fold["val"]]
    return len(folds) > 1 and all(ids == everyone[0] for ids in everyone) and len(validated) == len(set(validated))


def _item(folder: Path, files: CaseFiles) -> Item:
    images = [path.relative_to(folder).as_posix() for path in files.images]
    item: Item = {"image": images[0] if len(images) == 1 else images}
    return item if files.label is None else item | {"label": files.label.relative_to(folder).as_posix()}
