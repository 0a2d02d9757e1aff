"""MONAI's random transforms, applied with randomness that comes from one seed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from monai.data import get_track_meta, set_track_meta
from monai.transforms import Compose, Randomizable


def apply_seeded(transform: Compose, item: dict[str, Any], seed: int) -> dict[str, Any]:
    """Apply a MONAI transform whose randomness comes from ``seed`` alone.

    All its parts draw from one generator. ``Compose.set_random_state`` makes one for each part, which takes as long as
    the parts themselves do on a small crop.
    """
    _draw_from(np.random.RandomState(seed % 2**32), transform)
    with _untracked():
        return dict(transform(item))


def _draw_from(state: np.random.RandomState, transform: object) -> None:
    if isinstance(transform, Compose):
        Randomizable.set_random_state(transform, state=state)
        for part in transform.transforms:
            _draw_from(state, part)
    elif isinstance(transform, Randomizable):
        transform.set_random_state(state=state)


@contextmanager
def _untracked() -> Iterator[None]:
    """Within the block, MONAI's transforms keep no record of what they did, which takes a third of their time."""
    tracked = get_track_meta()
    set_track_meta(False)
    try:
        yield
    finally:
        set_track_meta(tracked)
