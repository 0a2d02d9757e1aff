"""From a model, target scans and masks to a synthetic cohort on disk."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lesionforge.cohort.case import Annotation, Case, Cohort
from lesionforge.cohort.digest import digest_of
from lesionforge.cohort.layouts.nnunet import case_files
from lesionforge.cohort.provenance import read_record
from lesionforge.cohort.scan import LabelArray, Scan, save_edited, save_label
from lesionforge.engine.pool import Pool
from lesionforge.errors import CohortError, ConfigError, LesionforgeError, one_of
from lesionforge.files import one_at_a_time, write_json
from lesionforge.healers.base import Healer
from lesionforge.masks import MASK_SOURCES, OwnMasks
from lesionforge.masks.base import MaskSource
from lesionforge.masks.mask import PlacedMask
from lesionforge.production.blend import Blend
from lesionforge.production.drawing import Drawing, draw_into
from lesionforge.production.drawn_into import Target, Targets
from lesionforge.production.run_folder import check_sources, claim_run_folder, finish_run_folder, model_settings
from lesionforge.seeding import generator
from lesionforge.synthesizers.base import Synthesizer
from lesionforge.training.fitted_model import FittedModel

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Synthesis:
    """What became of a request for synthetic cases.

    Attributes:
        cohort: the cases that were written.
        problems: the errors of those that were not.
        redraws: how many masks were drawn in vain before one fitted, over all cases.
    """

    cohort: Cohort
    problems: tuple[LesionforgeError, ...]
    redraws: int


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that is needed to draw one case: a model, where masks come from, and where files go."""

    model: Synthesizer
    targets: Targets
    masks: MaskSource | None
    cohort: Cohort
    out: Path
    blend: Blend
    seed: int
    min_volume: float
    file_ending: str


@one_at_a_time
def synthesize_cohort(
    model: Synthesizer,
    cohort: Cohort,
    masks: MaskSource | None,
    *,
    out: Path,
    n: int | None = None,
    blend: Blend = "lesion",
    seed: int = 0,
    min_volume: float = 200.0,
    workers: int = 0,
    healer: Healer | None = None,
    lesion_free: bool = False,
    problems: Sequence[LesionforgeError] = (),
    progress: Progress | None = None,
) -> Synthesis:
    """Draw ``n`` cases into the scans of ``cohort`` and write them as a cohort.

    A run that was stopped goes on where it was when it is started again with the same arguments.

    Args:
        model: the synthesizer.
        cohort: target scans; each is used about equally often. Those of unknown annotation are left out, and with
            :class:`~lesionforge.masks.own.OwnMasks` those without a lesion.
        masks: where lesions go; not used by a method that brings its own label.
        out: a new folder, or that of the same run.
        n: cases to write; one for each target scan unless given.
        blend: ``"lesion"`` keeps the scan outside the mask and its margin bit-identical; ``"full"`` keeps the whole
            image that was drawn.
        seed: each case's randomness comes from it and the case's id.
        min_volume: least volume of a placed mask, in mm³ (mm² in 2D).
        workers: processes; 0 draws in this one, where the models lie, others on the CPU. On the CPU the files do not
            depend on it.
        healer: removes the lesions that a scan has before another one is drawn elsewhere.
        lesion_free: draw into scans that are annotated as lesion-free alone.
        problems: errors of cases that were left out before, to be listed with the others.
        progress: called with the number of cases done and ``n``.

    Raises:
        ConfigError: if method, masks and blend do not fit each other.
        CohortError: if there is no target scan, or none that is lesion-free where these are asked for.
        OutputError: if ``out`` holds something else.

    Example:
        >>> from lesionforge.testing import tiny_cohort
        >>> cohort = tiny_cohort(Path("tiny"), spatial_dims=2)
        >>> from lesionforge import MaskBank, SYNTHESIZERS, TrainingConfig
        >>> model = SYNTHESIZERS["copy_paste"].fit(
        ...     cohort, channels=("FLAIR",), config={}, training=TrainingConfig(), out=Path("model")
        ... )
        >>> run = synthesize_cohort(model, cohort, MaskBank(cohort), out=Path("drawn"), n=2, min_volume=20)
        >>> [case.case_id for case in run.cohort]
        ['case_000_s00000', 'case_002_s00001']
    """
    targets = cohort.having(model.info.preprocessing.channels).annotated().in_order()
    if lesion_free:
        targets = lesion_free_scans(targets)
    elif isinstance(masks, OwnMasks):
        targets = targets.with_lesions()
    _check_request(model, masks, targets, blend, healer, lesion_free=lesion_free)
    n = n or len(targets)
    ending = targets.cases[0].file_ending
    job = Job(
        model=model,
        targets=Targets(model, healer),
        masks=masks if model.needs_mask else None,
        cohort=targets,
        out=out,
        blend=blend,
        seed=seed,
        min_volume=min_volume,
        file_ending=ending,
    )
    model.check_dimensions(2 if ending == ".png" else 3)
    if not (math.isfinite(min_volume) and min_volume >= 0):
        raise ConfigError("`min_volume`", f"{min_volume} is no volume", "give 0 mm³ or more")
    if workers < 0:
        raise ConfigError("`workers`", f"{workers} is no number of processes", "give 0 or more")
    claim_run_folder(out, _settings(job, n))
    check_sources(out, targets)
    written, found, redraws = [], [], 0
    for done, outcome in enumerate(_outcomes(job, n, workers), start=1):
        if isinstance(outcome, LesionforgeError):
            found.append(outcome)
        else:
            written.append(outcome)
            redraws += int(outcome.extra["redraws"])
        if progress is not None:
            progress(done, n)
    result = replace(_empty(job), cases=tuple(written))
    told = {str(problem) for problem in found}
    found += [problem for problem in problems if str(problem) not in told]
    finish_run_folder(out, result, found, file_ending=ending)
    return Synthesis(cohort=result, problems=tuple(found), redraws=redraws)


