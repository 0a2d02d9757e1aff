"""What an audit needs of its three cohorts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.inspection.contact_sheet import pick_evenly
from lesionforge.cohort.people import People, same_scans
from lesionforge.cohort.scan import load_scan
from lesionforge.errors import CohortError, ConfigError, LeakError
from lesionforge.training.model_folder import ModelInfo

FEWEST_SYNTHETIC, FEWEST_CONTROL = 10, 4
MEASURED, COARSER = 20, 1.5
HOLD_OUT = "hold out subjects that neither a generator nor a mask source was fitted on"


def check_request(synthetic: Cohort, training: Cohort, control: Cohort) -> None:
    """Refuse cohorts from which an audit could conclude nothing, or something wrong.

    Raises:
        CohortError: if there are too few cases or held-out subjects, if a held-out case is synthetic, or if the cohorts
            differ in dimensions or spacing.
        ConfigError: if their channels differ in name or order.
        LeakError: if a held-out subject or scan is behind the training or the synthetic cases.
    """
    check_counts(synthetic, training, control)
    for cohort in (synthetic, control):
        _check_channels(cohort, training)
    drawn = next((case for case in control if case.derived), None)
    if drawn is not None:
        raise CohortError(drawn.case_id, "is a held-out case and synthetic", "hold out real scans")
    _check_subjects(control, (training, synthetic))
    for first, second in same_scans([training, control]):
        what = f"its case {second.case_id} is the same scan as {first.case_id} of {training.name}"
        raise LeakError(control.name, what, "hold out other scans")
    for cohort in (synthetic, control):
        _check_grids(cohort, training)


def check_model(info: ModelInfo, control: Cohort) -> None:
    """Refuse a held-out subject that the model was fitted on.

    Raises:
        LeakError: names the subject.
    """
    people = People(control)
    shared = sorted(frozenset[str]().union(*(people.behind(name) for name in info.training_subjects)))
    if shared:
        raise LeakError(control.name, f"its subject {shared[0]} is one that the model was fitted on", HOLD_OUT)


def check_counts(synthetic: Cohort, training: Cohort, control: Cohort) -> None:
    """Refuse cohorts that are too small.

    Raises:
        CohortError: names the cohort.
    """
    if not len(training):
        raise CohortError(training.name, "has no training case", "name the cases that the generator was fitted on")
    if len(synthetic) < FEWEST_SYNTHETIC:
        what = f"has {len(synthetic)} synthetic cases, too few to say how often copies occur"
        raise CohortError(synthetic.name, what, f"draw {FEWEST_SYNTHETIC} or more")
    if len(control.subjects) < FEWEST_CONTROL:
        what = f"has {len(control.subjects)} held-out subjects, too few to say what is usual between two people"
        raise CohortError(control.name, what, f"hold out {FEWEST_CONTROL} or more")


def _check_channels(cohort: Cohort, training: Cohort) -> None:
    if cohort.channels != training.channels:
        have, want = (", ".join(of.channels) for of in (cohort, training))
        what = f"its channels are {have}, those of {training.name} are {want}"
        raise ConfigError(cohort.name, what, "name the channels to compare, in one order, with `channels`")


def _check_subjects(control: Cohort, others: Sequence[Cohort]) -> None:
    people = People(control)
    for cohort in others:
        for case in cohort:
            shared = sorted(people.behind_case(case) & set(control.subjects))
            if shared:
                what = f"its subject {shared[0]} is behind the case {case.case_id} of {cohort.name}"
                raise LeakError(control.name, what, HOLD_OUT)


def _check_grids(cohort: Cohort, training: Cohort) -> None:
    """Refuse a cohort of other dimensions, or of another spacing, at which copies would be missed."""
    spacing, wanted = (_spacing(of) for of in (cohort, training))
    if len(spacing) != len(wanted):
        have, want = ("slices" if len(of) == 2 else "volumes" for of in (spacing, wanted))
        raise CohortError(cohort.name, f"holds {have}, but {training.name} {want}", "compare cohorts of one kind")
    ratio = np.maximum(spacing / wanted, wanted / spacing).max()
    if ratio > COARSER:
        have, want = (" × ".join(f"{step:.3g}" for step in of) for of in (spacing, wanted))
        what = f"has a grid of {have} mm, {training.name} one of {want} mm, so copies would be missed"
        raise CohortError(cohort.name, what, "resample it to that grid, see `lesionforge align`")


def _spacing(cohort: Cohort) -> np.ndarray:
    """Return the median spacing of at most 20 cases, the axes sorted; unreadable cases are reported later."""
    found = []
    for case in pick_evenly(cohort, MEASURED):
        try:
            found.append(sorted(load_scan(case, cohort.channels[:1]).spacing))
        except CohortError:
            continue
    if not found:
        raise CohortError(cohort.name, "has no readable case among those looked at", "see `lesionforge check`")
    if len({len(spacing) for spacing in found}) > 1:
        raise CohortError(cohort.name, "holds slices and volumes", "compare cohorts of one kind")
    return np.median(found, axis=0)
