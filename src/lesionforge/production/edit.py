"""Edited label maps as a cohort, from which a label-to-image model draws patients.

Shin et al. 2018 (arXiv 1807.10225), Figures 2 and 3. The written cases have edited labels, the anatomy of the brain
that they lie in, with parenchyma where the old lesion was, and the scan of that brain as it was. They wait for their
images: ``synthesize`` with the masks ``own`` and ``blend=full`` draws them; nothing can be trained on them before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from lesionforge.cohort.case import EDIT, Annotation, Case, Cohort
from lesionforge.cohort.digest import digest_of
from lesionforge.cohort.layouts.nnunet import case_files
from lesionforge.cohort.provenance import read_record
from lesionforge.cohort.scan import load_scan, save_copy, save_label
from lesionforge.cohort.structures import structures_of, write_structures
from lesionforge.config import parse_options
from lesionforge.errors import CohortError, ConfigError, LesionforgeError
from lesionforge.files import one_at_a_time, write_json
from lesionforge.masks.editing.donors import read_donors
from lesionforge.masks.editing.edit_config import EDITS, EditConfig, EditName
from lesionforge.masks.editing.named_edits import NamedEdits
from lesionforge.preprocessing.brain.region import fluid_of, with_region
from lesionforge.preprocessing.lesions.merging import nested_by_name
from lesionforge.preprocessing.lesions.vacated import fill_vacated
from lesionforge.production.in_fluid import share_in_fluid
from lesionforge.production.run_folder import case_settings, check_sources, claim_run_folder, finish_run_folder
from lesionforge.seeding import generator

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Editing:
    """The result of editing a cohort.

    Attributes:
        cohort: the cases with edited labels.
        problems: errors of the cases that could not be edited.
    """

    cohort: Cohort
    problems: tuple[LesionforgeError, ...]


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One edit of one scan.

    Attributes:
        masks: makes the edit.
        case: the scan whose brain the edited lesions lie in.
        case_id: the id of the new case.
    """

    masks: NamedEdits
    case: Case
    case_id: str


