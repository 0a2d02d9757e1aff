"""Torch randomness that depends on a seed and a place in the run, and leaves the global state alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lesionforge.seeding import derive_seed


@contextmanager
def torch_seed(seed: int, *keys: str | int) -> Iterator[None]:
    """Within the block, torch draws what belongs to ``seed`` and ``keys``; afterwards it goes on as before."""
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, *keys))
        yield
