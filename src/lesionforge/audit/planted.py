"""A test of the audit itself: training cases are replayed with noise, shift and flip, and must be found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from lesionforge.audit.audit_config import AuditConfig
from lesionforge.audit.calibration import Calibration
from lesionforge.audit.comparisons import Comparison, Sets, similarities
from lesionforge.audit.encoder import varied
from lesionforge.audit.views import VIEWS, CohortViews, View
from lesionforge.cohort.scan import FloatArray
from lesionforge.seeding import generator

NOISE = 0.1
"""Largest standard deviation of the noise of a planted copy, as a multiple of the image's own."""


def plant_copies(
    sets: Sets, comparisons: Sequence[Comparison], calibration: Calibration, config: AuditConfig, *, seed: int
) -> pd.DataFrame:
    """Return how many replayed training cases are called copies.

    Each view is replayed alone, so that the result says in which of them the audit can find copies.

    Returns:
        A row per view: ``view``, ``planted`` and ``found``.
    """
    rows = []
    for view in dict.fromkeys(comparison.view for comparison in comparisons):
        replayed = _replayed(sets.training, view, config, seed)
        similarity = similarities(comparisons, replayed, sets.training)
        found = int(np.count_nonzero(calibration.flagged(similarity).any(1)))
        rows.append({"view": view, "planted": len(replayed.cohort), "found": found})
    return pd.DataFrame(rows, columns=["view", "planted", "found"])


def _replayed(training: CohortViews, view: str, config: AuditConfig, seed: int) -> CohortViews:
    """Return random training cases whose view is varied, without their other views."""
    source = training.views[view]
    rng = generator(seed, "planted", view)
    with_view = np.unique(source.owner)
    chosen = rng.choice(with_view, min(config.planted, len(with_view)), replace=False)
    items = [(number, item) for number, case in enumerate(chosen) for item in np.flatnonzero(source.owner == case)]
    images = [replay(source.images[item], rng, max_shift=config.max_shift) for _, item in items]
    empty = View(images=np.empty((0, *source.images.shape[1:]), np.float32), owner=np.empty(0, np.intp))
    views = dict.fromkeys(VIEWS, empty) | {
        view: View(images=np.stack(images), owner=np.array([number for number, _ in items]))
    }
    cases = [training.cohort.cases[case] for case in chosen]
    return CohortViews(cohort=training.cohort.with_cases(cases), views=views)


def replay(image: FloatArray, rng: np.random.Generator, *, max_shift: int) -> FloatArray:
    """Return a training image as a generator that remembers it would: flipped, shifted, with noise; of norm 1."""
    axes = tuple(axis for axis in range(1, image.ndim) if rng.random() < 0.5)
    flipped = torch.from_numpy(np.ascontiguousarray(np.flip(image, axes)))
    return np.asarray(varied(flipped, rng, max_shift=max_shift, noise=NOISE).numpy(), np.float32)
