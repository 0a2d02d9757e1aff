"""The rules of a healer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.image_file import read_stored
from lesionforge.cohort.scan import FloatArray, load_scan
from lesionforge.healers.base import Healed, Healer
from lesionforge.healers.registry import HEALERS
from lesionforge.preprocessing.lesions.margin import hole_around
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.production.heal import HEALED, MAPS, heal_cohort
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


def check_healer(
    method: type[Healer] | str,
    *,
    spatial_dims: Sequence[int] = (2, 3),
    options: Mapping[str, Any] | None = None,
    training: TrainingConfig = SHORT,
) -> None:
    """Check that a healer follows the rules. Takes seconds and two or three fits per number of dimensions.

    Healing never reads the label, or refuses a sample without one if ``reads_label`` is set; the same scan gives the
    same bytes; a saved and loaded model heals the same way; the method returns a pathology or a reconstruction exactly
    if it declares it; with ``blend="lesion"``, the scan is bit-identical outside the lesion found or told and its
    margin; the training subjects are recorded; a wrong option, channel or number of dimensions raises a
    :class:`~lesionforge.LesionforgeError`.

    Args:
        method: the class, or its name in :data:`~lesionforge.HEALERS`.
        spatial_dims: 2 tests slices, 3 tests volumes; sets the method's option ``spatial_dims`` if it has one.
        options: options of the method, such as small networks.
        training: training length and batch size; two steps on the CPU by default.

    Raises:
        AssertionError: naming the broken rule.
        LesionforgeError: if the method cannot be fitted with these options.
    """
    chosen = HEALERS[method] if isinstance(method, str) else method
    with trials(chosen, spatial_dims, options=options, training=training) as (made, cohorts):
        for trial in made:
            _check(trial, cohorts)


def _check(trial: Trial[Healer], cohorts: Mapping[int, Cohort]) -> None:
    model = check_fitting(trial)
    refused(lambda: trial.fit("no_healthy", trial.cohort.with_lesions()), "fitting without lesion-free scans")
    if trial.options.get("spatial_dims") == 3:
        refused(lambda: trial.fit("slices", cohorts[2]), "fitting a 3D model on slices")
    fitted_for = model.info.preprocessing.spatial_dims
    for dims, cohort in cohorts.items():
        out = trial.folder / f"healed{dims}"
        if dims < fitted_for or (dims > fitted_for and not model.slice_by_slice):
            refused(partial(heal_cohort, model, cohort, out=out), f"healing {dims}D scans")
            continue
        _check_healing(model, trial.load("model"), cohort)
        if model.finds_lesions or model.reads_label:
            _check_files(model, cohort, out)


def _check_healing(model: Healer, loaded: Healer, cohort: Cohort) -> None:
    """Check the result of one call of ``heal``, in the model's space."""
    preprocessing = model.info.preprocessing
    sample, other = (preprocessing.forward(load_scan(case, preprocessing.channels)) for case in cohort.cases[:2])
    kept = copied(sample)
    healed = model.heal(sample)
    rule(same(sample.image, kept.image), "heal must not change the sample that it is given: work on a copy")
    _check_kinds(model, sample, healed)
    unlabelled = replace(sample, label=None)
    if model.reads_label:
        refused(lambda: model.heal(unlabelled), "healing without the label that reads_label announces")
    for healer, shown, whose in (
        (model, sample, "same scan, same bytes: healed again"),
        *([] if model.reads_label else [(model, unlabelled, "heal must not read the label: healed without it")]),
        (loaded, sample, "save and load: healed by the loaded model"),
        (copied(model), sample, "healed by a pickled copy of the model"),
    ):
        healer.heal(other)
        again = healer.heal(shown)
        equal = all(same(a, b) for a, b in zip(_arrays(healed), _arrays(again), strict=True))
        rule(equal, f"{whose}, the result differs")


def _arrays(healed: Healed) -> tuple[FloatArray | None, ...]:
    return healed.image, healed.pathology, healed.reconstruction


def _check_kinds(model: Healer, sample: Sample, healed: Healed) -> None:
    told = f"of shape {sample.image.shape} and float32, all finite"
    rule(_is_like(healed.image, sample.image), f"heal must return an image {told}")
    found, drawn = healed.pathology, healed.reconstruction
    rule((found is not None) == model.finds_lesions, "heal must return a pathology if and only if finds_lesions is set")
    rule(
        (drawn is not None) == model.reconstructs,
        "heal must return a reconstruction if and only if reconstructs is set",
    )
    rule(drawn is None or _is_like(drawn, sample.image), f"the reconstruction must be {told}")
    if found is not None:
        shape = (len(model.info.classes), *sample.image.shape[1:])
        told = f"the pathology must be of shape {shape}, from 0 to 1"
        rule(found.shape == shape and found.min() >= 0 and found.max() <= 1, told)


def _is_like(image: FloatArray, other: FloatArray) -> bool:
    return image.shape == other.shape and image.dtype == np.float32 and bool(np.isfinite(image).all())


def _check_files(model: Healer, cohort: Cohort, out: Path) -> None:
    """Check that scans healed with ``blend="lesion"`` are unchanged outside the lesion found or told and its margin."""
    run = heal_cohort(model, cohort, out=out, blend="lesion")
    problems = "; ".join(map(str, run.problems))
    rule(not problems, f"every scan must be healed, but: {problems}")
    for case in run.cohorts[HEALED]:
        source = cohort[case.source_case]
        label = source.label if model.reads_label else run.cohorts[MAPS][case.source_case].label
        assert label is not None
        spacing = load_scan(source, cohort.channels).spacing
        near, _ = hole_around(read_stored(label, label=True).array, model.config.margin_mm, spacing)
        for channel, file in case.images.items():
            healed, stored = read_stored(file).array, read_stored(source.images[channel]).array
            told = f"outside lesion and margin the scan must be bit-identical, but {channel} of {case.case_id} is not"
            rule(same(healed[~near], stored[~near]), told)
