"""The audit of a synthetic cohort: what is real in it, copies, membership, and controls of the audit itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from lesionforge.audit.audit_config import AuditConfig
from lesionforge.audit.calibration import Calibration, false_alarms
from lesionforge.audit.checks import check_counts, check_model, check_request
from lesionforge.audit.comparisons import Neighbours, Sets, make_comparisons
from lesionforge.audit.copies import find_copies, find_duplicates
from lesionforge.audit.membership import Attacks, black_box, members_of, membership, over_folds, without_generator
from lesionforge.audit.origin import what_is_real
from lesionforge.audit.planted import plant_copies
from lesionforge.audit.views import Frame, read_views
from lesionforge.audit.white_box import white_box
from lesionforge.audit.wording import Section, copies_found, on_controls, on_copies, on_membership, on_origin
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.inspection.fingerprint import fingerprint
from lesionforge.errors import LesionforgeError
from lesionforge.training.loop import Device
from lesionforge.training.model_folder import read_info

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The result of an audit.

    Attributes:
        sections: the findings in words, in the order of the report.
        origin: what is real in each case, see :func:`~lesionforge.audit.origin.what_is_real`.
        copies: each case with its nearest training case, see :func:`~lesionforge.audit.copies.find_copies`.
        duplicates: pairs of equal images, see :func:`~lesionforge.audit.copies.find_duplicates`.
        attacks: membership scores of each subject, see :data:`~lesionforge.audit.membership.Attacks`.
        membership: how well they tell members, see :func:`~lesionforge.audit.membership.membership`.
        without_generator: the same without a trained generator: without synthetic cases (see
            :func:`~lesionforge.audit.membership.without_generator`), and by the model before its training.
        planted: how many planted copies were found, by view.
        calibration: the threshold of copies.
        synthetic: the synthetic cases that could be read.
        training: the training cases that could be read.
        problems: errors of cases that could not be read.
    """

    sections: tuple[Section, ...]
    origin: pd.DataFrame
    copies: pd.DataFrame
    duplicates: pd.DataFrame
    attacks: pd.DataFrame
    membership: pd.DataFrame
    without_generator: pd.DataFrame
    planted: pd.DataFrame
    calibration: Calibration
    synthetic: Cohort
    training: Cohort
    problems: tuple[LesionforgeError, ...]

    @property
    def copies_found(self) -> int:
        """Number of synthetic cases called copies whose record does not explain it."""
        return copies_found(self.copies)[1]


def audit_cohort(
    synthetic: Cohort,
    training: Cohort,
    control: Cohort,
    *,
    channels: Sequence[str] | None = None,
    config: AuditConfig | None = None,
    model: Path | None = None,
    folds: Sequence[pd.DataFrame] = (),
    seed: int = 0,
    device: Device = "auto",
    say: Say = lambda line: None,
) -> Audit:
    """Audit a synthetic cohort.

    Args:
        synthetic: at least ten synthetic cases.
        training: the real cases that the generator was fitted on.
        control: real cases of at least four other subjects, on whom neither the generator nor its mask source was
            fitted; as like the training cases as possible.
        channels: channels to compare; by default all, which must then be the same, in the same order.
        config: options of the audit.
        model: folder of the generator, for the white-box attacks; its training subjects are then the members.
        folds: :attr:`Audit.attacks` of further generators, fitted on other folds of the same subjects.
        seed: seed of the encoders, the bootstrap and the planted copies.
        device: where to train and compare.
        say: called with a line at each stage.

    Raises:
        CohortError: if a cohort is too small, on another grid, or holds no readable case.
        ConfigError: if the channels differ.
        LeakError: if a held-out subject or scan is behind the training or the synthetic cases, or the model.
        ModelError: if the model cannot be read, has no white-box attack, or lacks its critic.
    """
    config = config or AuditConfig()
    if channels is not None:
        synthetic, training, control = (_with(cohort, channels) for cohort in (synthetic, training, control))
    check_request(synthetic, training, control)
    if model is not None:
        check_model(read_info(model), control)
    say("reading the scans")
    sets = _read(synthetic, training, control, config)
    say("training of the encoders")
    comparisons = make_comparisons(sets, config, seed=seed, device=device)
    say("comparison of all cases")
    neighbours = [Neighbours(comparison=comparison, sets=sets) for comparison in comparisons]
    members = members_of(sets.training.cohort, sets.synthetic.cohort, None if model is None else read_info(model))
    attacks, bare = black_box(sets, neighbours, members), without_generator(sets, neighbours, members)
    if model is not None:
        say("white-box attacks")
        judge = partial(white_box, model, sets.training.cohort, sets.control.cohort, members)
        own, untrained = (
            judge(trained=trained, crops=config.crops, seed=seed, device=device) for trained in (True, False)
        )
        attacks = pd.concat([attacks, own], ignore_index=True)
        bare = pd.concat([bare, untrained], ignore_index=True)
    return _judge(sets, neighbours, attacks, bare, config, folds, seed)


def _with(cohort: Cohort, channels: Sequence[str]) -> Cohort:
    return cohort.having(channels).with_channels(channels)


def _read(synthetic: Cohort, training: Cohort, control: Cohort, config: AuditConfig) -> Sets:
    synthetic, training, control = (part.having(training.channels) for part in (synthetic, training, control))
    facts = fingerprint(training, training.channels)
    readable = training.subset([case.case_id for case in facts.cases])
    frame = Frame.fit(readable, facts, side=config.side)
    sources = {case.case_id: case for case in (*training, *control)}
    sets = Sets(
        synthetic=read_views(synthetic, frame, sources=sources),
        training=read_views(training, frame),
        control=read_views(control, frame),
    )
    check_counts(sets.synthetic.cohort, sets.training.cohort, sets.control.cohort)
    return sets


def _judge(
    sets: Sets,
    neighbours: Sequence[Neighbours],
    attacks: Attacks,
    bare: Attacks,
    config: AuditConfig,
    folds: Sequence[Attacks],
    seed: int,
) -> Audit:
    synthetic, training, control = (part.cohort for part in (sets.synthetic, sets.training, sets.control))
    origin = what_is_real(synthetic, training.with_cases([*training, *control]))
    of_control = np.stack([near.control_to_training.similarity for near in neighbours], 1)
    subjects = sets.control.subjects.tolist()
    calibration = Calibration.fit(of_control, subjects, false_alarms=config.false_alarms)
    copies = find_copies(sets, neighbours, calibration, origin)
    duplicates = find_duplicates(sets, neighbours, calibration)
    told, without = (membership(scores, config, seed=seed) for scores in (attacks, bare))
    planted = plant_copies(sets, [near.comparison for near in neighbours], calibration, config, seed=seed)
    alarms = false_alarms(of_control, subjects, rate=config.false_alarms)
    return Audit(
        sections=(
            on_origin(origin),
            on_copies(copies, duplicates, calibration, len(training) / (len(training) + len(control))),
            on_membership(told, without, config.rates, over_folds([attacks, *folds]) if folds else None),
            on_controls(planted, alarms, told, without),
        ),
        origin=origin,
        copies=copies,
        duplicates=duplicates,
        attacks=attacks,
        membership=told,
        without_generator=without,
        planted=planted,
        calibration=calibration,
        synthetic=synthetic,
        training=training,
        problems=tuple(problem for part in (sets.synthetic, sets.training, sets.control) for problem in part.problems),
    )
