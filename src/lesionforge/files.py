"""Writing files so that they appear complete or not at all."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lesionforge.errors import OutputError


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` when the block succeeds.

    The temporary name keeps the file's suffixes, so writers that look at them (``.nii.gz``) work.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.partial.{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` to ``path`` atomically as indented JSON with a stable key order."""
    write_text(path, json.dumps(content, indent=1, sort_keys=True) + "\n")


def claim_output(folder: Path) -> Path:
    """Create ``folder`` if needed and return it.

    Raises:
        OutputError: if it holds anything already, or is a file.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise OutputError(folder, "the output folder is not empty", "name a new folder, or move this one away")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
