"""DICOM: a folder tree of series, with lesion masks as SEG or RTSTRUCT; of the headers, only geometry is kept."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from types import MappingProxyType

from lesionforge.cohort.case import Cohort, ending_of
from lesionforge.cohort.dicom.headers import Header, is_dicom, load_pydicom
from lesionforge.cohort.dicom.masks import read_masks
from lesionforge.cohort.dicom.studies import Study, by_pattern, by_table, listed, matches
from lesionforge.cohort.dicom.tilt import tilt_of
from lesionforge.cohort.dicom.tree import Series, Tree, files_below, read_tree
from lesionforge.cohort.dicom.volume import Volume, make_volume, read_volume
from lesionforge.cohort.image_file import compose
from lesionforge.cohort.layouts.base import Layout
from lesionforge.cohort.layouts.cases_csv import read_cases_csv
from lesionforge.cohort.layouts.exported import exported_case
from lesionforge.cohort.layouts.labels import NoMask, OnNote, OnProblem, annotate, fail, keep_silent
from lesionforge.errors import CohortError, ConfigError, causes
from lesionforge.reading import Row

TABLE = "series.csv"
"""Names series and their channels; an export writes it."""
NO_PATTERNS: Mapping[str, str] = MappingProxyType({})
SEVERAL = 50
"""Number of files that are looked at to recognise the layout."""


def read_dicom(
    folder: Path,
    *,
    channels: Mapping[str, str] = NO_PATTERNS,
    series: Path | None = None,
    mask: str | None = None,
    name: str | None = None,
    labels: Mapping[str, int] | None = None,
    no_mask: NoMask = "unknown",
    binary_masks: bool = False,
    on_problem: OnProblem = fail,
    on_note: OnNote = keep_silent,
) -> Cohort:
    """Read a folder tree of DICOM series: each study is a case, and its subject is a hash of the patient's id.

    The images and masks of the cohort are read from the series by this process only, until they are written elsewhere.
    Where SEG or RTSTRUCT objects lie, they are masks of the study of the series that they refer to.

    Args:
        folder: the root of the tree.
        channels: channel name → pattern for the description of its series, whatever its case, such as ``*flair*``.
            Without patterns and table, each study must have one series; its channel is its modality.
        series: a table with the columns ``series`` (its uid) and ``channel``, and optionally ``case_id`` and
            ``subject_id``; by default ``series.csv`` in the folder, if it is there and no pattern is given. With it,
            ``cases.csv`` in the folder says what was drawn from whom.
        mask: pattern for the names of the segments and contours that are lesions; by default all are.
        name: name of the cohort; the folder's name by default.
        labels: lesion classes, named like segments or contours; others are not read. By default, all names.
        no_mask: annotation of a study without a mask; *unknown* all the same if a file in the same folder below
            ``folder`` cannot be read, since it may be the mask.
        binary_masks: any segment or contour is the lesion; write the cohort with the same option.
        on_problem: called with the error of each file or study that is left out; raises by default.
        on_note: called with a line about series and files that are not used.

    Raises:
        CohortError: if no study can be used, or nobody says which of several series are the channels.
        ConfigError: if pydicom is not installed, or a pattern or class matches nothing.
    """
    load_pydicom()
    problems: list[CohortError] = []

    def tell(problem: CohortError) -> None:
        problems.append(problem)
        on_problem(problem)

    tree = read_tree(folder, tell, on_note)
    unread = {_patient_folder(folder, Path(problem.where)) for problem in problems}
    if not tree.series:
        told = f": {causes(problems)}" if problems else ""
        raise CohortError(folder, f"holds no DICOM series that is a volume{told}", "name the folder of the series")
    table = series if series is not None or channels or not (folder / TABLE).is_file() else folder / TABLE
    studies = by_pattern(folder, tree, channels, on_note) if table is None else by_table(table, tree, tell)
    rows = _rows(folder / "cases.csv") if table is not None else {}
    scans = list(_scans(tree, studies, rows, tell))
    _tell_tilt(folder, scans, on_note)
    _tell_masks_of_nobody(tree, scans, tell, on_note)
    classes, values = _classes(folder, scans, mask, labels, binary=binary_masks, on_note=on_note)
    masks = {scan.case_id: file for scan in scans if (file := _composed(scan, values, binary=binary_masks)) is not None}
    annotations, classes = annotate(masks, classes, binary_masks=binary_masks, on_problem=tell)
    cases = [
        exported_case(
            {**rows.get(scan.case_id, {}), "case_id": scan.case_id, "subject_id": scan.study.subject_id},
            images={channel: volume.file for channel, volume in scan.volumes.items()},
            found=annotations.get(scan.case_id),
            no_mask=_of_no_mask(folder, scan, no_mask, unread),
            label=masks.get(scan.case_id),
        )
        for scan in scans
        if scan.case_id not in masks or scan.case_id in annotations
    ]
    names = tuple(channels) or tuple(dict.fromkeys(channel for study in studies for channel in study.channels))
    return Cohort(name=name or folder.resolve().name, channels=names, labels=classes, cases=tuple(cases))


class Dicom(Layout):
    """Series of DICOM files."""

    method = "dicom"
    sought = "more DICOM files than images of other formats"
    read = staticmethod(read_dicom)

    @classmethod
    def recognise(cls, source: Path) -> str:
        """Return whether most images among the first files of the tree are DICOM."""
        files = list(islice(files_below(source), SEVERAL)) if source.is_dir() else []
        found = [path for path in files if _shows_dicom(path)]
        if 2 * len(found) <= len(found) + sum(bool(ending_of(path)) for path in files):
            return ""
        return f"it holds DICOM files such as {found[0].relative_to(source)}"


def _shows_dicom(path: Path) -> bool:
    try:
        return is_dicom(path)
    except OSError:  # of a file without rights, told when the tree is read
        return False


@dataclass(frozen=True, kw_only=True)
class _Scan:
    """A study whose series are volumes, with its masks."""

    study: Study
    volumes: Mapping[str, Volume]
    masks: tuple[Header, ...]

    @property
    def case_id(self) -> str:
        return self.study.case_id

    @property
    def first(self) -> Volume:
        return next(iter(self.volumes.values()))


def _rows(table: Path) -> dict[str, Row]:
    """Return the rows of ``cases.csv`` by their ids, if the file is there."""
    return {row["case_id"]: row for row in read_cases_csv(table)} if table.is_file() else {}


def _of_no_mask(folder: Path, scan: _Scan, no_mask: NoMask, unread: set[str]) -> NoMask:
    """Return the annotation of a scan without a mask: unknown if a file beside it, which may be one, is not read."""
    return "unknown" if unread & {"", _patient_folder(folder, scan.first.file)} else no_mask


def _patient_folder(folder: Path, file: Path) -> str:
    """Return the name of the folder below the root of the tree in which a file lies; ``""`` for the root itself."""
    parts = file.relative_to(folder).parts
    return parts[0] if len(parts) > 1 or (parts and file.is_dir()) else ""


def _scans(tree: Tree, studies: Iterable[Study], rows: Collection[str], on_problem: OnProblem) -> Iterator[_Scan]:
    """Yield the studies whose series are volumes, and let this process read them by the files of their first slices."""
    for study in studies:
        try:
            scan = _scan(tree, study, rows)
        except CohortError as problem:
            on_problem(problem)
            continue
        for volume in scan.volumes.values():
            compose(volume.file, partial(read_volume, volume))
        yield scan


def _scan(tree: Tree, study: Study, rows: Collection[str]) -> _Scan:
    """Return a study with its volumes and masks.

    Raises:
        CohortError: if a channel has several series, a series is no volume, a mask refers to a series that is not
            there, or a synthesizer drew the case and ``cases.csv`` does not say from whom.
    """
    for channel, (first, *others) in study.channels.items():
        if others:
            told = listed(one.first.description for one in study.channels[channel])
            remedy = "write a narrower pattern, or list the series in a table, `series=CSV`"
            raise CohortError(
                first.first.file, f"its study has several series for the channel {channel}: {told}", remedy
            )
        if first.first.drawn and study.case_id not in rows:
            what = "was drawn by a synthesizer, and nothing says from whom"
            remedy = f"import the folder that lesionforge exported, with its {TABLE} and cases.csv"
            raise CohortError(first.first.file, what, remedy)
    series = [one for (one,) in study.channels.values()]
    masks = _masks_of(tree, series)
    for mask in masks:
        if not mask.names:
            raise CohortError(mask.file, "names no segment or contour", "export it again, or move it away")
        if mask.refers_to and mask.refers_to not in tree.series:
            raise _lost(mask)
    volumes = {channel: make_volume(one.headers) for channel, (one,) in study.channels.items()}
    return _Scan(study=study, volumes=volumes, masks=tuple(masks))


def _tell_tilt(folder: Path, scans: Iterable[_Scan], on_note: OnNote) -> None:
    for volume in (volume for scan in scans for volume in scan.volumes.values() if volume.is_tilted):
        told = f"a gantry tilt of {tilt_of(volume.place):.1f}° was straightened"
        on_note(f"{told}, with linear interpolation within slices: series of {volume.file.relative_to(folder)}")


def _masks_of(tree: Tree, series: Sequence[Series]) -> list[Header]:
    """Return the masks that refer to one of these series; if there are none, those of their studies."""
    uids, studies = {one.first.series for one in series}, {one.first.study for one in series}
    found = [mask for mask in tree.masks if mask.refers_to in uids]
    return found or [mask for mask in tree.masks if _study_of(mask, tree) in studies]


def _study_of(mask: Header, tree: Tree) -> str:
    return tree.series[mask.refers_to].first.study if mask.refers_to in tree.series else mask.study


def _lost(mask: Header) -> CohortError:
    what = "refers to a series that is no volume in the folder"
    return CohortError(mask.file, what, "add that series, or move this file away")


def _tell_masks_of_nobody(tree: Tree, scans: Sequence[_Scan], on_problem: OnProblem, on_note: OnNote) -> None:
    """Tell which masks belong to no case; those of a study that cannot be used are told with it."""
    used, studies = (
        {mask.file for scan in scans for mask in scan.masks},
        {one.first.study for one in tree.series.values()},
    )
    others = [mask for mask in tree.masks if mask.file not in used]
    for mask in others:
        if mask.refers_to and _study_of(mask, tree) not in studies:
            on_problem(_lost(mask))
    of_studies = [mask.file.name for mask in others if _study_of(mask, tree) in studies]
    if of_studies:
        on_note(f"not used, masks of no channel: {len(of_studies)} files, such as {of_studies[0]}")


def _classes(
    folder: Path,
    scans: Sequence[_Scan],
    mask: str | None,
    labels: Mapping[str, int] | None,
    *,
    binary: bool,
    on_note: OnNote,
) -> tuple[dict[str, int], dict[str, int]]:
    """Return the lesion classes, and name of a segment or contour, as it is written → class.

    Raises:
        ConfigError: if there are masks, and the pattern or a class matches none of their names.
    """
    names = _names(header for scan in scans for header in scan.masks)
    wanted = [name for name in names if mask is None or matches(name, mask)]
    if names and not wanted:
        raise ConfigError(
            repr(mask), f"no segment or contour in {folder} has such a name", f"they are {', '.join(names)}"
        )
    if binary:
        classes, values = {"background": 0, "lesion": 1}, dict.fromkeys(wanted, 1)
    elif labels is not None:
        classes, of_name = dict(labels), {name.casefold(): value for name, value in labels.items()}
        values = {name: of_name[name.casefold()] for name in wanted if of_name.get(name.casefold())}
        for name, value in labels.items():
            if names and value and value not in values.values():
                what = f"no segment or contour in {folder} has the name {name!r}"
                raise ConfigError("`label`", what, f"they are {', '.join(names)}")
    else:
        spelled: dict[str, str] = {}
        for name in wanted:
            spelled.setdefault(name.casefold(), name or "lesion")
        numbers = {folded: number for number, folded in enumerate(spelled, start=1)}
        classes = {
            "background": 0,
            **({spelled[folded]: number for folded, number in numbers.items()} or {"lesion": 1}),
        }
        values = {name: numbers[name.casefold()] for name in wanted}
    unread = [name for name in names if name not in values]
    if unread:
        on_note(f"not used, segments and contours that are no class: {', '.join(unread)}")
    return classes, values


def _names(masks: Iterable[Header]) -> list[str]:
    """Return the names of segments and contours but the background, ordered by their lowest number in a file."""
    numbers: dict[str, int] = {}
    for mask in masks:
        for number, name in enumerate(mask.names):
            numbers[name] = min(number, numbers.get(name, number))
    numbers = {name: number for name, number in numbers.items() if name.casefold() != "background"}
    return sorted(numbers, key=lambda name: (numbers[name], name))


def _composed(scan: _Scan, values: Mapping[str, int], *, binary: bool) -> Path | None:
    """Let this process read the masks of a scan by the file of the first one, which is returned if there is one."""
    masks = [mask for mask in scan.masks if set(mask.names) & set(values)]
    if not masks:
        return None
    compose(masks[0].file, partial(read_masks, masks, scan.first, values, binary=binary))
    return masks[0].file