def lesion_free_scans(cohort: Cohort) -> Cohort:
    """Return the scans that are annotated as lesion-free.

    Raises:
        CohortError: if there is none.
    """
    found = cohort.healthy()
    if not len(found):
        raise CohortError(cohort.name, "has no lesion-free scan to draw into", "add some, or draw into all scans")
    return found


def draw_case(job: Job, index: int, n: int) -> Case | LesionforgeError:
    """Draw and write case number ``index`` of ``n``, unless it is there already."""
    source = job.cohort.cases[index * len(job.cohort) // n]
    case_id = f"{source.case_id}_s{index:05d}"
    record = job.out / "provenance" / f"{case_id}.json"
    try:
        if record.is_file():
            facts = read_record(record, "mask_id", "redraws")
        else:
            facts = _draw(job, source, case_id)
            write_json(record, facts)
    except LesionforgeError as error:
        return error
    files, label = case_files(job.out, case_id, len(job.model.info.preprocessing.channels), job.file_ending)
    return Case(
        case_id=case_id,
        subject_id=source.subject_id,
        images=dict(zip(job.model.info.preprocessing.channels, files, strict=True)),
        annotation=Annotation(facts.get("annotation", "lesion")),
        label=label,
        origin="synthetic",
        source_case=source.case_id,
        mask_id=facts["mask_id"],
        synthesizer=job.model.method,
        seed=job.seed,
        parents=tuple(facts["parents"]),
        extra={name: str(facts[name]) for name in ("redraws", "healed_by") if name in facts},
    )


def _draw(job: Job, source: Case, case_id: str) -> dict[str, object]:
    model = job.model
    rng = generator(job.seed, case_id)
    target, healer = job.targets.read(source), job.targets.healer
    placed = _place(job, target.original, rng)
    drawing = draw_into(model, target.scan, target.sample, placed.mask, rng, blend=job.blend)
    _write(job, target, drawing, placed, case_id)
    parents = source.ancestry | placed.subjects | set(model.info.training_subjects)
    if job.masks is not None:
        parents |= job.masks.subjects
    if healer is not None:
        parents |= set(healer.info.training_subjects)
    return {
        "case_id": case_id,
        "annotation": (Annotation.LESION if drawing.label.any() else Annotation.LESION_FREE).value,
        "source_case": source.case_id,
        "source_sha256": digest_of([source]),
        "mask_id": placed.mask_id,
        "redraws": placed.redraws,
        "parents": sorted(parents),
        "method": model.method,
        "seed": job.seed,
        "blend": job.blend,
        **({} if healer is None else {"healed_by": healer.method}),
    }


def _place(job: Job, scan: Scan, rng: np.random.Generator) -> PlacedMask:
    if job.masks is None:
        return PlacedMask(mask=np.zeros(scan.spatial_shape, np.int16), mask_id="", subjects=frozenset(), redraws=0)
    return job.masks.sample(scan, rng, min_volume=job.min_volume)


def _write(job: Job, target: Target, drawing: Drawing, placed: PlacedMask, case_id: str) -> None:
    channels = job.model.info.preprocessing.channels
    _check_classes(drawing.label, job, placed.mask_id or case_id)
    files, label_file = case_files(job.out, case_id, len(channels), job.file_ending)
    for number, channel in enumerate(channels):
        touched = drawing.touched | target.touched
        save_edited(target.scan.case.images[channel], files[number], drawing.image[number], touched)
    save_label(label_file, drawing.label, target.scan.file)


def _check_classes(label: LabelArray, job: Job, where: str) -> None:
    unknown = sorted({int(value) for value in np.unique(label)} - set(job.model.info.labels.values()))
    if unknown:
        raise CohortError(
            where, f"brings the lesion class {unknown[0]}, which the model does not know", "use the model's classes"
        )


def _check_request(
    model: Synthesizer,
    masks: MaskSource | None,
    targets: Cohort,
    blend: Blend,
    healer: Healer | None,
    *,
    lesion_free: bool,
) -> None:
    if not len(targets):
        raise CohortError(targets.name, "has no annotated scan with the model's channels", "check it, or annotate some")
    if model.needs_mask and masks is None:
        raise ConfigError("`masks`", f"{model.method} needs masks", f"name a source: {one_of(MASK_SOURCES)}")
    if lesion_free and isinstance(masks, OwnMasks):
        what = "lesion-free scans have no lesion of their own to draw"
        raise ConfigError("`lesion_free`", what, "use other masks, such as bank")
    if isinstance(masks, OwnMasks) and model.sees_lesions and healer is None:
        what = "the model is shown the scan, and so the lesion that it is to draw"
        raise ConfigError("`masks=own`", what, "use other masks, or `heal` to remove the lesion before")
    if blend == "full" and not model.draws_whole_image:
        raise ConfigError("`blend=full`", "this model draws around the mask only", "use `blend=lesion`")


def _settings(job: Job, n: int) -> dict[str, object]:
    """Return all that the cases depend on, for the run's record."""
    healer = job.targets.healer
    return {
        "n": n,
        "seed": job.seed,
        "blend": job.blend,
        "min_volume": job.min_volume,
        **model_settings("model", job.model),
        "masks": None if job.masks is None else [type(job.masks).__name__, *sorted(job.masks.subjects)],
        "masks_sha256": None if job.masks is None else job.masks.digest,
        "targets": [case.case_id for case in job.cohort],
        **({} if healer is None else model_settings("healer", healer)),
    }


def _outcomes(job: Job, n: int, workers: int) -> Iterator[Case | LesionforgeError]:
    if workers == 0:
        yield from (draw_case(job, index, n) for index in range(n))
        return
    models: list[FittedModel | MaskSource | None] = [job.model, job.masks, job.targets.healer]
    for model in models:
        if model is not None:
            model.to("cpu")
    with Pool(workers, threads=1, here=False, prepare=_remember, arguments=(job,)) as run:
        size = max(1, min(16, n // workers))
        for outcomes in run(_draw_remembered, [(range(first, min(first + size, n)), n) for first in range(0, n, size)]):
            yield from outcomes


_job: list[Job] = []


def _remember(job: Job) -> None:
    _job[:] = [job]


def _draw_remembered(indices: Sequence[int], n: int) -> list[Case | LesionforgeError]:
    return [draw_case(_job[0], index, n) for index in indices]


def _empty(job: Job) -> Cohort:
    info = job.model.info
    return Cohort(
        name=f"{job.cohort.name}_synthetic", channels=info.preprocessing.channels, labels=info.labels, cases=()
    )
