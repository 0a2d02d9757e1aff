"""Seeded application of MONAI's random transforms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from monai.data import get_track_meta, set_track_meta
from monai.transforms import Compose, Randomizable


def apply_seeded(transform: Compose, item: dict[str, Any], seed: int) -> dict[str, Any]:
    """Apply a MONAI transform with all randomness from ``seed``.

    All parts of the transform share one random generator. ``Compose.set_random_state`` creates one for each part, a
    Mersenne Twister, which takes as long as the parts themselves on a small crop. So does what ``Compose`` does between
    its parts.
    """
    _draw_from(np.random.RandomState(np.random.PCG64(seed)), transform)
    with _untracked():
        return dict(_applied(transform, item))


def _applied(transform: Any, item: Any) -> Any:
    """Return the transformed item, one part of a sequence after the other."""
    if type(transform) is not Compose:
        return transform(item)
    for part in transform.transforms:
        item = _applied(part, item)
    return item


def _draw_from(state: np.random.RandomState, transform: object) -> None:
    if isinstance(transform, Compose):
        Randomizable.set_random_state(transform, state=state)
        for part in transform.transforms:
            _draw_from(state, part)
    elif isinstance(transform, Randomizable):
        transform.set_random_state(state=state)


@contextmanager
def _untracked() -> Iterator[None]:
    """Switch off MONAI's record of applied transforms, which takes a third of their time."""
    tracked = get_track_meta()
    set_track_meta(False)
    try:
        yield
    finally:
        set_track_meta(tracked)