@one_at_a_time
def edit_cohort(
    cohort: Cohort,
    *,
    out: Path,
    edits: Sequence[str] | None = None,
    onto: Cohort | None = None,
    options: Mapping[str, Any] | None = None,
    per_case: int = 1,
    min_volume: float | None = None,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> Editing:
    """Edit the labels of a cohort and write them as a cohort; the same call continues a stopped run.

    Args:
        cohort: its cases with lesions are edited, or their lesions are transplanted.
        out: a new folder, or the folder of the same run.
        edits: names of the edits, each of which is made of every scan that it fits; by default all for which there are
            scans.
        onto: the lesion-free scans that ``transplant`` moves lesions to; by default those of ``cohort``.
        options: further options of the edits, see :class:`~lesionforge.masks.editing.edit_config.EditConfig`.
        per_case: how often each edit is made of a scan.
        min_volume: least volume of the edited lesions, in mm³ (mm² in 2D); by default half that of the smallest.
        seed: seed of all edits, together with the id of the new case.
        progress: called with the number of finished cases and the total number.

    Raises:
        ConfigError: if an option is unknown or out of range, or ``onto`` does not fit ``cohort``.
        CohortError: if there is no case to edit, or no scan to transplant to.
        OutputError: if ``out`` holds something else.

    Example:
        >>> from lesionforge.testing import tiny_cohort
        >>> cohort = tiny_cohort(Path("tiny"), spatial_dims=2, n_subjects=2)
        >>> run = edit_cohort(cohort, out=Path("edited"), edits=["shift"])
        >>> [case.mask_id for case in run.cohort]
        ['case_000+shift', 'case_001+shift']
    """
    configs = _configs(edits or _possible(cohort, onto), options or {}, cohort.labels)
    scans = _scans(cohort, onto, configs)
    structures = structures_of(scans.values())
    lesions, problems = cohort.with_lesions(), list[LesionforgeError]()
    settings = {
        "channels": list(cohort.channels),
        "edits": {edit: config.model_dump(mode="json") for edit, config in configs.items()},
        "per_case": per_case,
        "min_volume": min_volume,
        "seed": seed,
        **case_settings("cases", lesions.in_order()),
        "scans": {edit: [case.case_id for case in of_edit] for edit, of_edit in scans.items()},
    }
    claim_run_folder(out, settings)
    check_sources(out, [case for of_edit in scans.values() for case in of_edit])
    jobs = [
        _Job(masks=masks, case=case, case_id=f"{case.case_id}_{edit}{number}")
        for edit, masks in _sources(configs, lesions, problems).items()
        for case in scans[edit]
        for number in range(per_case)
    ]
    written = list[Case]()
    for done, job in enumerate(jobs, start=1):
        try:
            written.append(_edit_case(job, cohort.channels, out, min_volume, seed))
        except LesionforgeError as error:
            problems.append(error)
        progress(done, len(jobs))
    if structures is not None:
        write_structures(out, structures)
    result = replace(cohort, name=f"{cohort.name}_edited", cases=tuple(written))
    finish_run_folder(out, result, problems, file_ending=lesions.cases[0].file_ending)
    return Editing(cohort=result, problems=tuple(problems))


def _possible(cohort: Cohort, onto: Cohort | None) -> list[str]:
    """Return the edits for which there are scans."""
    return [edit for edit in EDITS if edit != "transplant" or onto is not None or len(cohort.healthy())]


def _configs(edits: Sequence[str], options: Mapping[str, Any], labels: Mapping[str, int]) -> dict[EditName, EditConfig]:
    """Return edit → its options; the names of the lesion classes say how they are nested, if no option does.

    Raises:
        ConfigError: if an edit or an option is unknown, or out of range.
    """
    unknown = next((edit for edit in edits if edit not in EDITS), None)
    if unknown is not None:
        raise ConfigError("edit", f"{unknown!r} is no single edit", f"choose from {', '.join(EDITS)}")
    named = {"nested": nested_by_name(labels), **options}
    parsed = [parse_options(EditConfig, {**named, "edit": edit}) for edit in edits]
    return dict(zip(cast("Sequence[EditName]", edits), parsed, strict=True))


def _scans(cohort: Cohort, onto: Cohort | None, edits: Iterable[EditName]) -> dict[EditName, Cohort]:
    """Return edit → the scans whose brains the edited lesions lie in.

    Raises:
        CohortError: if an edit has none.
        ConfigError: if two cases have one id.
    """
    lesions = cohort.having(cohort.channels).with_lesions().in_order()
    if not len(lesions):
        raise CohortError(cohort.name, "has no case with a lesion mask and all channels to edit", "add some")
    targets = (cohort if onto is None else onto).having(cohort.channels).in_order()
    targets = targets.healthy() if onto is None else targets
    if "transplant" in edits and not len(targets):
        what = "has no lesion-free scan that lesions could be transplanted to"
        raise CohortError(targets.name, what, "name a cohort that has some with `onto`, or leave `edit=transplant` out")
    own = {case.case_id: case for case in cohort}
    twice = next((case.case_id for case in targets if own.get(case.case_id, case).images != case.images), None)
    if twice is not None:
        raise ConfigError("`onto`", f"{cohort.name} has another case {twice}", "give every case its own id")
    return {edit: targets if edit == "transplant" else lesions for edit in edits}


def _sources(
    configs: Mapping[EditName, EditConfig], lesions: Cohort, problems: list[LesionforgeError]
) -> dict[EditName, NamedEdits]:
    """Return edit → what makes it; the errors of cases whose lesions cannot be transplanted go to ``problems``."""
    return {
        edit: NamedEdits(config, read_donors(lesions, on_problem=problems.append) if edit == "transplant" else ())
        for edit, config in configs.items()
    }


def _edit_case(job: _Job, channels: Sequence[str], out: Path, min_volume: float | None, seed: int) -> Case:
    """Edit and write a case, unless it exists, and return it."""
    record = out / "provenance" / f"{job.case_id}.json"
    if not record.is_file():
        write_json(record, _write(job, channels, out, min_volume, seed))
    facts = read_record(record, "mask_id", "redraws", "edits")
    files, label = case_files(out, job.case_id, len(channels), job.case.file_ending)
    return replace(
        job.case,
        case_id=job.case_id,
        images=dict(zip(channels, files, strict=True)),
        annotation=Annotation.LESION,
        label=label,
        anatomy=None if job.case.anatomy is None else out / "anatomyTr" / label.name,
        origin="synthetic",
        source_case=job.case.case_id,
        mask_id=facts["mask_id"],
        synthesizer=EDIT,
        seed=seed,
        parents=tuple(facts["parents"]),
        extra={"redraws": str(facts["redraws"])},
        classes={},
    )


def _write(job: _Job, channels: Sequence[str], out: Path, min_volume: float | None, seed: int) -> dict[str, object]:
    """Edit a label, write the files of the case, and return its record."""
    scan = with_region(load_scan(job.case, channels))
    placed = job.masks.sample(scan, generator(seed, job.case_id), min_volume=min_volume)
    files, label = case_files(out, job.case_id, len(channels), job.case.file_ending)
    for channel, file in zip(channels, files, strict=True):
        save_copy(job.case.images[channel], file)
    save_label(label, placed.mask, scan.file)
    anatomy = fill_vacated(scan.anatomy, scan.label, parenchyma=job.case.parenchyma, spacing=scan.spacing)
    if anatomy is not None:
        save_label(out / "anatomyTr" / label.name, anatomy, scan.file)
    return {
        "case_id": job.case_id,
        "annotation": Annotation.LESION.value,
        "source_case": job.case.case_id,
        "source_sha256": digest_of([job.case]),
        "mask_id": placed.mask_id,
        "redraws": placed.redraws,
        "edits": [edit.line() for edit in placed.edits],
        "parents": sorted(job.case.ancestry | placed.subjects | job.masks.subjects),
        "method": EDIT,
        "seed": seed,
        **share_in_fluid(placed.mask > 0, fluid_of(scan)),
    }
