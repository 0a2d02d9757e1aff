"""The comparisons of the audit: a view of the cases with a measure of likeness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lesionforge.audit.audit_config import AuditConfig
from lesionforge.audit.checks import FEWEST_CONTROL
from lesionforge.audit.correlation import Nearest, nearest_by_correlation
from lesionforge.audit.encoder import fit_encoder, nearest_by_encoder
from lesionforge.audit.views import LESION, MASK, VIEWS, WHOLE, CohortViews, View
from lesionforge.cohort.people import People
from lesionforge.cohort.scan import BoolArray, FloatArray
from lesionforge.seeding import derive_seed
from lesionforge.training.loop import Device, pick_device

CORRELATION, ENCODER = "correlation", "encoder"
MEASURES = {WHOLE: (CORRELATION, ENCODER), LESION: (CORRELATION, ENCODER), MASK: (CORRELATION,)}


class Matcher(Protocol):
    """Finds the most similar image for each query."""

    def __call__(self, queries: FloatArray, among: FloatArray, allowed: BoolArray | None = None) -> Nearest:
        """Return the nearest image; see :func:`~lesionforge.audit.correlation.nearest_by_correlation`."""


@dataclass(frozen=True, kw_only=True)
class Sets:
    """The views of the three cohorts of an audit."""

    synthetic: CohortViews
    training: CohortViews
    control: CohortViews


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A view of the cases, and how its images are compared.

    Attributes:
        view: name of the view.
        measure: ``"correlation"`` or ``"encoder"``.
        match: finds the nearest images.
    """

    view: str
    measure: str
    match: Matcher

    @property
    def name(self) -> str:
        """View and measure, such as ``lesion, encoder``."""
        return f"{self.view}, {self.measure}"

    def nearest(self, queries: CohortViews, among: CohortViews, allowed: BoolArray | None = None) -> Nearest:
        """Return the most similar case for each case; a case counts with its most similar item.

        Args:
            queries: the cases.
            among: the cases to search.
            allowed: ``(query case, case)`` pairs to compare; all by default.
        """
        first, second = queries.views[self.view], among.views[self.view]
        items = None if allowed is None else allowed[np.ix_(first.owner, second.owner)]
        return _by_case(self.match(first.images, second.images, items), first, second, len(queries.cohort))


def _by_case(found: Nearest, first: View, second: View, n: int) -> Nearest:
    similarity, index = np.full(n, np.nan), np.full(n, -1)
    there = np.flatnonzero(found.index >= 0)
    for item in there[np.argsort(found.similarity[there], kind="stable")]:
        similarity[first.owner[item]] = found.similarity[item]
        index[first.owner[item]] = second.owner[found.index[item]]
    return Nearest(similarity=similarity, index=index)


def make_comparisons(sets: Sets, config: AuditConfig, *, seed: int, device: Device) -> list[Comparison]:
    """Return the comparisons of all views that have enough items; this trains the encoders.

    Args:
        sets: the cohorts.
        config: options of the audit.
        seed: seed of the encoders.
        device: where to train and compare.

    Returns:
        At least those of the whole image.
    """
    found = []
    for view in VIEWS:
        synthetic, training, control = (part.views[view] for part in (sets.synthetic, sets.training, sets.control))
        if not len(synthetic) or not len(training) or len(np.unique(control.owner)) < FEWEST_CONTROL:
            continue
        images = np.concatenate([training.images, control.images])
        for measure in MEASURES[view]:
            match = _matcher(measure, images, config, derive_seed(seed, view), device)
            found.append(Comparison(view=view, measure=measure, match=match))
    return found


def _matcher(measure: str, images: FloatArray, config: AuditConfig, seed: int, device: Device) -> Matcher:
    if measure == ENCODER:
        network = fit_encoder(images, config.encoder, max_shift=config.max_shift, seed=seed, device=device)
        return partial(nearest_by_encoder, network=network)
    return partial(
        nearest_by_correlation, max_shift=config.max_shift, candidates=config.candidates, device=pick_device(device)
    )


def similarities(comparisons: Sequence[Comparison], queries: CohortViews, among: CohortViews) -> NDArray[np.float64]:
    """Return the similarity of each case to its nearest one, ``(case, comparison)``; NaN without a view."""
    return np.stack([comparison.nearest(queries, among).similarity for comparison in comparisons], 1)


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """The nearest cases between the cohorts of an audit, in one comparison; each search is made once, when needed.

    Attributes:
        comparison: the comparison.
        sets: the cohorts.
    """

    comparison: Comparison
    sets: Sets

    @cached_property
    def synthetic_to_training(self) -> Nearest:
        """The nearest training case of each synthetic case."""
        return self.comparison.nearest(self.sets.synthetic, self.sets.training)

    @cached_property
    def synthetic_to_control(self) -> Nearest:
        """The nearest held-out case of each synthetic case."""
        return self.comparison.nearest(self.sets.synthetic, self.sets.control)

    @cached_property
    def within_synthetic(self) -> Nearest:
        """The nearest other synthetic case of each synthetic case."""
        synthetic = self.sets.synthetic
        return self.comparison.nearest(synthetic, synthetic, ~np.eye(len(synthetic.cohort), dtype=bool))

    @cached_property
    def control_to_training(self) -> Nearest:
        """The nearest training case of each held-out case."""
        return self.comparison.nearest(self.sets.control, self.sets.training)

    @cached_property
    def control_to_synthetic(self) -> Nearest:
        """The nearest synthetic case of each held-out case."""
        return self.comparison.nearest(self.sets.control, self.sets.synthetic)

    @cached_property
    def training_to_synthetic(self) -> Nearest:
        """The nearest synthetic case of each training case."""
        return self.comparison.nearest(self.sets.training, self.sets.synthetic)

    @cached_property
    def training_to_others(self) -> Nearest:
        """The nearest synthetic case of each training case whose scan and mask are not that subject's own."""
        training, synthetic = self.sets.training, self.sets.synthetic
        return self.comparison.nearest(training, synthetic, _of_others(training, synthetic))

    @cached_property
    def within_training(self) -> Nearest:
        """The nearest training case of another subject."""
        training = self.sets.training
        return self.comparison.nearest(training, training, training.subjects[:, None] != training.subjects[None])


def _of_others(training: CohortViews, synthetic: CohortViews) -> BoolArray:
    """Return which synthetic cases have neither scan nor mask of a training case's subject, ``(training, synthetic)``.

    The other subjects that a generator was fitted on do not count.
    """
    people = People(training.cohort)
    own = [{case.subject_id} | people.behind(case.mask_id) for case in synthetic.cohort]
    return np.array([[subject not in of_case for of_case in own] for subject in training.subjects])
