"""Every problem of a cohort in one line with its remedy, and the cohort's fingerprint."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np

from lesionforge.cohort.case import Annotation, Case, Cohort, ending_of
from lesionforge.cohort.inspection.doubts import Look, copies, doubts, look_at
from lesionforge.cohort.inspection.fingerprint import Fingerprint, Progress, collect
from lesionforge.cohort.inspection.fingerprint_table import fingerprint_table
from lesionforge.cohort.inspection.measure import CaseMeasures, Measured, measure
from lesionforge.cohort.layouts.cases_csv import write_table
from lesionforge.cohort.layouts.labels import check_label_values
from lesionforge.cohort.layouts.nnunet import read_cohort
from lesionforge.cohort.scan import Scan, load_scan
from lesionforge.errors import CohortError, LesionforgeError, OutputError
from lesionforge.files import claim_output, write_text

SPACING_TOLERANCE = 1.05
UNIT_RATIO = 100.0
COHORT_FOLDERS = ("imagesTr", "imagesTs", "labelsTr", "anatomyTr")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of a check.

    Attributes:
        severity: a *problem* keeps a case from being used; a *warning* is worth knowing.
        case_id: the case; empty if the finding concerns the cohort, or a file whose case could not be read.
        where: the file or case at fault.
        what: what is wrong.
        remedy: what to do.
    """

    severity: Literal["problem", "warning"]
    case_id: str
    where: str
    what: str
    remedy: str

    def __str__(self) -> str:
        place = self.where if self.case_id in ("", self.where) else f"{self.case_id}: {self.where}"
        return f"{place}: {self.what}; {self.remedy}"


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """The result of a check. Cases with a problem are not part of the fingerprint."""

    findings: tuple[Finding, ...]
    fingerprint: Fingerprint

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The findings that keep cases from being used."""
        return tuple(finding for finding in self.findings if finding.severity == "problem")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that do not keep cases from being used."""
        return tuple(finding for finding in self.findings if finding.severity == "warning")

    def save(self, out: Path) -> None:
        """Write ``findings.csv``, ``fingerprint.json`` and ``fingerprint.md`` into ``out``."""
        rows = [{**vars(finding)} for finding in self.findings]
        write_table(out / "findings.csv", rows, columns=("severity", "case_id", "where", "what", "remedy"))
        self.fingerprint.save(out / "fingerprint.json")
        write_text(out / "fingerprint.md", fingerprint_table(self.fingerprint))


def check_folder(folder: Path, *, out: Path | None = None, progress: Progress | None = None) -> CheckReport:
    """Check a cohort folder, including the cases after a bad one, without writing into it.

    Args:
        folder: the cohort folder in nnU-Net's raw layout.
        out: a new or empty folder for the report, outside ``folder``.
        progress: called after each case.

    Raises:
        CohortError: if the folder as a whole cannot be read: no usable ``dataset.json`` or ``cases.csv``, or no case.
        OutputError: if ``out`` lies in the cohort or is not empty.
    """
    if out is not None:
        if out.resolve().is_relative_to(folder.resolve()):
            raise OutputError(out, "lies in the cohort that is checked", "name a folder outside it")
        claim_output(out)
    unreadable: list[CohortError] = []
    cohort = read_cohort(folder, on_problem=unreadable.append)
    report = check_cohort(cohort, unreadable=unreadable, progress=progress)
    if out is not None:
        report.save(out)
    return report


def check_cohort(
    cohort: Cohort, *, unreadable: Sequence[CohortError] = (), progress: Progress | None = None
) -> CheckReport:
    """Read every file of a cohort and report all problems.

    Args:
        cohort: the cases to check.
        unreadable: errors of the cases that the reader left out.
        progress: called after each case.

    Example:
        >>> from lesionforge.testing import tiny_cohort
        >>> cohort = tiny_cohort(Path("tiny"), spatial_dims=2)
        >>> check_cohort(cohort).findings
        ()
    """
    findings = [_finding("problem", "", error) for error in unreadable]
    if not len(cohort):
        empty = CohortError(cohort.name, "has no cases", "check the folder, or the selection that led to it")
        findings.append(_finding("problem", "", empty))
    measured, looks = list[Measured](), list[Look]()
    for done, case in enumerate(cohort, start=1):
        scan, errors = inspect_case(case, cohort.labels)
        findings += [_finding("problem", case.case_id, error) for error in errors]
        if scan is not None and not errors:
            measured.append(measure(scan))
            looks.append(look_at(scan))
        if progress:
            progress(done, len(cohort))
    fingerprint = collect(cohort, cohort.channels, measured, [str(f) for f in findings])
    findings += [_finding("problem", "", error) for error in copies(looks)]
    ignored = {_stem(Path(error.where).name) for error in unreadable}
    findings += [
        _finding("warning", "", warning)
        for warning in chain(
            doubts(cohort, looks),
            _mixed_grids(cohort.name, fingerprint.cases),
            _mixed_units(cohort, measured),
            _unused_files(cohort, ignored),
        )
    ]
    return CheckReport(findings=tuple(findings), fingerprint=fingerprint)


