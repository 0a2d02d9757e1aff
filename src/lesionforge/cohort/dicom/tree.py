"""A folder tree of DICOM files: which series and masks it holds, and what else."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lesionforge.cohort.dicom.headers import (
    CAPTURES,
    LOCALISER_IMAGE,
    NO_IMAGE,
    TOMOGRAPHIC,
    WITHOUT,
    Header,
    is_dicom,
    read_header,
)
from lesionforge.cohort.layouts.labels import OnNote, OnProblem
from lesionforge.cohort.layouts.listing import is_listed
from lesionforge.cohort.stored import missing_file
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

    @property
    def is_tomography(self) -> bool:
        """Whether its images are slices by their modality, or captures of such; X-rays and ultrasound are not."""
        return self.first.modality in TOMOGRAPHIC or self.first.sop_class.startswith(CAPTURES)

    @property
    def reasons(self) -> str:
        """Why its images are no slices of a volume."""
        return " and ".join(sorted({header.unfit for header in self.headers}))


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
        yield from (path for path in paths if is_listed(path))


def read_tree(folder: Path, on_problem: OnProblem, on_note: OnNote) -> Tree:
    """Read the headers of all DICOM files of a tree.

    Args:
        folder: its root.
        on_problem: called with the error of each file that cannot be read; those that are no DICOM, once for a folder.
        on_note: called with a line about each series that is no volume, and about other files that are not used.
    """
    groups, masks, seen = dict[str, list[Header]](), list[Header](), set[object]()
    others, misnamed, copies, kinds = list[Path](), dict[Path, list[Path]](), list[Path](), list[Path]()
    unread = dict[tuple[Path, str], list[CohortError]]()
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
            refused = CohortError(path, f"cannot be read ({error.strerror})", "correct its rights")
            problem = refused if path.exists() else missing_file(path)
            unread.setdefault((path.parent, problem.what), []).append(problem)
            continue
        except CohortError as problem:
            unread.setdefault((path.parent, problem.what), []).append(problem)
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
    for (place, _), problems in unread.items():
        on_problem(_alike(place, problems))
    for place, paths in misnamed.items():
        on_problem(_misnamed(place, paths))
    _tell(folder, "not used, no DICOM", others, on_note)
    _tell(folder, "not used, second copies of an object", copies, on_note)
    _tell(folder, "not used, neither images nor masks", kinds, on_note)
    series = {uid: Series(headers=tuple(headers)) for uid, headers in groups.items()}
    return Tree(series=_volumes(folder, series, on_problem, on_note), masks=tuple(masks))


def _volumes(folder: Path, series: dict[str, Series], on_problem: OnProblem, on_note: OnNote) -> dict[str, Series]:
    """Return the series that may be volumes, without images that are no slices; what is left out is told in a line.

    It is a problem if some slices of a series do not say where they lie, and if a study of CT, MR, PET or captures has
    no volume for another reason than that its images are localisers.
    """
    volumes, unfit = {}, list[Series]()
    for uid, one in series.items():
        fit = tuple(header for header in one.headers if not header.unfit)
        others = Series(headers=tuple(header for header in one.headers if header.unfit))
        if fit and any(header.unfit.startswith(WITHOUT) for header in others.headers):
            on_problem(_incomplete(one))
        elif fit:
            volumes[uid] = Series(headers=fit)
        if others.headers and (not fit or uid in volumes):
            unfit.append(others)
    studies = {one.first.study for one in volumes.values()}
    for others in unfit:
        if others.first.study in studies or others.reasons == LOCALISER_IMAGE or not others.is_tomography:
            count, such = len(series[others.first.series].headers), others.first.file.relative_to(folder)
            where = f"{len(others.headers)} of {count} files, such as {such}"
            on_note(f"not used, {others.reasons}: series {others.first.description!r}, {where}")
        else:
            what = f"no series of its study is a volume: {len(others.headers)} files are {others.reasons}"
            on_problem(CohortError(others.first.file, what, "export the slices of a scan, or move this study away"))
    return volumes


def _incomplete(series: Series) -> CohortError:
    """Return the error of a series of which some slices do not say where they lie."""
    others = [header for header in series.headers if header.unfit.startswith(WITHOUT)]
    what = f"{len(others)} of {len(series.headers)} slices of its series are {others[0].unfit}"
    return CohortError(others[0].file, what, "export the series again, or leave it out")


def _alike(place: Path, problems: Sequence[CohortError]) -> CohortError:
    """Return one error for all files of a folder that have the same one."""
    first = problems[0]
    if len(problems) == 1:
        return first
    what = f"{len(problems)} files cannot be used, such as {Path(first.where).name}: {first.what}"
    return CohortError(place, what, first.remedy)


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
