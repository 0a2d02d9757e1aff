"""The figures of a healing study: subjects by methods, images within cycles, reconstructions, scores and losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lesionforge.benchmark.report.figures.charts import Illustration, arm_colours, box_plot
from lesionforge.benchmark.report.figures.curves import curve_sheet, read_log
from lesionforge.benchmark.report.figures.pictures import PREDICTION_COLOUR, TRUTH_COLOUR
from lesionforge.cohort.inspection.panels import Labels, Panel, sheet, window_of
from lesionforge.cohort.inspection.planes import Plane, key_plane
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.scan import FloatArray, Scan, load_scan
from lesionforge.healers.registry import HEALERS, load_healer
from lesionforge.preprocessing.intensity import Percentile
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.production.heal import HEALED, RECONSTRUCTED
from lesionforge.scores.healed_scans.displacement import drawn_lesion
from lesionforge.scores.healed_scans.healed import REFERENCES, of_source
from lesionforge.scores.registry import find_score

if TYPE_CHECKING:
    from lesionforge.benchmark.healing.healing_study import HealingStudy

BOXES = ("healthiness", "identity_beside", "identity")


def healing_figures(study: HealingStudy, results: pd.DataFrame) -> list[Illustration]:
    """Draw the figures of a finished study; pictures show its first seed.

    Args:
        study: the study.
        results: its ``results.csv``.
    """
    return [
        subjects_by_methods(study),
        *flows(study),
        *failures(study, results),
        *scores_by_method(results),
        loss_curves(study),
    ]


@dataclass(frozen=True, kw_only=True)
class View:
    """The slice of a test scan with the largest lesion area, and the images that methods produced for it."""

    study: HealingStudy
    scan: Scan

    @cached_property
    def plane(self) -> Plane:
        """The slice."""
        return key_plane(self.scan)

    def source(self, note: str = "") -> Panel:
        """Return the scan with its lesion outlined."""
        assert self.scan.label is not None
        return self._panel(self.scan.image, "scan", note, {TRUTH_COLOUR: self.plane.cut(self.scan.label)})

    def made(self, method: str, kind: str, title: str) -> Panel:
        """Return an image that a method produced in the study's first seed."""
        return self._panel(self._load(method, kind), title, "", {})

    def drawn_again(self, method: str) -> Panel:
        """Return the reconstruction with the outlines of the true lesion and of the drawn lesion."""
        again, healed = (self._load(method, kind) for kind in (RECONSTRUCTED, HEALED))
        high = Percentile().limits(self.scan.image)[0][1]
        flat = [np.stack([self.plane.cut(channel / high) for channel in image]) for image in (again, healed)]
        drawn = drawn_lesion(*(image.astype(np.float32) for image in flat)).astype(np.int16)
        outlines = {**self.source().outlines, PREDICTION_COLOUR: drawn}
        return self._panel(again, "drawn again", "", outlines)

    def _load(self, method: str, kind: str) -> FloatArray:
        cohort = read_cohort(self.study.healed_folder(self.study.plan.seeds[0], method) / kind)
        return load_scan(of_source(cohort)[self.scan.case.case_id], self.scan.channels).image

    def _panel(self, image: FloatArray, title: str, note: str, outlines: Mapping[str, Labels]) -> Panel:
        window, aspect = window_of(self.scan.image[0]), self.plane.aspect
        shown = self.plane.cut(image[0])
        return Panel(image=shown, window=window, aspect=aspect, title=title, note=note, outlines=outlines)


def subjects_by_methods(study: HealingStudy) -> Illustration:
    """Draw test subjects as rows, spread evenly over lesion size, and methods as columns."""
    rows: list[list[Panel | None]] = []
    for view in _views(study, study.plan.examples):
        healed = [view.made(name, HEALED, name) for name in study.plan.methods]
        rows.append([view.source(note=view.scan.case.case_id), *healed])
    caption = (
        "Test subjects, evenly over the sizes of their lesions, each at its slice with most lesion: the scan with its "
        "lesion outlined, and what each method made of it. No lesion should be left, and it should be the same subject."
    )
    return Illustration("methods.png", caption, sheet(rows))


def _views(study: HealingStudy, count: int) -> list[View]:
    """Return test scans with lesions, spread evenly over lesion size."""
    scans = [load_scan(case, study.channels) for case in study.test.with_lesions()]
    scans.sort(key=lambda scan: 0 if scan.label is None else int(np.count_nonzero(scan.label)))
    chosen = np.linspace(0, len(scans) - 1, min(count, len(scans))).astype(int)
    return [View(study=study, scan=scans[index]) for index in chosen]


