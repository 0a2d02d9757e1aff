"""The rules of a synthesizer."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.image_file import read_stored
from lesionforge.cohort.scan import LabelArray, load_scan
from lesionforge.engine.local import LocalEngine
from lesionforge.files import sha256_of
from lesionforge.masks import Ellipsoids, MaskBank, MaskSource
from lesionforge.preprocessing.brain.region import with_region
from lesionforge.preprocessing.lesions.margin import hole_around
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.production.drawn_into import Targets
from lesionforge.production.synthesize import synthesize_cohort
from lesionforge.seeding import generator
from lesionforge.synthesizers.base import Synthesizer
from lesionforge.synthesizers.registry import SYNTHESIZERS
from lesionforge.testing.rules import (
    SHORT,
    Trial,
    check_fitting,
    copied,
    refused,
    rule,
    same,
    trials,
)
from lesionforge.training.loop import TrainingConfig

CASES, SEED, MIN_VOLUME = 4, 0, 20.0
UNKNOWN_CLASS = "the drawn label holds a class that the model does not know"


def check_synthesizer(
    method: type[Synthesizer] | str,
    *,
    spatial_dims: Sequence[int] = (2, 3),
    options: Mapping[str, Any] | None = None,
    training: TrainingConfig = SHORT,
    workers: int = 2,
) -> None:
    """Check that a synthesizer follows the rules. Takes seconds and two or three fits per number of dimensions.

    The label is exact; with ``blend="lesion"``, the scan is bit-identical outside the mask and its margin; the same
    seed gives the same bytes with any number of workers; a saved and loaded model draws the same; the training subjects
    are recorded; a wrong option, channel, class or number of dimensions raises a
    :class:`~lesionforge.LesionforgeError`.

    Args:
        method: the class, or its name in :data:`~lesionforge.SYNTHESIZERS`.
        spatial_dims: 2 tests slices, 3 tests volumes; sets the method's option ``spatial_dims`` if it has one.
        options: options of the method, such as small networks.
        training: training length and batch size; two steps on the CPU by default.
        workers: number of worker processes to test; each takes seconds to start. With 1, no processes are tested, only
            that cases depend neither on their order nor on the copy of the model that draws them.

    Raises:
        AssertionError: naming the broken rule.
        LesionforgeError: if the method cannot be fitted with these options.
    """
    chosen = SYNTHESIZERS[method] if isinstance(method, str) else method
    with trials(chosen, spatial_dims, options=options, training=training) as (made, cohorts):
        for trial in made:
            _check(trial, cohorts, workers)


def _check(trial: Trial[Synthesizer], cohorts: Mapping[int, Cohort], workers: int) -> None:
    model = check_fitting(trial)
    if trial.options.get("spatial_dims") == 3:
        refused(lambda: trial.fit("slices", cohorts[2]), "fitting a 3D model on slices")
    fitted_for = model.info.preprocessing.spatial_dims
    for dims, cohort in cohorts.items():
        out = trial.folder / f"drawn{dims}"
        masks = MaskBank(cohort)
        if dims < fitted_for or (dims > fitted_for and not model.slice_by_slice):
            refused(partial(synthesize_cohort, model, cohort, masks, out=out), f"drawing into {dims}D scans")
            continue
        _check_drawing(model, trial.load("model"), cohort, masks)
        _check_cohort(model, trial.load("model"), cohort, masks, out, workers if cohort is trial.cohort else 1)
    if model.needs_mask:
        _check_unknown_class(model, trial)


def _check_drawing(model: Synthesizer, loaded: Synthesizer, cohort: Cohort, masks: MaskSource) -> None:
    """Check the result of one call of ``synthesize``, in the model's space."""
    target = Targets(model).read(cohort.cases[0])
    sample, placed = target.sample, masks.sample(target.original, generator(SEED), min_volume=MIN_VOLUME)
    mask = model.info.preprocessing.geometry(target.scan).to_model(placed.mask, label=True)
    kept, kept_mask = copied(sample), mask.copy()
    drawn = model.synthesize(sample, mask, generator(SEED))
    unchanged = same(sample.image, kept.image) and same(sample.label, kept.label) and same(mask, kept_mask)
    rule(unchanged, "synthesize must not change the sample or the mask that it is given: work on copies")
    _check_image_and_label(model, sample, mask, drawn)
    for drawer, whose in (
        (model, "same seed, same bytes: drawn twice with the same generator"),
        (loaded, "save and load: drawn by the loaded model"),
        (copied(model), "any number of workers: drawn by a pickled copy of the model"),
    ):
        drawer.synthesize(sample, mask, generator(SEED + 1))
        again = drawer.synthesize(sample, mask, generator(SEED))
        rule(same(again.image, drawn.image) and same(again.label, drawn.label), f"{whose}, the result differs")