def inspect_case(case: Case, labels: Mapping[str, int]) -> tuple[Scan | None, list[CohortError]]:
    """Return a case's scan and all problems of its files; the scan is ``None`` if it cannot be read."""
    case = replace(case, classes={})
    try:
        scan = load_scan(case, tuple(case.images))
    except CohortError:
        return None, list(_diagnose(case, labels))
    return scan, list(_label_errors(case, labels, scan))


def _diagnose(case: Case, labels: Mapping[str, int]) -> Iterator[CohortError]:
    """Yield the error of each file of a case that cannot be read or is not on the grid of the first good image."""
    bare = replace(case, label=None, anatomy=None, annotation=Annotation.UNKNOWN)
    if not case.images:
        yield CohortError(case.case_id, "has no channel at all", "restore its images, or leave the case out")
    first: str | None = None
    for channel in case.images:
        error = _load_error(bare, [channel] if first is None else [first, channel])
        if error:
            yield error
        elif first is None:
            first = channel
    if first is None:
        yield from _label_errors(case, labels, None)
        return
    error = _load_error(replace(case, anatomy=None), [first])
    yield from [error] if error else _label_errors(case, labels, None)
    error = _load_error(replace(bare, anatomy=case.anatomy), [first])
    if error:
        yield error


def _load_error(case: Case, channels: Sequence[str]) -> CohortError | None:
    try:
        load_scan(case, channels)
    except CohortError as error:
        return error
    return None


def _label_errors(case: Case, labels: Mapping[str, int], scan: Scan | None) -> Iterator[CohortError]:
    """Yield errors for label values that are not classes, and for an annotation that contradicts the label."""
    if case.label is None or case.annotation is Annotation.UNKNOWN:
        return
    try:
        label = check_label_values(case.label, labels)
    except CohortError as error:
        yield error
        return
    voxels = int(np.count_nonzero(label))
    if voxels and case.annotation is Annotation.LESION_FREE:
        what = f"holds {voxels} lesion voxels, but the case is annotated as lesion_free"
        yield CohortError(case.label, what, "empty the label, or annotate the case as lesion")
    if not voxels and case.annotation is Annotation.LESION:
        what = "is empty, but the case is annotated as lesion"
        yield CohortError(case.label, what, "draw the lesion, or annotate the case as lesion_free or unknown")


def _mixed_grids(name: str, cases: Sequence[CaseMeasures]) -> Iterator[CohortError]:
    """Yield a warning if spacings differ between cases, and one if orientations differ."""
    if not cases:
        return
    orientations = Counter(case.orientation for case in cases)
    if len(orientations) > 1:
        counted = ", ".join(f"{orientation} ×{count}" for orientation, count in orientations.most_common())
        yield CohortError(name, f"the orientations differ ({counted})", "training brings them to one; look at a sheet")
    alike = [case.spacing for case in cases if len(case.spacing) == len(cases[0].spacing)]
    low, high = np.min(alike, axis=0), np.max(alike, axis=0)
    if (high > SPACING_TOLERANCE * low).any():
        ranges = " × ".join(
            f"{a:.4g}" if b <= SPACING_TOLERANCE * a else f"{a:.4g}–{b:.4g}" for a, b in zip(low, high, strict=True)
        )
        yield CohortError(name, f"the spacings differ ({ranges} mm)", "resample to one spacing for training")


def _mixed_units(cohort: Cohort, measured: Sequence[Measured]) -> Iterator[CohortError]:
    """Yield a warning for each channel whose cases must have different units (or scales) of intensity."""
    for channel in cohort.channels:
        levels = {
            item.case.case_id: float(np.percentile(np.abs(item.outside[channel]), 95))
            for item in measured
            if item.outside.get(channel, np.empty(0)).size
        }
        if not levels:
            continue
        low, high = min(levels, key=levels.__getitem__), max(levels, key=levels.__getitem__)
        if levels[high] > UNIT_RATIO * levels[low]:
            what = f"{channel} is {levels[low]:.3g} in {low} but {levels[high]:.3g} in {high} (95th percentile)"
            yield CohortError(cohort.name, what, "convert the channel to one unit")


def _unused_files(cohort: Cohort, ignored: set[str]) -> Iterator[CohortError]:
    """Yield a warning for each folder of the cohort that holds files of no case."""
    ids = {case.case_id for case in cohort} | ignored
    numbers = range(len(cohort.channels))
    images = {f"{case_id}_{number:04d}" for case_id in ids for number in numbers}
    roots = {path.parent.parent for case in cohort for path in case.images.values()}
    for folder in sorted(root / name for root in roots for name in COHORT_FOLDERS):
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        used = images if folder.name.startswith("images") else ids
        unused = [f.name for f in files if ending_of(f) and _stem(f.name) not in used]
        if unused:
            named = ", ".join(unused[:3]) + (", …" if len(unused) > 3 else "")
            remedy = "list them in cases.csv" if used is images else "name them like their cases, without _0000"
            yield CohortError(folder, f"{len(unused)} files belong to no case ({named})", remedy)


def _stem(name: str) -> str:
    return re.sub(r"\.(nii\.gz|nii|png)$", "", name)


def _finding(severity: Literal["problem", "warning"], case_id: str, error: LesionforgeError) -> Finding:
    return Finding(severity=severity, case_id=case_id, where=error.where, what=error.what, remedy=error.remedy)