def flows(study: HealingStudy) -> list[Illustration]:
    """Draw the images within both cycles for a test subject, for each method that shows its cycles."""
    methods = study.plan.methods.items()
    return [_flow(study, name) for name, plan in methods if HEALERS[plan.method].shows_cycles]


def _flow(study: HealingStudy, name: str) -> Illustration:
    plan = study.plan
    model = load_healer(study.model_folder(plan.seeds[0], name), device=plan.training.device)
    scan = _views(study, 3)[-1].scan
    sample = model.info.preprocessing.forward(scan)
    shown, plain = _key_slices(sample), partial(Panel, window=(0.0, 1.0), aspect=sample.spacing[1] / sample.spacing[0])
    rows: list[list[Panel | None]] = [
        [plain(image=_cut(array, shown[kind]), title=title) for title, array in images.items()]
        for kind, images in model.cycles(sample).items()
        if kind in shown
    ]
    caption = (
        f"{name}: the images within its cycles, of {scan.case.case_id}. Above, cycle P-H: a pathological slice, "
        "healed, the map of the lesion, and what both make together. Below, if the scan has such a slice, cycle H-H: "
        "a healthy one, the same with an empty map drawn into it, the lesion found there, and the same healed."
    )
    return Illustration(f"flow_{name}.png", caption, sheet(rows))


def _key_slices(sample: Sample) -> dict[str, int | None]:
    """Return the slice with most lesion and the lesion-free slice with most tissue; ``None`` for 2D samples."""
    assert sample.label is not None
    if sample.label.ndim == 2:
        return {"pathological": None}
    lesion, tissue = (sample.label > 0).sum((0, 1)), sample.image[0].sum((0, 1))
    shown: dict[str, int | None] = {"pathological": int(lesion.argmax())}
    if (lesion == 0).any():
        shown["healthy"] = int(np.where(lesion == 0, tissue, -np.inf).argmax())
    return shown


def _cut(array: FloatArray, z: int | None) -> FloatArray:
    """Return a slice of the first channel as a picture."""
    return (array[0] if z is None else array[0, ..., z]).T[::-1]


def failures(study: HealingStudy, results: pd.DataFrame) -> list[Illustration]:
    """Draw the test case with the largest lesion displacement in a reconstruction, as every method reconstructs it."""
    plan = study.plan
    methods = [name for name in plan.methods if HEALERS[plan.methods[name].method].reconstructs]
    missed = results[(results["seed"] == plan.seeds[0]) & results["method"].isin(methods)]
    missed = missed.dropna(subset="displacement_mm")
    if missed.empty:
        return []
    worst = missed.sort_values("displacement_mm").iloc[-1]
    view = View(study=study, scan=load_scan(study.test[worst["case_id"]], study.channels))
    rows: list[list[Panel | None]] = [
        [view.source(note=name), view.made(name, HEALED, "healed"), view.drawn_again(name)] for name in methods
    ]
    caption = (
        f"{worst['case_id']}, the case in whose reconstruction {worst['method']} puts the lesion farthest away "
        f"({worst['displacement_mm']:.0f} mm): the scan, healed, and with the lesion drawn again. Blue outlines the "
        "true lesion, orange what was drawn: a method that is not told where the lesion was has to hide it or to guess."
    )
    return [Illustration("reconstructions.png", caption, sheet(rows))]


def scores_by_method(results: pd.DataFrame) -> list[Illustration]:
    """Draw a box per method for each main score."""
    arms = results[~results["method"].isin(REFERENCES)].rename(columns={"method": "arm"}).assign(train_size=1.0)
    caption = "A dot is a subject, the line in the box the median, the diamond the mean."
    return [
        Illustration(f"{score}.svg", f"{find_score(score).title} by method. {caption}", box_plot(arms, score))
        for score in BOXES
    ]


def loss_curves(study: HealingStudy) -> Illustration:
    """Draw the losses of all methods and seeds, with their terms."""
    plan = study.plan
    logs = {name: [_log(study.model_folder(seed, name)) for seed in plan.seeds] for name in plan.methods}
    titles: dict[str, str] = {}
    for of_plan in plan.methods.values():
        titles |= HEALERS[of_plan.method].losses_shown
    panels = {}
    for title, column in titles.items():
        with_it = {name: of_run for name, of_run in logs.items() if all(f"train/{column}" in log for log in of_run)}
        panels[title] = {name: [log[f"train/{column}"] for log in of_run] for name, of_run in with_it.items()}
    caption = "Training losses as moving averages: the mean over seeds thick, single seeds thin."
    return Illustration("learning_curves.svg", caption, curve_sheet(panels, arm_colours(list(plan.methods))))


def _log(folder: Path) -> pd.DataFrame:
    log = read_log(folder / "metrics.csv")
    return pd.DataFrame() if log is None else log
