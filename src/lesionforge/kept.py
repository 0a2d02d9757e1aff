"""Arrays that the processes of one run compute once and keep in a folder of the run."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from lesionforge.files import atomic

KEPT = "kept"
"""Name of the folder in a run's folder; it goes when the run is done."""
Arrays = Mapping[str, NDArray[Any]]
_folder: ContextVar[Path | None] = ContextVar("folder", default=None)


@contextmanager
def keeping_in(folder: Path) -> Iterator[None]:
    """Within the block, :func:`kept` keeps what it makes in ``folder/kept``."""
    before = _folder.set(folder / KEPT)
    try:
        yield
    finally:
        _folder.reset(before)


def kept(kind: str, inputs: Sequence[object], make: Callable[[], Arrays]) -> Arrays:
    """Return the arrays that ``make`` returns, from the file of an earlier call with the same inputs if there is one.

    A file is named after a hash of the inputs and of this version, so it never belongs to others. One that cannot be
    read is made anew. Outside of :func:`keeping_in`, nothing is kept.

    Args:
        kind: name of the folder of these arrays.
        inputs: everything that the arrays depend on: arrays, and values with a ``repr`` of their own.
        make: computes the arrays, by name.
    """
    folder = _folder.get()
    if folder is None:
        return make()
    path = folder / kind / f"{_digest(inputs)}.npz"
    try:
        with np.load(path) as stored:
            return dict(stored)
    except (OSError, EOFError, ValueError, BadZipFile, zlib.error):
        arrays = make()
    with atomic(path) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]
    return arrays


def _digest(inputs: Sequence[object]) -> str:
    content = hashlib.sha256(version("lesionforge").encode())
    for value in inputs:
        if isinstance(value, np.ndarray):
            content.update(repr((value.dtype.str, value.shape)).encode())
            content.update(np.ascontiguousarray(value).data)
        else:
            content.update(repr(value).encode())
    return content.hexdigest()
