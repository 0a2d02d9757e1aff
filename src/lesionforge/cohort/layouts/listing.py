"""Files of a folder that is to be recognised: a few of them, without walking through all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from lesionforge.cohort.case import ending_of

FEW = 5
"""Number of sub-folders that are looked into."""


def folders_in(folder: Path) -> list[Path]:
    """Return the sub-folders in order of their names, without hidden ones; none if there is no such folder."""
    return sorted(path for path in _visible(folder) if path.is_dir())


def images_in(folder: Path) -> list[Path]:
    """Return the image files in order of their names, without hidden ones such as the twins that macOS leaves."""
    return sorted(path for path in _visible(folder) if ending_of(path) and is_listed(path))


def is_listed(path: Path) -> bool:
    """Return whether there is a file, or a link to one that is not there, which is told when it is read."""
    return path.is_file() or (path.is_symlink() and not path.exists())


def counted(files: Sequence[Path]) -> str:
    """Return how many files these are, with one of them: ``2 files, such as a.png``."""
    return f"{len(files)} files, such as {files[0].name}"


def _visible(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in folder.iterdir() if not path.name.startswith("."))
