"""Drawing and writing single synthetic cases: the work of one job of a synthesis."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lesionforge import errors
from lesionforge.cohort.case import Annotation, Case, Cohort
from lesionforge.cohort.digest import digest_of
from lesionforge.cohort.layouts.nnunet import case_files
from lesionforge.cohort.provenance import read_record
from lesionforge.cohort.scan import BoolArray, LabelArray, Scan, save_edited, save_label
from lesionforge.errors import CohortError, LesionforgeError
from lesionforge.files import write_json
from lesionforge.masks.base import MaskSource
from lesionforge.masks.mask import PlacedMask
from lesionforge.preprocessing.brain.region import find_region
from lesionforge.production.blend import Blend
from lesionforge.production.displacement import displace
from lesionforge.production.drawing import Drawing, draw_into
from lesionforge.production.drawn_into import Target, Targets
from lesionforge.production.in_fluid import share_in_fluid
from lesionforge.production.network_changes import CHANGED_OUTSIDE, change_entries
from lesionforge.reading import read_json
from lesionforge.seeding import generator
from lesionforge.synthesizers.base import Synthesizer


@dataclass(frozen=True, kw_only=True)
class DrawRequest:
    """Everything that a drawn case depends on, and the folder that it is written to.

    Attributes:
        model: the synthesizer.
        targets: reads the target scans; removes their lesions first if it has a healer.
        masks: source of the lesion masks; ``None`` for a method that brings its own label.
        cohort: the target scans; each is used about equally often.
        out: the folder of the drawn cohort.
        blend: ``"lesion"`` or ``"full"``.
        seed: seed of all cases, together with the id of the case.
        min_volume: least volume of a placed mask, in mm³ (mm² in 2D); ``None`` = the mask source's own.
        file_ending: file ending of images and labels.
        n: number of cases.
        negatives: probability that a case is a negative: healthy tissue, or a mimic, takes the place of the lesion.
        displacement: greatest displacement of the tissue around a drawing, in mm.
    """

    model: Synthesizer
    targets: Targets
    masks: MaskSource | None
    cohort: Cohort
    out: Path
    blend: Blend
    seed: int
    min_volume: float | None
    file_ending: str
    n: int
    negatives: float = 0.0
    displacement: float = 0.0

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels of the drawn images."""
        return self.model.info.preprocessing.channels

    def source(self, index: int) -> Case:
        """Return the target scan of a case."""
        return self.cohort.cases[index * len(self.cohort) // self.n]

    def case_id(self, index: int) -> str:
        """Return the id of a case."""
        return f"{self.source(index).case_id}_s{index:05d}"

    def negative(self, case_id: str) -> bool:
        """Return whether a case is a negative; the other cases are those of a run without negatives."""
        return bool(generator(self.seed, case_id, "negative").random() < self.negatives)

    def record(self, index: int) -> Path:
        """Return the provenance record of a case, which is written after its images and label."""
        return self.out / "provenance" / f"{self.case_id(index)}.json"


def draw_cases(request: DrawRequest, indices: range, problems: Path) -> str:
    """Draw and write cases, except those that exist, and list the errors of the cases that could not be drawn.

    Args:
        request: what to draw.
        indices: numbers of the cases, from 0 to ``n - 1``.
        problems: the JSON file for the errors.

    Returns:
        A one-line message with the number of drawn cases.
    """
    found = dict[str, tuple[str, ...]]()
    for index in indices:
        try:
            draw_case(request, index)
        except LesionforgeError as error:
            found[request.case_id(index)] = (type(error).__name__, error.where, error.what, error.remedy)
    write_json(problems, found)
    return f"{len(indices) - len(found)} cases drawn"


def read_problems(file: Path) -> dict[str, LesionforgeError]:
    """Return case id → error from a file of :func:`draw_cases`; unknown error classes become ``LesionforgeError``."""
    found = read_json(file)
    return {case_id: getattr(errors, kind, LesionforgeError)(*told) for case_id, (kind, *told) in found.items()}


def draw_case(request: DrawRequest, index: int) -> None:
    """Draw and write a case, unless it exists.

    Raises:
        LesionforgeError: if it cannot be drawn.
    """
    if not request.record(index).is_file():
        write_json(request.record(index), _draw(request, request.source(index), request.case_id(index)))


def drawn_case(request: DrawRequest, index: int) -> Case:
    """Return a case that was drawn.

    Raises:
        CohortError: if its provenance record is damaged.
    """
    facts = read_record(request.record(index), "mask_id", "redraws")
    case_id, source = request.case_id(index), request.source(index)
    files, label = case_files(request.out, case_id, len(request.channels), request.file_ending)
    return Case(
        case_id=case_id,
        subject_id=source.subject_id,
        images=dict(zip(request.channels, files, strict=True)),
        annotation=Annotation(facts.get("annotation", "lesion")),
        label=label,
        origin="synthetic",
        source_case=source.case_id,
        mask_id=facts["mask_id"],
        synthesizer=request.model.method,
        seed=request.seed,
        parents=tuple(facts["parents"]),
        extra={name: str(facts[name]) for name in ("redraws", "healed_by", "negative") if name in facts},
    )


def _draw(request: DrawRequest, source: Case, case_id: str) -> dict[str, object]:
    model, negative = request.model, request.negative(case_id)
    rng = generator(request.seed, case_id)
    target, healer = request.targets.read(source), request.targets.healer
    placed = _place(request, target.original, rng, negative=negative)
    if placed.instead:
        target = target.without_lesions()
    drawing = draw_into(model, target.scan, target.sample, placed.mask, rng, blend=request.blend, negative=negative)
    new = _new_lesions(placed, drawing, target)
    if request.displacement:
        drawing = _displaced(request, target, drawing, placed, case_id)
    _write(request, target, drawing, placed, case_id)
    parents = source.ancestry | placed.subjects | set(model.info.training_subjects)
    if request.masks is not None:
        parents |= request.masks.subjects
    if source.map_maker is not None:
        parents |= set(source.map_maker.subjects)
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
        "seed": request.seed,
        "blend": request.blend,
        **share_in_fluid(new, target.fluid),
        **({"negative": True} if negative else {}),
        **({"edits": [edit.line() for edit in placed.edits]} if placed.edits else {}),
        **({} if healer is None else {"healed_by": healer.method}),
        **change_entries({CHANGED_OUTSIDE: drawing.changed_outside, **target.healer_changed}),
    }


