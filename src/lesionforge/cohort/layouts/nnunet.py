"""The nnU-Net v2 raw layout: the cohort on disk."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lesionforge.cohort.case import Annotation, Case, Cohort, ending_of
from lesionforge.cohort.image_file import is_slice
from lesionforge.cohort.layouts.adc import ADC, adc_factor
from lesionforge.cohort.layouts.base import Layout
from lesionforge.cohort.layouts.cases_csv import (
    SYNTHETIC_COLUMNS,
    case_from_row,
    check_ids,
    listed_channels,
    read_cases_csv,
    row_from_case,
    write_cases_csv,
    write_problems,
    write_table,
)
from lesionforge.cohort.layouts.dataset_json import (
    Description,
    check_names,
    is_version_1,
    read_dataset_json,
    write_dataset_json,
)
from lesionforge.cohort.layouts.exported import check_subject_pattern
from lesionforge.cohort.layouts.hounsfield import Window, in_window
from lesionforge.cohort.layouts.labels import (
    OnNote,
    OnProblem,
    check_classes,
    consecutive,
    derive_annotation,
    fail,
    keep_silent,
    renumber,
)
from lesionforge.cohort.layouts.nnunet_unread import unread_files
from lesionforge.cohort.layouts.subjects import subject_finder
from lesionforge.cohort.map_maker import all_makers
from lesionforge.cohort.provenance import check_made, check_record
from lesionforge.cohort.scan import (
    FloatArray,
    LabelArray,
    Scan,
    load_scan,
    read_label,
    save_copy,
    save_image,
    save_label,
)
from lesionforge.cohort.settled_geometry import rules_of
from lesionforge.cohort.structures import Structures, read_structures, write_structures
from lesionforge.errors import CohortError, causes
from lesionforge.files import claim_output
from lesionforge.reading import Row, read_json

Missing = Literal["leave_out", "zero_fill"]


def read_cohort(
    folder: Path, *, binary_masks: bool = False, subject_pattern: str | None = None, on_problem: OnProblem = fail
) -> Cohort:
    """Read a folder in nnU-Net's raw layout, with ``cases.csv`` and ``anatomyTr`` if they exist.

    Without ``cases.csv`` the cases are those of ``imagesTr``, and each is its own subject, unless it has a BIDS name
    such as ``sub-01_ses-1`` or ``subject_pattern`` is given. An annotation that the table does not give comes from the
    label file: *lesion* if it has a non-zero voxel, *lesion_free* if it has none, *unknown* if there is no file. Images
    are not opened. A drawn cohort whose table is missing, or says less than the records in ``provenance``, is an error.

    Args:
        folder: the cohort folder, which holds ``dataset.json``.
        binary_masks: any non-zero mask value is the lesion; write the cohort with the same option.
        subject_pattern: a regular expression that finds the subject's id at the beginning of the case id, see
            :func:`~lesionforge.cohort.layouts.subjects.subject_finder`; for folders without subjects in ``cases.csv``.
        on_problem: called with the error of each case that is left out; raises by default.

    Raises:
        ConfigError: if ``cases.csv`` names subjects and a pattern is given.
        CohortError: if ``dataset.json`` or ``cases.csv`` is invalid, or there is no case.

    Example:
        >>> from lesionforge.testing import tiny_cohort
        >>> _ = tiny_cohort(Path("Dataset001_Tiny"), spatial_dims=2, n_subjects=2)
        >>> cohort = read_cohort(Path("Dataset001_Tiny"))
        >>> cohort.channels, cohort.subjects
        (('FLAIR',), ('sub_00', 'sub_01'))
    """
    return _read_described(
        folder,
        read_dataset_json(folder),
        binary_masks=binary_masks,
        subject_pattern=subject_pattern,
        on_problem=on_problem,
    )


def read_any_nnunet(
    folder: Path,
    *,
    binary_masks: bool = False,
    subject_pattern: str | None = None,
    on_problem: OnProblem = fail,
    on_note: OnNote = keep_silent,
) -> Cohort:
    """Read any dataset of nnU-Net v2 to import it: with regions, an ignore label, another ending, or files elsewhere.

    Regions become classes, see :func:`~lesionforge.cohort.layouts.dataset_json.classes_of_regions`. A case with voxels
    of the ignore label is unknown, since nobody said whether they are a lesion.

    Args:
        folder: the dataset, see :func:`read_cohort` for this and the other arguments.
        binary_masks: any non-zero mask value is the lesion.
        subject_pattern: a regular expression for the subject's id.
        on_problem: called with the error of each case that is left out.
        on_note: called with a line for each rule that was applied, and about files that are not read.

    Raises:
        ConfigError: see :func:`read_cohort`.
        CohortError: see :func:`read_cohort`.
    """
    description = read_dataset_json(folder, importing=True)
    for note in description.notes:
        on_note(note)
    cohort = _read_described(
        folder, description, binary_masks=binary_masks, subject_pattern=subject_pattern, on_problem=on_problem
    )
    for note in unread_files(folder, description, [row["case_id"] for row in _rows(folder, description)]):
        on_note(note)
    if description.ignored is not None:
        unknown = [case for case in cohort if case.annotation is Annotation.UNKNOWN]
        labels = [_files_of(folder, case.case_id, description)[1] for case in unknown]
        count = sum(label.is_file() for label in labels)
        held = f"hold voxels of the ignore label ({description.ignored})"
        remedy = "set these voxels to 0 where you know that there is no lesion"
        known = f"{count} of {len(cohort)} cases {held}, so their lesions are unknown; {remedy}"
        on_note(known if count else f"no cases {held}")
    return cohort


def _read_described(
    folder: Path, description: Description, *, binary_masks: bool, subject_pattern: str | None, on_problem: OnProblem
) -> Cohort:
    rows = _rows(folder, description)
    structures = read_structures(folder)
    parenchyma, fluid = ((), ()) if structures is None else (structures.parenchyma, structures.fluid)
    maker = None if structures is None else structures.maker
    folders = {part: _names(folder / part) for part in ("imagesTr", "imagesTs", "labelsTr", "anatomyTr")}
    check_subject_pattern(subject_pattern, rows, folder / "cases.csv")
    subject, cases, problems = subject_finder(subject_pattern), [], []
    for row in rows:
        try:
            row.setdefault("subject_id", subject(row["case_id"]))
            case = _read_case(folder, row, description, folders, binary_masks=binary_masks)
            check_record(folder, case)
            classes = {} if binary_masks else description.labels
            cases.append(replace(case, parenchyma=parenchyma, fluid=fluid, map_maker=maker, classes=classes))
        except CohortError as problem:
            problems.append(problem)
            on_problem(problem)
    if problems and not cases:
        raise CohortError(folder, f"holds no usable case: {causes(problems)}", "correct these")
    if not cases:
        raise CohortError(folder, "holds no usable case", "put images into imagesTr, named CASE_0000 and so on")
    return Cohort(name=description.name, channels=description.channels, labels=description.labels, cases=tuple(cases))


class NnUNet(Layout):
    """The raw layout of nnU-Net."""

    method = "nnunet"
    sought = "dataset.json with channel_names"
    read = staticmethod(read_any_nnunet)

    @classmethod
    def recognise(cls, source: Path) -> str:
        """Return whether there is a ``dataset.json`` of any version but 1, readable or not."""
        path = source / "dataset.json"
        try:
            known = path.is_file() and not is_version_1(read_json(path))
        except CohortError:
            known = True
        return "it holds a dataset.json of nnU-Net v2" if known else ""


def case_files(
    folder: Path, case_id: str, n_channels: int, file_ending: str, *, images: str = "imagesTr"
) -> tuple[list[Path], Path]:
    """Return the files of the channels and the label of a case in a cohort folder."""
    names = [folder / images / f"{case_id}_{number:04d}{file_ending}" for number in range(n_channels)]
    return names, folder / "labelsTr" / f"{case_id}{file_ending}"


def _rows(folder: Path, description: Description) -> list[Row]:
    """Return the rows of ``cases.csv``; without it, those of the cases that are listed or in ``imagesTr``."""
    table = folder / "cases.csv"
    if table.is_file():
        return read_cases_csv(table)
    check_made(folder)
    if description.listed:
        rows = [{"case_id": case_id} for case_id in description.listed]
        check_ids(rows, folder / "dataset.json")
        return rows
    return _rows_from_files(folder, description.file_ending)


def _files_of(folder: Path, case_id: str, description: Description) -> tuple[list[Path], Path]:
    """Return the images and the label of a case, listed or in ``imagesTr`` and ``labelsTr``."""
    if case_id in description.listed:
        images, label = description.listed[case_id]
        return list(images), label
    return case_files(folder, case_id, len(description.channels), description.file_ending)


def _rows_from_files(folder: Path, file_ending: str) -> list[Row]:
    pattern = re.compile(rf"(.+)_\d{{4}}{re.escape(file_ending)}")
    matches = (pattern.fullmatch(name) for name in _names(folder / "imagesTr"))
    case_ids = sorted({match[1] for match in matches if match})
    return [{"case_id": case_id} for case_id in case_ids]


def _names(folder: Path) -> frozenset[str]:
    if not folder.is_dir():
        return frozenset()
    names = frozenset(path.name for path in folder.iterdir() if not path.name.startswith("."))
    strange = sorted(name for name in names if not name.isprintable())
    if strange:
        raise CohortError(folder, f"holds a file with the name {strange[0]!r}", "use letters, digits, - and _ only")
    return names


def _read_case(
    folder: Path, row: Row, description: Description, folders: Mapping[str, frozenset[str]], *, binary_masks: bool
) -> Case:
    case_id, channels, ending = row["case_id"], description.channels, description.file_ending
    missing = listed_channels(row.get("missing_channels", ""))
    for channel in missing:
        if channel not in channels:
            raise CohortError(case_id, f"missing_channels names {channel!r}", f"the channels are {', '.join(channels)}")
    files, label = _files_of(folder, case_id, description)
    listed, names = case_id in description.listed, {file.name for file in files}
    there = label.is_file() if listed else label.name in folders["labelsTr"]
    if not listed and not folders["imagesTr"] & names and folders["imagesTs"] & names:
        files, _ = case_files(folder, case_id, len(channels), ending, images="imagesTs")
    elif row.get("annotation") == Annotation.LESION and not there:
        raise CohortError(label, "the label file of a case with lesions is missing", "restore it, or say unknown")
    annotation = _annotation(row, label, description, there=there, binary_masks=binary_masks)
    anatomy = folder / "anatomyTr" / f"{case_id}{ending}"
    return case_from_row(
        row,
        images={channel: file for channel, file in zip(channels, files, strict=True) if channel not in missing},
        annotation=annotation,
        label=label if annotation is not Annotation.UNKNOWN and there else None,
        anatomy=anatomy if anatomy.name in folders["anatomyTr"] else None,
    )


def _annotation(row: Row, label: Path, description: Description, *, there: bool, binary_masks: bool) -> Annotation:
    ignored, stated = description.ignored, row.get("annotation", "")
    if there and ignored is not None and (read_label(label)[0] == ignored).any():
        return Annotation.UNKNOWN
    if not stated:
        return derive_annotation(label, description.labels, binary_masks=binary_masks) if there else Annotation.UNKNOWN
    return Annotation(stated)


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """What was settled about the files of a case.

    Attributes:
        case_id: the case.
        rules: by which they lie where they do.
        adc_factor: of its ADC map, see :func:`~lesionforge.cohort.layouts.adc.adc_factor`.
    """

    case_id: str
    rules: Sequence[str]
    adc_factor: float


def _facts(scan: Scan) -> _Facts:
    return _Facts(case_id=scan.case.case_id, rules=rules_of(scan), adc_factor=adc_factor(scan))


@dataclass(frozen=True, kw_only=True)
class WriteReport:
    """The result of writing a cohort, or what :func:`preview_nnunet` expects of it.

    Attributes:
        cohort: the written cases, as read back; of a preview, with the files of the source.
        left_out: cases left out because a channel is missing.
        filled: cases whose missing channels were filled with zeros.
        converted: cases whose ADC map was converted to 10⁻³ mm²/s.
        renumbered: lesion class → its value in the source, for the classes with a new value.
        dropped_columns: further columns of ``cases.csv`` that were left out.
        settled: rule by which the geometry was settled → cases whose headers disagree or say nothing.
        problems: errors of the cases that were left out.
    """

    cohort: Cohort
    left_out: tuple[str, ...] = ()
    filled: tuple[str, ...] = ()
    converted: tuple[str, ...] = ()
    renumbered: Mapping[str, int] = field(default_factory=dict)
    dropped_columns: tuple[str, ...] = ()
    settled: Mapping[str, Sequence[str]] = field(default_factory=dict)
    problems: tuple[CohortError, ...] = ()


def write_nnunet(
    cohort: Cohort,
    folder: Path,
    *,
    missing: Missing = "leave_out",
    binary_masks: bool = False,
    problems: Collection[CohortError] = (),
    anatomy: Callable[[Scan], LabelArray] | None = None,
    structures: Structures | None = None,
    window: Window | None = None,
    columns: Collection[str] = (),
) -> WriteReport:
    """Write a cohort in nnU-Net's raw layout, with ``cases.csv`` and ``anatomyTr``.

    Each case is read and checked first; a bad case is left out and listed in ``problems.csv``. Only the stored values,
    data type, scaling and geometry of an image are written. Every written file is read back. Label and anatomy take
    the geometry of the image; classes other than 1 … k are renumbered in the order of their values. A lesion-free case
    gets an all-zero label; a case without a mask of its lesions goes to ``imagesTs`` and has no label. Cases with
    missing channels are listed in ``missing.csv``. A channel named ADC is written in 10⁻³ mm²/s, whatever its unit.
    ``dataset.json`` is written last.

    Args:
        cohort: the cohort to write.
        folder: a new or empty folder, usually ``DatasetNNN_Name``.
        missing: leave out cases with missing channels, or fill these channels with zeros.
        binary_masks: store every value of a mask except 0 as class 1.
        problems: errors of cases that the reader left out, to be listed with the others.
        anatomy: makes the anatomy map of each case from all its channels, in place of an existing map.
        structures: the meaning of the values of the anatomy maps; with ``anatomy``, also what makes them, which
            otherwise comes from the cases.
        window: window in Hounsfield units for channels named CT; they are clipped to it, and its lower end becomes 0.
        columns: further columns of ``cases.csv`` to write, besides those that a synthesizer makes.

    Raises:
        OutputError: if the folder is not empty.
        CohortError: if the cohort is empty, mixes PNG and NIfTI, or no case could be written.

    Example:
        >>> from lesionforge.testing import tiny_cohort
        >>> cohort = tiny_cohort(Path("tiny"), spatial_dims=2)
        >>> report = write_nnunet(cohort.of_subjects(["sub_00"]), Path("Dataset002_One"))
        >>> len(report.cohort), sorted(path.name for path in Path("Dataset002_One").iterdir())
        (1, ['cases.csv', 'dataset.json', 'imagesTr', 'labelsTr'])
    """
    _check_request(cohort, folder, problems, columns, window)
    file_ending = _file_ending(cohort)
    claim_output(folder)
    incomplete, kept = _sorted_out(cohort, missing)
    written, facts, found = [], list[_Facts](), list(problems)
    how: Any = {"binary_masks": binary_masks, "anatomy": anatomy, "window": window}
    for case in kept:
        try:
            made, known = _write_case(case, cohort, folder, file_ending, **how)
            written.append(made)
            facts.append(known)
        except CohortError as problem:
            found.append(problem)
            _remove(case, folder, len(cohort.channels), file_ending)
    _write_lists(folder, incomplete.values(), cohort.channels, missing, found)
    if not written:
        raise _nothing_written(folder, found)
    if structures is not None:
        maker = structures.maker if anatomy else all_makers(case.map_maker for case in kept if case.anatomy is not None)
        write_structures(folder, replace(structures, maker=maker))
    wanted, labels = {*columns, *SYNTHETIC_COLUMNS}, consecutive(cohort.labels)
    result = cohort.with_cases([_with_columns(case, wanted) for case in written])
    write_cases_csv(folder, result, channels=cohort.channels)
    write_dataset_json(
        folder,
        channels=cohort.channels,
        labels=labels,
        num_training=len(result.annotated()),
        file_ending=file_ending,
    )
    return _report(cohort, read_cohort(folder), written, facts, incomplete, found, missing, columns)


def preview_nnunet(
    cohort: Cohort,
    *,
    missing: Missing = "leave_out",
    binary_masks: bool = False,
    problems: Collection[CohortError] = (),
    window: Window | None = None,
    columns: Collection[str] = (),
) -> WriteReport:
    """Return what :func:`write_nnunet` would write and leave out; every case is read and checked, nothing is written.

    Args:
        cohort: the cohort.
        missing: see :func:`write_nnunet`, as the other arguments.
        binary_masks: any value of a mask except 0 is class 1.
        problems: errors of cases that the reader left out.
        window: window in Hounsfield units.
        columns: further columns of ``cases.csv``.

    Raises:
        CohortError: if the cohort is empty, mixes PNG and NIfTI, or no case could be written.
    """
    _check_request(cohort, Path(cohort.name), problems, columns, window)
    _file_ending(cohort)
    incomplete, kept = _sorted_out(cohort, missing)
    good, facts, found = [], list[_Facts](), list(problems)
    for case in kept:
        try:
            scan, _ = _checked_scan(case, cohort, binary_masks=binary_masks, window=window)
            facts.append(_facts(scan))
            good.append(case)
        except CohortError as problem:
            found.append(problem)
    if not good:
        raise _nothing_written(Path(cohort.name), found)
    result = replace(cohort, labels=consecutive(cohort.labels), cases=tuple(good))
    return _report(cohort, result, good, facts, incomplete, found, missing, columns)


def _sorted_out(cohort: Cohort, missing: Missing) -> tuple[dict[str, Case], list[Case]]:
    """Return the cases that lack a channel, by id, and the cases to write."""
    incomplete = {case.case_id: case for case in cohort if not case.has_channels(cohort.channels)}
    kept = [replace(case, classes={}) for case in cohort if missing == "zero_fill" or case.case_id not in incomplete]
    return incomplete, kept


def _nothing_written(where: Path, problems: Sequence[CohortError]) -> CohortError:
    remedy = "correct these" if problems else "add `missing=zero_fill`, or add the missing channels"
    return CohortError(where, f"no case could be written{': ' if problems else ''}{causes(problems)}", remedy)


def _report(
    source: Cohort,
    result: Cohort,
    written: Sequence[Case],
    facts: Sequence[_Facts],
    incomplete: Collection[str],
    problems: Sequence[CohortError],
    missing: Missing,
    columns: Collection[str],
) -> WriteReport:
    labels, wanted = consecutive(source.labels), {*columns, *SYNTHETIC_COLUMNS}
    settled: dict[str, list[str]] = {}
    for known in facts:
        for rule in known.rules:
            settled.setdefault(rule, []).append(known.case_id)
    return WriteReport(
        cohort=result,
        left_out=() if missing == "zero_fill" else tuple(incomplete),
        filled=tuple(case.case_id for case in written if case.case_id in incomplete),
        converted=tuple(known.case_id for known in facts if known.adc_factor != 1),
        renumbered={name: value for name, value in source.labels.items() if labels[name] != value},
        dropped_columns=tuple(dict.fromkeys(name for case in written for name in case.extra if name not in wanted)),
        settled=settled,
        problems=tuple(problems),
    )


def _with_columns(case: Case, wanted: Collection[str]) -> Case:
    """Return a case with some of its further columns only."""
    return replace(case, extra={name: value for name, value in case.extra.items() if name in wanted})


def _check_request(
    cohort: Cohort, folder: Path, problems: Collection[CohortError], columns: Collection[str], window: Window | None
) -> None:
    """Raise ``CohortError`` for a cohort that cannot be written, or not with these columns and this window."""
    if problems and not cohort.cases:
        raise CohortError(cohort.name, f"no case can be used: {causes([*problems])}", "correct these")
    _check_cohort(cohort, folder)
    for column in columns:
        if not any(column in case.extra for case in cohort):
            raise CohortError(cohort.name, f"its table has no further column {column!r}", "see its first line")
    if window is not None and (_file_ending(cohort) == ".png" or "CT" not in cohort.channels):
        what = "has no channel CT in NIfTI files, to which a window applies"
        raise CohortError(cohort.name, what, "leave the window out")


def _check_cohort(cohort: Cohort, folder: Path) -> None:
    if not cohort.cases:
        raise CohortError(cohort.name, "the cohort has no cases", "check the folder, the patterns or the selection")
    check_ids(({"case_id": case.case_id, "subject_id": case.subject_id} for case in cohort), folder)
    check_names(cohort.channels, consecutive(cohort.labels), folder)


def _file_ending(cohort: Cohort) -> str:
    flat = dict[bool, Path]()
    for path in (path for case in cohort for path in case.images.values() if ending_of(path)):
        with suppress(CohortError):  # of a damaged TIFF, told when its case is read
            flat.setdefault(is_slice(path), path)
    if len(flat) > 1:
        what = f"mixes slices and volumes, such as {flat[True]} and {flat[False]}"
        raise CohortError(cohort.name, what, "make a cohort of each")
    return ".png" if True in flat else ".nii.gz"


def _write_case(
    case: Case,
    cohort: Cohort,
    folder: Path,
    file_ending: str,
    *,
    binary_masks: bool,
    anatomy: Callable[[Scan], LabelArray] | None,
    window: Window | None,
) -> tuple[Case, _Facts]:
    """Check a case and write its files; return it with the new paths."""
    scan, clipped = _checked_scan(case, cohort, binary_masks=binary_masks, window=window)
    made = None if anatomy is None else anatomy(scan)
    images_folder = "imagesTr" if case.outlined else "imagesTs"
    files, label = case_files(folder, case.case_id, len(cohort.channels), file_ending, images=images_folder)
    images, facts = dict(zip(cohort.channels, files, strict=True)), _facts(scan)
    for number, channel in enumerate(scan.channels):
        if channel == "CT" and clipped is not None:
            save_image(images[channel], clipped, case.images[channel])
        elif channel == ADC and facts.adc_factor != 1:
            save_image(images[channel], scan.image[number] * facts.adc_factor, case.images[channel])
        else:
            save_copy(case.images[channel], images[channel])
    place = images[scan.channels[0]]  # a copy's geometry is in its header; the source may be a series
    for channel, target in images.items():
        if channel not in scan.channels:
            save_label(target, np.zeros(scan.spatial_shape, np.int16), place)
    if scan.label is not None:
        save_label(label, scan.label if binary_masks else renumber(scan.label, cohort.labels), place)
    anatomy_file, anatomy_map = folder / "anatomyTr" / label.name, scan.anatomy if made is None else made
    if anatomy_map is not None:
        save_label(anatomy_file, anatomy_map, place)
    written = replace(
        case,
        images={channel: images[channel] for channel in scan.channels},
        label=label if case.outlined else None,
        anatomy=anatomy_file if anatomy_map is not None else None,
    )
    return written, facts


def _checked_scan(
    case: Case, cohort: Cohort, *, binary_masks: bool, window: Window | None
) -> tuple[Scan, FloatArray | None]:
    """Read and check a case; return it with its CT, clipped to the window, if there is a window."""
    channels = [channel for channel in cohort.channels if channel in case.images]
    scan = load_scan(case, channels, binary_masks=binary_masks)
    _check_annotation(case, scan, consecutive(cohort.labels) if binary_masks else cohort.labels)
    if window is None or "CT" not in case.images:
        return scan, None
    return scan, in_window(scan.image[scan.channels.index("CT")], window, case.images["CT"])


def _remove(case: Case, folder: Path, n_channels: int, file_ending: str) -> None:
    """Delete the files of a case that cannot be used after all."""
    for images in ("imagesTr", "imagesTs"):
        files, label = case_files(folder, case.case_id, n_channels, file_ending, images=images)
        for path in (*files, label, folder / "anatomyTr" / label.name):
            path.unlink(missing_ok=True)


def _check_annotation(case: Case, scan: Scan, labels: Mapping[str, int]) -> None:
    if scan.label is None or case.label is None:
        return
    check_classes(scan.label, case.label, labels)
    if bool(scan.label.any()) is not (case.annotation is Annotation.LESION):
        state = "no lesion" if case.annotation is Annotation.LESION else "a lesion"
        raise CohortError(case.label, f"holds {state} but the case is annotated as {case.annotation}", "correct one")


def _write_lists(
    folder: Path,
    incomplete: Collection[Case],
    channels: Sequence[str],
    missing: Missing,
    problems: Sequence[CohortError],
) -> None:
    if incomplete:
        done = "left out" if missing == "leave_out" else "filled with zeros"
        rows = [{**row_from_case(case, channels), "done": done} for case in incomplete]
        columns = ("case_id", "missing_channels", "done")
        write_table(folder / "missing.csv", [{key: row[key] for key in columns} for row in rows], columns=columns)
    write_problems(folder / "problems.csv", problems)
