"""Torch randomness that depends on a seed and keys and leaves the global random state unchanged."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lesionforge.seeding import derive_seed


@contextmanager
def torch_seed(seed: int, *keys: str | int) -> Iterator[None]:
    """Seed torch from ``seed`` and ``keys`` within the block, and restore the previous random state afterwards.

    This covers the CPU and the current CUDA device.
    """
    derived = derive_seed(seed, *keys)
    cuda = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(cuda, device_type="cuda"):
        torch.default_generator.manual_seed(derived)
        if cuda:
            torch.cuda.manual_seed(derived)
        yield