def _displaced(request: DrawRequest, target: Target, drawing: Drawing, placed: PlacedMask, case_id: str) -> Drawing:
    """Return a drawing with the tissue around it displaced; the drawing itself is that of a run without."""
    image, moved = displace(
        drawing.image,
        drawing.label,
        placed.mask,
        find_region(target.original),
        target.original.spacing,
        generator(request.seed, case_id, "displacement"),
        most_mm=request.displacement,
        margin_mm=request.model.margin_mm(),
    )
    return replace(drawing, image=image, touched=drawing.touched | moved)


def _new_lesions(placed: PlacedMask, drawing: Drawing, target: Target) -> BoolArray:
    """Return the voxels of the label that were drawn: those of the mask, or those that a method added by itself."""
    if placed.mask.any():
        return (placed.mask > 0) & (drawing.label > 0)
    before = 0 if target.scan.label is None else target.scan.label
    return (drawing.label > 0) & (drawing.label != before)


def _place(request: DrawRequest, scan: Scan, rng: np.random.Generator, *, negative: bool) -> PlacedMask:
    if request.masks is None:
        return PlacedMask(mask=np.zeros(scan.spatial_shape, np.int16), mask_id="", subjects=frozenset(), redraws=0)
    masks = request.masks.elsewhere if negative else request.masks
    return masks.sample(scan, rng, min_volume=request.min_volume)


def _write(request: DrawRequest, target: Target, drawing: Drawing, placed: PlacedMask, case_id: str) -> None:
    _check_classes(drawing.label, request, placed.mask_id or case_id)
    files, label_file = case_files(request.out, case_id, len(request.channels), request.file_ending)
    for number, channel in enumerate(request.channels):
        touched = drawing.touched | target.touched
        save_edited(target.scan.case.images[channel], files[number], drawing.image[number], touched)
    save_label(label_file, drawing.label, target.scan.file)


def _check_classes(label: LabelArray, request: DrawRequest, where: str) -> None:
    unknown = sorted({int(value) for value in np.unique(label)} - set(request.model.info.labels.values()))
    if unknown:
        raise CohortError(
            where, f"brings the lesion class {unknown[0]}, which the model does not know", "use the model's classes"
        )
