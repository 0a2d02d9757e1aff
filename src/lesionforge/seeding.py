"""Random generators derived from a seed and names; the process-wide generators stay as they are."""

import hashlib

import numpy as np


def derive_seed(seed: int, *keys: str | int) -> int:
    """Return a 63-bit seed that depends on ``seed`` and on every key, and on nothing else."""
    digest = hashlib.sha256("\x1f".join(map(str, (seed, *keys))).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator(seed: int, *keys: str | int) -> np.random.Generator:
    """Return the generator that belongs to ``seed`` and ``keys`` (a case id, a draw number, …).

    Example:
        >>> first, again, other = (generator(0, case).random() for case in ("case_01", "case_01", "case_02"))
        >>> first == again, first == other
        (True, False)
    """
    return np.random.default_rng(derive_seed(seed, *keys))
