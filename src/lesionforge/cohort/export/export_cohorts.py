"""Export of cohorts, real and synthetic, with folds that leak nothing."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.export.base import CaseFiles
from lesionforge.cohort.export.datalist import FoldIds, write_datalists
from lesionforge.cohort.export.folds import export_folds
from lesionforge.cohort.export.gather import gather_folders
from lesionforge.cohort.export.registry import EXPORTERS
from lesionforge.cohort.inspection.readable import readable
from lesionforge.cohort.layouts.nnunet import Missing, WriteReport, write_nnunet
from lesionforge.cohort.new_ids import NewIds, check_private
from lesionforge.cohort.splits import Fold, read_splits_final
from lesionforge.errors import CohortError, ConfigError
from lesionforge.files import building, write_json

NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Export:
    """The result of an export.

    Attributes:
        written: the cases with their files, and what was left out; a file with all channels is that of each.
        folds: case ids of each fold.
        lists: the names of the files that hold the folds.
        renamed: new id → old id, of the cases whose id an earlier cohort has.
        shared: subjects that several cohorts have; they count as one person.
        unused: synthetic cases that lead to a validation case of every fold.
        problems_file: lists the cases that could not be written, if there are any.
    """

    written: WriteReport
    folds: tuple[FoldIds, ...]
    lists: tuple[str, ...]
    renamed: Mapping[str, str]
    shared: tuple[str, ...]
    unused: tuple[str, ...]
    problems_file: Path


def export_cohorts(
    folders: Sequence[Path],
    out: Path,
    *,
    method: str,
    channels: Sequence[str] | None = None,
    folds: int = 5,
    splits: Path | None = None,
    ratio: float | None = None,
    seed: int = 0,
    missing: Missing = "leave_out",
    new_ids: Path | None = None,
    columns: Collection[str] = (),
    options: Mapping[str, Any] = NO_OPTIONS,
) -> Export:
    """Write cohorts as one dataset in the format of another tool, with folds.

    Validation cases are real, folds are by subject, and no training set holds a case that was drawn from a validation
    subject, or by a model that saw one. nnU-Net's folds are in ``splits_final.json``, MONAI's in ``dataset_0.json``.
    Only voxels, geometry, ids and the columns of ``cases.csv`` are written. The folder appears when it is whole.

    Args:
        folders: cohort folders, real and synthetic, with the same channels and classes.
        out: a new folder.
        method: the format, see :data:`~lesionforge.cohort.export.registry.EXPORTERS`.
        channels: the channels to export; all by default.
        folds: number of folds; see :func:`~lesionforge.cohort.export.folds.export_folds`.
        splits: a ``splits_final.json`` to use instead.
        ratio: synthetic cases for each real one of a training set; by default all that fit. Others are not written.
        seed: of the folds, and of the choice of synthetic cases.
        missing: leave out cases with missing channels, or fill these channels with zeros.
        new_ids: a private table outside ``out``; with it cases and subjects get new ids.
        columns: further columns of ``cases.csv`` to write.
        options: of the format, such as ``{"skull_stripped": True}``.

    Raises:
        OutputError: if the folder is not empty.
        ConfigError: if an option does not fit.
        CohortError: if the cohorts do not fit each other or the format, or no case could be written.
        LeakError: if ``splits`` leaks, or an image is on both sides of a fold under two subjects.

    Example:
        >>> from lesionforge.testing import tiny_cohort
        >>> _ = tiny_cohort(Path("tiny"), spatial_dims=2)
        >>> export = export_cohorts([Path("tiny")], Path("Dataset201_Tiny"), method="nnunet", folds=2)
        >>> [len(fold["val"]) for fold in export.folds], export.lists
        ([2, 2], ('splits_final.json', 'dataset_0.json'))
    """
    exporter = EXPORTERS[method]
    for name in options:
        if name not in exporter.options():
            raise ConfigError(f"`{name}`", f"does not apply to the format {method}", "leave it out")
    if new_ids is not None:
        check_private(new_ids, out)
    gathered = gather_folders(folders, channels)
    exporter.check(gathered.cohort, out)
    given = None if splits is None else read_splits_final(splits, gathered.cohort)
    problems = list(gathered.problems)
    with building(out) as unfinished:
        usable = _usable(gathered.cohort, problems)
        trained = usable.annotated().having(usable.channels if missing == "leave_out" else ())
        real, drawn = _parts(trained)
        chosen = export_folds(real, drawn, folds=folds, given=given, ratio=ratio, seed=seed)
        unused = _in_no_fold(drawn, chosen)
        cohort = usable if ratio is None else _without(usable, unused)
        ids = None if new_ids is None else NewIds.read(new_ids)
        named, new_of = _with_new_ids(cohort, ids)
        report = write_nnunet(
            named,
            unfinished,
            missing=missing,
            problems=problems,
            structures=gathered.structures,
            columns=columns,
        )
        files = exporter.arrange(report.cohort, unfinished, name=out.resolve().name, **options)
        of_folds = [_ids(fold, new_of, files) for fold in chosen if len(fold[1])]
        lists = _write_folds(unfinished, of_folds, files)
        if ids is not None and new_ids is not None:
            ids.write(new_ids)
        problems_file = _private_problems(unfinished, out, new_ids)
    return Export(
        written=replace(report, cohort=_with_files(report.cohort, files, unfinished, out)),
        folds=tuple(of_folds),
        lists=lists,
        renamed=gathered.renamed,
        shared=gathered.shared,
        unused=unused if ratio is None else (),
        problems_file=problems_file,
    )


def _usable(cohort: Cohort, problems: list[CohortError]) -> Cohort:
    """Return the cases that may be exported: real ones that can be read, and drawn ones whose image shows the label."""
    real, drawn = _parts(cohort)
    kept = {case.case_id for case in readable(real, on_problem=problems.append)}
    for case in drawn:
        if case.awaits_drawing:
            what = "has an edited label that its image does not show yet"
            problems.append(CohortError(case.case_id, what, "draw it with lesionforge synthesize, and export that"))
        else:
            kept.add(case.case_id)
    return cohort.with_cases([case for case in cohort if case.case_id in kept])


def _parts(cohort: Cohort) -> tuple[Cohort, Cohort]:
    """Return the cases that were not drawn from others, and those that were."""
    real = cohort.with_cases([case for case in cohort if not case.derived])
    return real, cohort.with_cases([case for case in cohort if case.derived])


def _in_no_fold(drawn: Cohort, folds: Sequence[Fold]) -> tuple[str, ...]:
    trained_on = {case.case_id for train, _ in folds for case in train}
    return tuple(case.case_id for case in drawn if case.case_id not in trained_on)


def _without(cohort: Cohort, case_ids: Collection[str]) -> Cohort:
    return cohort.with_cases([case for case in cohort if case.case_id not in case_ids])


def _with_new_ids(cohort: Cohort, ids: NewIds | None) -> tuple[Cohort, Mapping[str, str]]:
    """Return the cohort, with new ids if there are any, and old id → id of each case."""
    if ids is None:
        return cohort, {case.case_id: case.case_id for case in cohort}
    return ids.cohort(cohort), ids.cases


def _ids(fold: Fold, new_of: Mapping[str, str], written: Collection[str]) -> FoldIds:
    """Return the ids of the cases of a fold that were written, in order."""
    parts = zip(("train", "val"), fold, strict=True)
    return {name: sorted({new_of[case.case_id] for case in part} & set(written)) for name, part in parts}


def _write_folds(folder: Path, folds: Sequence[FoldIds], files: Mapping[str, CaseFiles]) -> tuple[str, ...]:
    """Write the folds for nnU-Net and for MONAI; return the names of the files."""
    if not folds:
        return ()
    write_json(folder / "splits_final.json", folds)
    return ("splits_final.json", *(path.name for path in write_datalists(folder, files, folds)))


def _with_files(cohort: Cohort, files: Mapping[str, CaseFiles], before: Path, now: Path) -> Cohort:
    """Return the cases with the files that they have after the folder got its name; maps are left out."""

    def moved(path: Path) -> Path:
        return now / path.relative_to(before)

    cases = []
    for case in cohort:
        found = files[case.case_id]
        every = [moved(path) for path in found.images] * (len(cohort.channels) // len(found.images))
        images = {name: path for name, path in zip(cohort.channels, every, strict=True) if name in case.images}
        label = None if found.label is None else moved(found.label)
        cases.append(replace(case, images=images, label=label, anatomy=None))
    return cohort.with_cases(cases)


def _private_problems(folder: Path, out: Path, table: Path | None) -> Path:
    """Return where problems are listed; beside the table of new ids if there is one, since they name the old ids."""
    name = "problems.csv"
    if table is None or not (folder / name).is_file():
        return out / name
    return Path(shutil.move(folder / name, table.with_name(f"{table.stem}_{name}")))