def _check_image_and_label(model: Synthesizer, sample: Sample, mask: LabelArray, drawn: Sample) -> None:
    image, label, before = drawn.image, drawn.label, sample.label
    assert before is not None
    told = f"synthesize must return an image of shape {sample.image.shape} and float32, all finite"
    rule(image.shape == sample.image.shape and image.dtype == np.float32 and np.isfinite(image).all(), told)
    rule(label is not None and label.shape == mask.shape, "synthesize must return a label on the sample's grid")
    assert label is not None
    rule(set(np.unique(label)) <= {0, *model.info.classes}, UNKNOWN_CLASS)
    if not model.needs_mask:
        changed = (image != sample.image).any(0)
        rule(not (label != before)[~changed].any(), "the label must be exact: it may change only where the image does")
        return
    union = np.where(mask > 0, mask, before)
    rule(np.array_equal(label, union), "the label must be exact: the mask where it is not 0, else the sample's label")
    if not model.draws_whole_image:
        near, _ = hole_around(mask, model.margin_mm(), sample.spacing)
        told = f"the image changes more than margin_mm() = {model.margin_mm():g} mm beyond the mask"
        rule(same(image[:, ~near], sample.image[:, ~near]), told)


def _check_cohort(
    model: Synthesizer, loaded: Synthesizer, cohort: Cohort, masks: MaskSource, out: Path, workers: int
) -> None:
    """Check the files of drawn cases."""
    options: dict[str, Any] = {"n": CASES, "seed": SEED, "min_volume": MIN_VOLUME}
    run = synthesize_cohort(model, cohort, masks, out=out, **options)
    problems = "; ".join(map(str, run.problems))
    rule(not problems, f"every case must be drawn with its whole label, but: {problems}")
    for case in run.cohort:
        _check_files(model, cohort, case, masks)
    expected = _digests(out)
    again = out.with_name(f"{out.name}_resumed")
    shutil.copytree(out, again)
    for case in run.cohort.cases[CASES // 2 :]:
        (again / "provenance" / f"{case.case_id}.json").unlink()
    synthesize_cohort(copied(loaded), cohort, masks, out=again, **options)
    rule(_digests(again) == expected, "a drawn case must not depend on the cases drawn before: its files differ")
    if workers > 1:
        there = out.with_name(f"{out.name}_there")
        synthesize_cohort(loaded, cohort, masks, out=there, engine=LocalEngine(workers), **options)
        rule(
            _digests(there) == expected,
            f"drawn by {workers} workers, the files differ from those drawn by this process",
        )


def _check_files(model: Synthesizer, cohort: Cohort, case: Case, masks: MaskSource) -> None:
    """Check that the label of one drawn case is exact, and that the scan is unchanged outside mask and margin."""
    source = cohort[case.source_case]
    assert case.label is not None
    label, scan = read_stored(case.label, label=True).array, with_region(load_scan(source, cohort.channels))
    assert scan.label is not None
    if not model.needs_mask:
        rule(set(np.unique(label)) <= {0, *model.info.classes}, UNKNOWN_CLASS)
        return
    mask = masks.sample(scan, generator(SEED, case.case_id), min_volume=MIN_VOLUME).mask
    exact = np.array_equal(label, np.where(mask > 0, mask, scan.label))
    told = "the label must be exact: every lesion of the mask must change the image, or it is left out of the label"
    rule(exact, f"{told} (it is in {case.case_id})")
    near, _ = hole_around(mask, model.margin_mm(), scan.spacing)
    for channel, file in case.images.items():
        drawn, stored = read_stored(file).array, read_stored(source.images[channel]).array
        told = f"outside mask and margin the scan must be bit-identical, but {channel} of {case.case_id} is not"
        rule(same(drawn[~near], stored[~near]), told)


def _check_unknown_class(model: Synthesizer, trial: Trial[Synthesizer]) -> None:
    unknown, out = Ellipsoids(label=max(model.info.classes) + 1), trial.folder / "unknown_class"
    scans = trial.cohort.with_cases([replace(case, parents=()) for case in trial.cohort.healthy()])

    def draw() -> None:
        for problem in synthesize_cohort(model, scans, unknown, out=out, n=1, min_volume=MIN_VOLUME).problems:
            raise problem

    refused(draw, "a mask of a class that the model does not know")


def _digests(folder: Path) -> dict[str, str]:
    """Return the hashes of a cohort's image and label files."""
    return {file.name + file.parent.name: sha256_of(file) for file in sorted(folder.glob("*Tr/*")) if file.is_file()}
