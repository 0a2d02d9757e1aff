"""Synthesis of a cohort on disk from a model, target scans and masks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.provenance import read_record
from lesionforge.engine.base import Engine
from lesionforge.engine.job import Job
from lesionforge.engine.local import LocalEngine
from lesionforge.errors import CohortError, ConfigError, LesionforgeError, one_of
from lesionforge.files import one_at_a_time, scratch
from lesionforge.healers.base import Healer
from lesionforge.masks.base import MaskSource
from lesionforge.masks.registry import MASK_SOURCES
from lesionforge.production.blend import Blend
from lesionforge.production.displacement import check_displacement
from lesionforge.production.draw_cases import DrawRequest, draw_cases, drawn_case, read_problems
from lesionforge.production.drawn_into import Targets
from lesionforge.production.network_changes import HEALER_CHANGED_OUTSIDE, mean_change
from lesionforge.production.run_folder import check_sources, claim_run_folder, finish_run_folder, model_settings
from lesionforge.synthesizers.base import Synthesizer, without_negatives
from lesionforge.training.fitted_model import FittedModel

MOST_JOBS = 128
"""Cases are drawn in at most this number of jobs."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Synthesis:
    """The result of a synthesis.

    Attributes:
        cohort: the cases that were written.
        problems: errors of the cases that were not written.
        redraws: number of masks that did not fit, over all cases.
        changed_outside: what the method changed outside the masks before blending: mean absolute change within the
            head, as a share of the model's intensity range, averaged over the cases whose records say it; ``None`` if
            none does, as for a method that draws around the mask only.
        healer_changed_outside: the same of a healer that is told where the lesions are, outside the lesions that it
            removed.
    """

    cohort: Cohort
    problems: tuple[LesionforgeError, ...]
    redraws: int
    changed_outside: float | None
    healer_changed_outside: float | None


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
    min_volume: float | None = None,
    engine: Engine | None = None,
    healer: Healer | None = None,
    lesion_free: bool = False,
    negatives: float = 0.0,
    displacement: float = 0.0,
    problems: Sequence[LesionforgeError] = (),
    progress: Progress = lambda done, total: None,
) -> Synthesis:
    """Draw ``n`` cases into the scans of ``cohort`` and write them as a cohort.

    The same call continues a stopped run.

    Args:
        model: the synthesizer.
        cohort: target scans; each is used about equally often. Scans of unknown annotation are left out; with masks
            or a method that need each scan's own lesion, scans without a lesion are left out too.
        masks: source of the lesion masks; not used by a method that brings its own label.
        out: a new folder, or the folder of the same run.
        n: number of cases; by default one per target scan.
        blend: ``"lesion"`` keeps the scan bit-identical outside the mask and its margin; ``"full"`` takes the whole
            drawn image.
        seed: seed of all cases, together with the id of the case.
        min_volume: least volume of a placed mask, in mm³ (mm² in 2D); by default the source's own, see
            :meth:`~lesionforge.masks.base.MaskSource.least_volume`.
        engine: where cases are drawn; by default in this process, on the model's device. Other processes draw on the
            CPU. On a CPU the files do not depend on the engine.
        healer: removes the lesions of a scan before a new lesion is drawn.
        lesion_free: draw only into scans that are annotated as lesion-free.
        negatives: probability that a case is a negative: healthy tissue, or a mimic, is drawn in the place of the
            lesion, and the label stays as it was, so that the seam of a drawing does not tell of a lesion.
        displacement: greatest distance in mm, 0 to 3, by which the tissue around a drawing is pushed away from it, as a
            simple mass effect; lesions and label stay as they are, and so do voxels more than 15 mm and a voxel beyond
            the mask and its margin.
        problems: errors of cases that were left out before, to be listed with the others.
        progress: called with the number of finished cases and ``n``.

    Raises:
        ConfigError: if method, masks and blend do not fit each other.
        CohortError: if there is no target scan, or no lesion-free one if ``lesion_free`` is set.
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
    elif model.needs_lesion or (masks is not None and masks.of_own_lesion):
        targets = targets.with_lesions()
    _check_request(model, masks, targets, blend, healer, lesion_free=lesion_free)
    if negatives:
        _check_negatives(model, masks, negatives)
    check_displacement(displacement, needs_mask=model.needs_mask)
    ending = targets.cases[0].file_ending
    request = DrawRequest(
        model=model,
        targets=Targets(model, healer),
        masks=masks if model.needs_mask else None,
        cohort=targets,
        out=out,
        blend=blend,
        seed=seed,
        min_volume=min_volume,
        file_ending=ending,
        n=n or len(targets),
        negatives=negatives,
        displacement=displacement,
    )
    model.check_dimensions(2 if ending == ".png" else 3)
    if min_volume is not None and not (math.isfinite(min_volume) and min_volume >= 0):
        raise ConfigError("`min_volume`", f"{min_volume} is no volume", "give 0 mm³ or more")
    claim_run_folder(out, _settings(request))
    check_sources(out, targets)
    outcomes = _draw_all(request, engine or LocalEngine(), progress)
    return _result(request, outcomes, problems)


def lesion_free_scans(cohort: Cohort) -> Cohort:
    """Return the scans that are annotated as lesion-free.

    Raises:
        CohortError: if there is none.
    """
    found = cohort.healthy()
    if not len(found):
        raise CohortError(cohort.name, "has no lesion-free scan to draw into", "add some, or draw into all scans")
    return found


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
    if lesion_free and model.needs_lesion:
        what = f"{model.method} draws with the lesions of each scan, which lesion-free scans lack"
        raise ConfigError("`lesion_free`", what, "leave it out, or use another method, such as copy_paste")
    if lesion_free and masks is not None and masks.of_own_lesion:
        what = "lesion-free scans have no lesion of their own to draw"
        raise ConfigError("`lesion_free`", what, "use other masks, such as bank")
    _check_old_lesions(model, masks if model.needs_mask else None, targets, blend, healed=healer is not None)
    if blend == "full" and not model.draws_whole_image:
        raise ConfigError("`blend=full`", "this model draws around the mask only", "use `blend=lesion`")


def _check_negatives(model: Synthesizer, masks: MaskSource | None, negatives: float) -> None:
    if not 0 <= negatives <= 1:
        raise ConfigError("`negatives`", f"{negatives:g} is no share", "give 0 to 1")
    if not model.draws_negatives:
        raise without_negatives(model.method)
    if masks is not None and (masks.elsewhere.of_own_lesion or masks.instead):
        what = "the holes are where each scan has its lesion, which would be gone while its label stays"
        raise ConfigError("`negatives`", what, "use other masks, such as bank")


def _check_old_lesions(
    model: Synthesizer, masks: MaskSource | None, targets: Cohort, blend: Blend, *, healed: bool
) -> None:
    """Refuse what would leave a lesion in an image whose label does not have it any more.

    Raises:
        ConfigError: if masks, model and blend do so.
        CohortError: if a target scan does so.
    """
    name = "" if masks is None else f"`masks={masks.method}`"
    if masks is not None and masks.of_own_lesion and model.sees_lesions and not healed:
        what = "the model is shown the scan, and so the lesion that it is to draw"
        raise ConfigError(name, what, "use other masks, or `heal` to remove the lesion before")
    if blend == "full" and model.draws_whole_image and not model.sees_lesions and model.needs_mask:
        return
    remedy = "use `blend=full` with a model that draws from label maps"
    if masks is not None and masks.instead and not healed:
        what = "the edited lesion takes the place of the scan's own, which the image would still show"
        raise ConfigError(name, what, f"{remedy}, or `heal` to remove the lesion before")
    waiting = next((case for case in targets if case.awaits_drawing), None)
    if waiting is not None:
        raise CohortError(waiting.case_id, "its label was edited, but its image shows the lesion as it was", remedy)


def _settings(request: DrawRequest) -> dict[str, object]:
    """Return everything that the cases depend on, for the settings file."""
    healer = request.targets.healer
    return {
        "n": request.n,
        "seed": request.seed,
        "blend": request.blend,
        "min_volume": request.min_volume,
        **model_settings("model", request.model),
        "masks": None if request.masks is None else [type(request.masks).__name__, *sorted(request.masks.subjects)],
        "masks_sha256": None if request.masks is None else request.masks.digest,
        "targets": [case.case_id for case in request.cohort],
        **({} if healer is None else model_settings("healer", healer)),
        **({"negatives": request.negatives} if request.negatives else {}),
        **({"displacement": request.displacement} if request.displacement else {}),
    }


def _draw_all(request: DrawRequest, engine: Engine, progress: Progress) -> list[Case | LesionforgeError]:
    """Draw all cases as jobs of an engine; return each case, or its error if it could not be drawn."""
    models: list[FittedModel | MaskSource | None] = [request.model, request.masks, request.targets.healer]
    for model in models:
        if model is not None and engine.elsewhere:
            model.to("cpu")
    size = -(-request.n // MOST_JOBS)
    with scratch(request.out) as folder:
        jobs = [_job(range(first, min(first + size, request.n)), folder) for first in range(0, request.n, size)]
        cases_done = 0

        def tell(line: str) -> None:
            nonlocal cases_done
            before, cases_done = cases_done, sum(len(job.arguments[0]) for job in jobs if job.done)
            if cases_done > before:
                progress(cases_done, request.n)

        engine.run(lambda: jobs, tell, shared=(request,))
        problems = {name: error for job in jobs for name, error in read_problems(job.product).items()}
    return [_outcome(request, index, problems) for index in range(request.n)]


def _job(indices: range, folder: Path) -> Job:
    product = folder / f"{indices.start:05d}.json"
    name = f"cases {indices.start} to {indices.stop - 1}"
    return Job(name=name, product=product, function=draw_cases, arguments=(indices, product))


def _outcome(request: DrawRequest, index: int, problems: Mapping[str, LesionforgeError]) -> Case | LesionforgeError:
    if (problem := problems.get(request.case_id(index))) is not None:
        return problem
    try:
        return drawn_case(request, index)
    except LesionforgeError as error:
        return error


def _result(
    request: DrawRequest, outcomes: Sequence[Case | LesionforgeError], problems: Sequence[LesionforgeError]
) -> Synthesis:
    """Write the tables of the cohort and return the result."""
    info = request.model.info
    written = tuple(outcome for outcome in outcomes if isinstance(outcome, Case))
    found = [outcome for outcome in outcomes if isinstance(outcome, LesionforgeError)]
    told = {str(problem) for problem in found}
    found += [problem for problem in problems if str(problem) not in told]
    name = f"{request.cohort.name}_synthetic"
    result = Cohort(name=name, channels=request.channels, labels=info.labels, cases=written)
    finish_run_folder(request.out, result, found, file_ending=request.file_ending)
    redraws = sum(int(case.extra["redraws"]) for case in written)
    records = [read_record(request.out / "provenance" / f"{case.case_id}.json") for case in written]
    return Synthesis(
        cohort=result,
        problems=tuple(found),
        redraws=redraws,
        changed_outside=mean_change(records),
        healer_changed_outside=mean_change(records, HEALER_CHANGED_OUTSIDE),
    )
