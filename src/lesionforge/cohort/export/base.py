"""The base class of exporters: a clean cohort folder is rearranged into another format."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.layouts.nnunet import case_files
from lesionforge.errors import CohortError

LAYOUT = ("imagesTr", "imagesTs", "labelsTr", "anatomyTr")
"""The folders of nnU-Net's layout, and that of anatomy maps."""


@dataclass(frozen=True, kw_only=True)
class CaseFiles:
    """The files of an exported case.

    Attributes:
        images: one file per channel, or one with all channels.
        label: the lesion classes; ``None`` if it is not known where the lesions are.
    """

    images: tuple[Path, ...]
    label: Path | None


class Exporter:
    """A format that cohorts are exported to.

    Attributes:
        method: its name, as in ``lesionforge export --as``.
        volumes_only: whether it cannot hold PNG slices.
        arrange: static method that turns a folder in nnU-Net's raw layout into this format, in place. The files are
            clean and complete: only voxels and geometry, checked, classes numbered 1 … k. Its arguments are the cohort
            of the folder, whose cases name their files; the folder, with ``dataset.json``, ``cases.csv``, ``imagesTr``,
            ``imagesTs``, ``labelsTr`` and ``anatomyTr``; ``name``, which the folder will have; and options of its own.
            It returns case id → :class:`CaseFiles`.
    """

    method: ClassVar[str]
    arrange: ClassVar[Callable[..., dict[str, CaseFiles]]]
    volumes_only: ClassVar[bool] = False

    @classmethod
    def check(cls, cohort: Cohort, out: Path) -> None:
        """Refuse a cohort that the format cannot hold, or a folder name that its readers do not find.

        Args:
            cohort: the cases to export.
            out: the new folder.

        Raises:
            CohortError: if the cohort does not fit.
            ConfigError: if the name of ``out`` does not fit.
        """
        if cls.volumes_only and any(case.file_ending == ".png" for case in cohort):
            what = f"holds PNG slices, and {cls.method} holds volumes"
            raise CohortError(cohort.name, what, "export them as nnunet or as folders")

    @classmethod
    def options(cls) -> frozenset[str]:
        """Return the names of the options that ``arrange`` takes, besides those that every format takes."""
        return frozenset(inspect.signature(cls.arrange).parameters) - {"cohort", "folder", "name"}


def written_files(case: Case, cohort: Cohort, folder: Path) -> CaseFiles:
    """Return the files of a case of a cohort folder, those of channels that were filled with zeros included."""
    images = "imagesTr" if case.outlined else "imagesTs"
    files, label = case_files(folder, case.case_id, len(cohort.channels), case.file_ending, images=images)
    return CaseFiles(images=tuple(files), label=label if case.outlined else None)


def safe_names(names: Iterable[str], *, taken: Iterable[str] = ()) -> dict[str, str]:
    """Return name → its ASCII letters and digits without ``sub-``, and a number if another name has them already.

    Args:
        names: such as ids, or channels.
        taken: texts that none may have, whatever their case.

    >>> safe_names(["p_1", "p-1", "T2*"], taken=["lesion"])
    {'p_1': 'p1', 'p-1': 'p1x2', 'T2*': 'T2'}
    """
    used, result = {text.casefold() for text in taken}, dict[str, str]()
    for name in names:
        plain = re.sub(r"^sub[-_]|[^A-Za-z0-9]", "", name) or "x"
        tries = (plain, *(f"{plain}x{number}" for number in range(2, len(used) + 3)))
        result[name] = next(text for text in tries if text.casefold() not in used)
        used.add(result[name].casefold())
    return result
