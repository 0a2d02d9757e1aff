"""Figures of the synthesizers' output in a finished run: lesion placement, appearance and brightness."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from lesionforge.benchmark.arms.chosen_generator import load_fitted
from lesionforge.benchmark.arms.finished import FinishedRun
from lesionforge.benchmark.arms.mask_sources import mask_source
from lesionforge.benchmark.report.figures.charts import Illustration
from lesionforge.benchmark.report.figures.curves import Intensities, intensity_histograms
from lesionforge.benchmark.report.figures.pictures import (
    Placement,
    SideBySide,
    placement_sheet,
    side_by_side_sheet,
)
from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.inspection.contact_sheet import pick_evenly
from lesionforge.cohort.inspection.panels import window_of
from lesionforge.cohort.inspection.planes import key_plane, planes_through
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.scan import FloatArray, LabelArray, Scan, load_scan, read_label
from lesionforge.errors import LesionforgeError, PlacementError
from lesionforge.masks import MaskSource
from lesionforge.preprocessing.brain.region import with_region
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.production.drawing import draw_into
from lesionforge.scores.cohorts.views import sample_intensities
from lesionforge.seeding import generator
from lesionforge.synthesizers.base import Synthesizer
from lesionforge.synthesizers.registry import SYNTHESIZERS

PLACEMENT_CANDIDATES, SIDE_BY_SIDE_CASES, HISTOGRAM_CASES = 9, 3, 24


def placement(run: FinishedRun, name: str) -> Illustration | None:
    """Draw the offline case with the median lesion size of a sample; ``None`` if no new lesion is found."""
    found = []
    for case in pick_evenly(read_cohort(run.cohorts[name]), PLACEMENT_CANDIDATES):
        drawn, source = load_scan(case, run.study.channels), _source(run, case)
        lesion = new_lesion(drawn, source)
        if source is not None and lesion.any():
            found.append((int(np.count_nonzero(lesion)), drawn, source, lesion))
    if not found:
        return None
    _, drawn, source, lesion = sorted(found, key=lambda one: one[0])[len(found) // 2]
    placements = [
        Placement(
            name=plane.name,
            source=plane.cut(source.image[0]),
            drawn=plane.cut(drawn.image[0]),
            lesion=plane.cut(lesion),
            window=window_of(source.image[0]),
            aspect=plane.aspect,
        )
        for plane in planes_through(source, lesion)
    ]
    caption = (
        f"A case drawn by {name}: the scan it was drawn into, the result, and the outline of the new lesion, "
        f"whose size is the median of {len(found)} cases. Right in the picture is the patient's right."
    )
    return Illustration(f"placement_{name}.png", caption, placement_sheet(placements))


def _source(run: FinishedRun, case: Case) -> Scan | None:
    sources = {one.case_id: one for one in (*run.train, *run.healthy)}
    return load_scan(sources[case.source_case], run.study.channels) if case.source_case in sources else None


def new_lesion(drawn: Scan, source: Scan | None) -> LabelArray:
    """Return the lesion classes of a drawn scan where they differ from its source.

    All of its lesion classes are returned if there is no source, or if the source's own lesion was redrawn.
    """
    assert drawn.label is not None
    if source is None or source.label is None or np.array_equal(drawn.label, source.label):
        return drawn.label
    return np.where(drawn.label != source.label, drawn.label, 0).astype(np.int16)


def side_by_side(run: FinishedRun, on_problem: Callable[[LesionforgeError], None]) -> Illustration | None:
    """Draw the same scans and masks with every synthesizer that takes a mask."""
    plans = run.study.plan.synthesizers
    names = [name for name in run.synthesizers if SYNTHESIZERS[plans[name].method].needs_mask]
    if not names:
        return None
    models = {name: load_fitted(run.repeat, name) for name in names}
    own = any(model.info.config.get("condition") == "label" for model in models.values())
    masks = None if own else mask_source(run.repeat, plans[names[0]])
    rows = []
    for case, shown in _shown_side_by_side(run.train.with_lesions()):
        scan = with_region(load_scan(case, run.study.channels))
        try:
            drawn = _drawn_by_all(run, scan, models, masks, anatomy=own)
            rows.append(replace(drawn, name=f"{drawn.name}, {shown}" if own and shown else drawn.name))
        except PlacementError as error:
            on_problem(error)
    if not rows:
        return None
    where = f"one of the source {plans[names[0]].masks}"
    if own:
        where = "that of the scan's own lesion, over which those that draw into the scan draw once more"
    caption = (
        f"The same training scans and masks drawn by every synthesizer that takes a mask; the mask is {where}. "
        "A synthesizer that draws nothing where the mask is has failed."
    )
    return Illustration("synthesizers.png", caption, side_by_side_sheet(rows))


def _shown_side_by_side(cases: Cohort) -> list[tuple[Case, str]]:
    """Return a few evenly chosen cases; with several lesion classes, the case with most of each class and its name.

    A case with most of several classes is shown once, with all of their names.
    """
    names = {value: name for name, value in cases.labels.items() if value}
    if len(names) == 1:
        return [(case, "") for case in pick_evenly(cases, SIDE_BY_SIDE_CASES)]
    sizes = {}
    for case in cases:
        assert case.label is not None
        label, _ = read_label(case.label)
        sizes[case.case_id] = np.bincount(label.ravel(), minlength=max(names) + 1)
    largest: dict[str, list[str]] = {}
    for value, name in names.items():
        case_id = max(sizes, key=lambda one: int(sizes[one][value]))
        if sizes[case_id][value]:
            largest.setdefault(case_id, []).append(name)
    return [(case, " and ".join(largest[case.case_id])) for case in cases if case.case_id in largest]


def _drawn_by_all(
    run: FinishedRun, scan: Scan, models: dict[str, Synthesizer], masks: MaskSource | None, *, anatomy: bool
) -> SideBySide:
    """Draw one lesion with every model: the scan's own, or one from ``masks``."""
    assert scan.label is not None
    plans = run.study.plan.synthesizers
    mask, case_id = scan.label, scan.case.case_id
    if masks is not None:
        least = next(plans[name].min_volume for name in models)
        mask = masks.sample(scan, generator(run.repeat.seed, case_id, "mask"), min_volume=least).mask
    plane = key_plane(replace(scan, label=mask))
    drawn = {}
    for name, model in models.items():
        sample, rng = model.info.preprocessing.forward(scan), generator(run.repeat.seed, case_id, "drawing")
        drawing = draw_into(model, scan, sample, mask, rng, blend=plans[name].blend)
        drawn[name] = plane.cut(drawing.image[0])
    return SideBySide(
        name=case_id,
        source=plane.cut(scan.image[0]),
        mask=plane.cut(mask),
        anatomy=plane.cut(scan.anatomy) if anatomy and scan.anatomy is not None else None,
        drawn=drawn,
        window=window_of(scan.image[0]),
        aspect=plane.aspect,
    )


