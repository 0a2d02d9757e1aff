"""A folder tree of DICOM files: which series and masks it holds, and what else."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lesionforge.cohort.dicom.headers import NO_IMAGE, Header, is_dicom, read_header
from lesionforge.cohort.layouts.labels import OnNote, OnProblem
from lesionforge.errors import CohortError

ENDINGS = (".dcm", ".dicom", ".ima")
"""Of files that say that they are DICOM."""
LISTS = (".csv", ".json")
"""Endings of what an export writes beside the cases."""
SIGNATURES = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"\x1f\x8b": "gzip", b"PK\x03\x04": "ZIP", b"": "empty"}


@dataclass(frozen=True, kw_only=True)
class Series:
    """The images of a series.

    Attributes:
        headers: one for each object, in the order of their files.
    """

    headers: tuple[Header, ...]

    @property
    def first(self) -> Header:
        """The first header; all have its series, study, patient and description."""
        return self.headers[0]


@dataclass(frozen=True, kw_only=True)
class Tree:
    """What a folder tree holds.

    Attributes:
        series: uid → images that may make a volume.
        masks: the SEG and RTSTRUCT objects.
    """

    series: dict[str, Series]
    masks: tuple[Header, ...]


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files of a tree in order of their paths, without hidden ones."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(place, name) for name in sorted(files) if not name.startswith("."))
        yield from (path for path in paths if path.is_file())


def read_tree(folder: Path, on_problem: OnProblem, on_note: OnNote) -> Tree:
    """Read the headers of all DICOM files of a tree.

    Args:
        folder: its root.
        on_problem: called with the error of each file that cannot be read; those that are no DICOM, once for a folder.
        on_note: called with a line about each series that is no volume, and about other files that are not used.
    """
    groups, masks, seen = dict[str, list[Header]](), list[Header](), set[object]()
    others, misnamed, copies, kinds = list[Path](), dict[Path, list[Path]](), list[Path](), list[Path]()
    for path in files_below(folder):
        try:
            if not is_dicom(path):
                if path.suffix.lower() in ENDINGS:
                    misnamed.setdefault(path.parent, []).append(path)
                elif path.parent != folder or path.suffix not in LISTS:
                    others.append(path)
                continue
            header = read_header(path)
        except OSError as error:
            on_problem(CohortError(path, f"cannot be read ({error.strerror})", "correct its rights"))
            continue
        except CohortError as problem:
            on_problem(problem)
            continue
        if (header.uid, header.frames) in seen:
            copies.append(path)
        elif header.is_mask:
            masks.append(header)
        elif header.unfit == NO_IMAGE:
            kinds.append(path)
        else:
            groups.setdefault(header.series, []).append(header)
        seen.add((header.uid, header.frames))
    for place, paths in misnamed.items():
        on_problem(_misnamed(place, paths))
    _tell(folder, "not used, no DICOM", others, on_note)
    _tell(folder, "not used, second copies of an object", copies, on_note)
    _tell(folder, "not used, neither images nor masks", kinds, on_note)
    series = {uid: Series(headers=tuple(headers)) for uid, headers in groups.items()}
    return Tree(series=_volumes(folder, series, on_note), masks=tuple(masks))


def _volumes(folder: Path, series: dict[str, Series], on_note: OnNote) -> dict[str, Series]:
    """Return the series that may be volumes, without images that are no slices; what is left out is told in a line."""
    volumes = {}
    for uid, one in series.items():
        fit = tuple(header for header in one.headers if not header.unfit)
        others = [header for header in one.headers if header.unfit]
        if others:
            reasons = " and ".join(sorted({header.unfit for header in others}))
            where = f"{len(others)} of {len(one.headers)} files, such as {others[0].file.relative_to(folder)}"
            on_note(f"not used, {reasons}: series {one.first.description!r}, {where}")
        if fit:
            volumes[uid] = Series(headers=fit)
    return volumes


def _misnamed(place: Path, paths: Sequence[Path]) -> CohortError:
    """Return the error of files of a folder that say that they are DICOM, and are not."""
    with paths[0].open("rb") as file:
        start = file.read(4)
    kind = next((name for mark, name in SIGNATURES.items() if start.startswith(mark) and (mark or not start)), "")
    named = paths[0] if len(paths) == 1 else place
    what = "is no DICOM file" if len(paths) == 1 else f"holds {len(paths)} files that are no DICOM, as {paths[0].name}"
    remedies = {"PNG": "import them as slices with a table", "JPEG": "import them as slices with a table"}
    remedy = remedies.get(kind, "copy or export it again")
    return CohortError(named, f"{what} ({kind or 'it lacks DICM at byte 128'})", remedy)


def _tell(folder: Path, what: str, paths: Sequence[Path], on_note: OnNote) -> None:
    if paths:
        on_note(f"{what}: {len(paths)} files, such as {paths[0].relative_to(folder)}")
