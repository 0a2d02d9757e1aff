"""Healing of cohorts: pseudo-healthy scans, lesion maps and reconstructions on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lesionforge.cohort.case import Annotation, Case, Cohort
from lesionforge.cohort.digest import digest_of
from lesionforge.cohort.layouts.nnunet import case_files
from lesionforge.cohort.provenance import read_record
from lesionforge.cohort.scan import BoolArray, FloatArray, LabelArray, Scan, load_scan, save_edited, save_label
from lesionforge.errors import CohortError, ConfigError, LesionforgeError
from lesionforge.files import one_at_a_time, write_json
from lesionforge.healers.base import Healed, Healer
from lesionforge.preprocessing.lesions.margin import hole_around
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.production.blend import Blend, blend_lesion
from lesionforge.production.network_changes import (
    CHANGED_INSIDE,
    CHANGED_OUTSIDE,
    LEAST_CHANGE,
    change_entries,
    mean_change,
    share_changed_inside,
    share_changed_outside,
)
from lesionforge.production.run_folder import check_sources, claim_run_folder, finish_run_folder, model_settings
from lesionforge.training.items.samples import check_lesions

Progress = Callable[[int, int], None]
HEALED, MAPS, RECONSTRUCTED = "healed", "maps", "reconstructed"


@dataclass(frozen=True, kw_only=True)
class HealedScan:
    """A scan without its lesion, on the scan's own grid and in its units.

    Attributes:
        image: ``(channel, x, y[, z])`` healed image.
        touched: ``(x, y[, z])`` mask of the voxels that differ from the scan.
        lesion: ``(x, y[, z])`` lesion classes that were found; ``None`` for a method that finds no lesions.
        changed_outside: what a method that is told where the lesions are changed outside them before blending, see
            :func:`~lesionforge.production.network_changes.share_changed_outside`; ``None`` for other methods.
        changed_inside: the same of the lesions themselves.
    """

    image: FloatArray
    touched: BoolArray
    lesion: LabelArray | None
    changed_outside: float | None
    changed_inside: float | None


@dataclass(frozen=True, kw_only=True)
class Healing:
    """The result of healing a cohort.

    Attributes:
        cohorts: ``healed``, and ``maps`` and ``reconstructed`` if the method makes them.
        resampled: ids of the cases whose spacing differs from the model's.
        problems: errors of the cases that could not be healed.
        changed_outside: what a method that is told where the lesions are changed outside them before blending: mean
            absolute change within the head, as a share of the model's intensity range, over the scans with a lesion;
            ``None`` for other methods.
        unchanged: ids of the scans whose lesions such a method changed by less than 1 % of the range on average.
    """

    cohorts: dict[str, Cohort]
    resampled: tuple[str, ...]
    problems: tuple[LesionforgeError, ...]
    changed_outside: float | None
    unchanged: tuple[str, ...]


@one_at_a_time
def heal_cohort(
    model: Healer,
    cohort: Cohort,
    *,
    out: Path,
    blend: Blend = "full",
    problems: Sequence[LesionforgeError] = (),
    progress: Progress | None = None,
) -> Healing:
    """Heal every scan of a cohort, with or without known lesions, and write up to three cohorts into ``out``.

    A method that must be told where the lesions are removes those of the labels; scans with unknown lesions are
    problems.

    ``healed`` holds the scans without lesions, annotated as lesion-free. ``maps`` holds the original scans under their
    own ids, labelled with the lesions that were found. ``reconstructed`` holds the scans that the method draws from
    these two; a method that neither finds lesions nor is told draws them from the healed scan alone, and they have
    unknown annotation.
    All images are on the scans' own grids. The same call continues a stopped run.

    Args:
        model: the healer.
        cohort: the scans; their labels are read only by a method that must be told where the lesions are.
        out: a new folder, or the folder of the same run.
        blend: ``"full"`` takes the whole drawn image and adds the detail of the scan that is finer than the model's
            grid; ``"lesion"`` keeps the scan bit-identical outside the lesion that was found or told and its margin.
        problems: errors of cases that were left out before, to be listed with the others.
        progress: called with the number of finished cases and the total number.

    Raises:
        ConfigError: if method, scans and blend do not fit each other.
        CohortError: if no scan has the model's channels.
        OutputError: if ``out`` holds something else.
    """
    scans = cohort.having(model.info.preprocessing.channels)
    _check_request(model, scans, blend)
    ending = scans.cases[0].file_ending
    model.check_dimensions(2 if ending == ".png" else 3)
    settings = {
        "heals": True,
        "blend": blend,
        **model_settings("model", model),
        "scans": [case.case_id for case in scans],
    }
    claim_run_folder(out, settings)
    check_sources(out, [_as_read(model, case) for case in scans])
    kinds = {HEALED: True, MAPS: model.finds_lesions, RECONSTRUCTED: model.reconstructs}
    written: dict[str, list[Case]] = {kind: [] for kind, made in kinds.items() if made}
    found, records = list(problems), dict[str, dict[str, Any]]()
    for done, case in enumerate(scans, start=1):
        try:
            records[case.case_id] = facts = _heal_case(model, case, out, tuple(written), blend, ending)
            for kind, cases in written.items():
                cases.append(_case_of(model, case, out, kind, facts, ending))
        except LesionforgeError as error:
            found.append(error)
        if progress is not None:
            progress(done, len(scans))
    cohorts = {kind: _cohort_of(model, cohort.name, kind, cases) for kind, cases in written.items()}
    for kind, result in cohorts.items():
        finish_run_folder(out / kind, result, found if kind == HEALED else (), file_ending=ending)
    return Healing(
        cohorts=cohorts,
        resampled=tuple(case_id for case_id, facts in records.items() if facts["resampled"]),
        problems=tuple(found),
        changed_outside=mean_change(records.values()),
        unchanged=tuple(
            case_id for case_id, facts in records.items() if facts.get(CHANGED_INSIDE, LEAST_CHANGE) < LEAST_CHANGE
        ),
    )


def heal_scan(
    model: Healer, scan: Scan, sample: Sample, *, blend: Blend, known: LabelArray | None = None
) -> tuple[HealedScan, Healed]:
    """Heal one scan.

    Args:
        model: the healer.
        scan: the scan, with exactly the model's channels.
        sample: the scan in model space, as returned by ``Preprocessing.forward``.
        blend: see :func:`heal_cohort`.
        known: ``(x, y[, z])`` lesions on the scan's grid to remove in addition to those that the model finds.

    Returns:
        The healed scan on its own grid, and the model's output in model space.

    Raises:
        CohortError: if the model must be told where the lesions are, but they are unknown or lost on its voxel grid.
    """
    if model.reads_label:
        check_lesions(scan, sample)
    preprocessing = model.info.preprocessing
    geometry, margin = preprocessing.geometry(scan), model.config.margin_mm
    healed = model.heal(sample)
    image, within, lesion, outside, inside = healed.image, None, None, None, None
    if model.reads_label and sample.label is not None:
        outside = share_changed_outside(preprocessing, image, sample.image, sample.label)
        inside = share_changed_inside(preprocessing, image, sample.image, sample.label)
    on_grid = healed.label(model.info.classes)
    if on_grid is not None:
        lesion = geometry.to_scan(on_grid, label=True)
    if blend == "lesion":
        gone = np.zeros(scan.spatial_shape, np.int16)
        for there in (lesion, known):
            gone = gone if there is None else np.maximum(gone, there)
        dims = preprocessing.spatial_dims
        image = blend_lesion(sample, image, geometry.to_model(gone, label=True), margin_mm=margin, spatial_dims=dims)
        within, _ = hole_around(gone, margin, scan.spacing)
    values, touched = preprocessing.inverse(image, scan, before=sample.image, within=within)
    scan_healed = HealedScan(
        image=values, touched=touched, lesion=lesion, changed_outside=outside, changed_inside=inside
    )
    return scan_healed, healed


def _heal_case(
    model: Healer, case: Case, out: Path, kinds: tuple[str, ...], blend: Blend, ending: str
) -> dict[str, Any]:
    """Heal and write one case, unless it exists; return its record, which is written last."""
    record = out / "provenance" / f"{case.case_id}.json"
    if not record.is_file():
        write_json(record, _write(model, case, out, kinds, blend, ending))
    return read_record(record, "has_lesion", "resampled")


def _write(model: Healer, case: Case, out: Path, kinds: tuple[str, ...], blend: Blend, ending: str) -> dict[str, Any]:
    preprocessing = model.info.preprocessing
    shown = _as_read(model, case)
    scan = load_scan(shown, preprocessing.channels)
    sample = preprocessing.forward(scan)
    healed, made = heal_scan(model, scan, sample, blend=blend, known=scan.label)
    nothing = np.zeros(scan.spatial_shape, np.int16)
    lesion = next(label for label in (healed.lesion, scan.label, nothing) if label is not None)
    drawn = {HEALED: (healed.image, healed.touched, nothing), MAPS: (scan.image, nothing > 0, lesion)}
    if made.reconstruction is not None:
        drawn[RECONSTRUCTED] = (*preprocessing.inverse(made.reconstruction, scan, before=sample.image), lesion)
    for kind in kinds:
        image, touched, label = drawn[kind]
        files, label_file = _files(model, case, out, kind, ending)
        for number, channel in enumerate(preprocessing.channels):
            save_edited(scan.case.images[channel], files[number], image[number], touched)
        if label_file is not None:
            save_label(label_file, label, scan.file)
    return {
        "source_case": case.case_id,
        "source_sha256": digest_of([shown]),
        "annotation": str(case.annotation),
        "method": model.method,
        "blend": blend,
        "lesion_volume": float(np.count_nonzero(lesion) * np.prod(scan.spacing)),
        "has_lesion": bool(lesion.any()),
        "resampled": preprocessing.geometry(scan).resamples,
        "parents": sorted(case.ancestry | set(model.info.training_subjects)),
        **change_entries({CHANGED_OUTSIDE: healed.changed_outside, CHANGED_INSIDE: healed.changed_inside}),
    }


def _as_read(model: Healer, case: Case) -> Case:
    """Return a case without the files that the model must not see."""
    case = replace(case, anatomy=None)
    return case if model.reads_label else replace(case, annotation=Annotation.UNKNOWN, label=None)


def _case_of(model: Healer, case: Case, out: Path, kind: str, facts: dict[str, Any], ending: str) -> Case:
    files, label = _files(model, case, out, kind, ending)
    annotation = Annotation.LESION if kind != HEALED and facts["has_lesion"] else Annotation.LESION_FREE
    return Case(
        case_id=_case_id(case, kind),
        subject_id=case.subject_id,
        images=dict(zip(model.info.preprocessing.channels, files, strict=True)),
        annotation=annotation if label is not None else Annotation.UNKNOWN,
        label=label,
        origin="synthetic",
        source_case=case.case_id,
        synthesizer=model.method,
        parents=tuple(facts["parents"]),
    )


def _files(model: Healer, case: Case, out: Path, kind: str, ending: str) -> tuple[list[Path], Path | None]:
    """Return the files of a case's images and label; a case whose lesion has no known place has no label."""
    known = kind != RECONSTRUCTED or model.finds_lesions or model.reads_label
    images = "imagesTr" if known else "imagesTs"
    n_channels = len(model.info.preprocessing.channels)
    files, label = case_files(out / kind, _case_id(case, kind), n_channels, ending, images=images)
    return files, label if known else None


def _case_id(case: Case, kind: str) -> str:
    return case.case_id if kind == MAPS else f"{case.case_id}_{kind}"


def _cohort_of(model: Healer, name: str, kind: str, cases: Sequence[Case]) -> Cohort:
    channels, labels = model.info.preprocessing.channels, model.info.labels
    return Cohort(name=f"{name}_{kind}", channels=channels, labels=labels, cases=tuple(cases))


def _check_request(model: Healer, scans: Cohort, blend: Blend) -> None:
    if not len(scans):
        raise CohortError(scans.name, "has no scan with the model's channels", "check it")
    if blend == "lesion" and not (model.finds_lesions or model.reads_label):
        what = f"{model.method} does not say where the lesion is"
        raise ConfigError("`blend=lesion`", what, "use `blend=full`, or a pseudo_healthy or mask_cyclegan model")