def histograms(run: FinishedRun) -> Illustration | None:
    """Draw the intensities of the offline cases over those of the real training cases."""
    if not run.cohorts:
        return None
    preprocessing = run.repeat.preprocessing
    real = _intensities(run, pick_evenly(run.train.with_lesions(), HISTOGRAM_CASES), preprocessing)
    drawn = {
        name: _intensities(run, pick_evenly(read_cohort(folder), HISTOGRAM_CASES), preprocessing)
        for name, folder in run.cohorts.items()
    }
    caption = (
        "Intensities within lesions and of the head outside them, of real training cases (grey) and of synthetic "
        f"ones, there within the new lesions; at most {HISTOGRAM_CASES} cases of each."
    )
    return Illustration("intensities.svg", caption, intensity_histograms(real, drawn, run.colours))


def _intensities(run: FinishedRun, cases: Sequence[Case], preprocessing: Preprocessing) -> Intensities:
    inside: list[FloatArray] = []
    outside: list[FloatArray] = []
    for case in cases:
        scan = load_scan(case, preprocessing.channels)
        sample = preprocessing.forward(scan)
        lesion = preprocessing.geometry(scan).to_model(new_lesion(scan, _source(run, case)), label=True)
        image = sample.relative_to_tissue(sample.image, preprocessing.output)
        for kept, values in zip((inside, outside), sample_intensities(sample, image, lesion), strict=True):
            kept.append(values)
    return Intensities(np.concatenate(inside), np.concatenate(outside))
