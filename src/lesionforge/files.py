"""Writing files so that they appear complete or not at all, by one process at a time."""

import errno
import gzip
import hashlib
import json
import os
import re
import shutil
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from filelock import FileLock, Timeout

from lesionforge.errors import LesionforgeError, OutputError

LOCK = ".lock"
PATIENCE = 5.0
"""Seconds in which the helper processes of a killed run notice that it is gone, and end."""
PARTIAL = re.compile(r"\.\d+\.partial\..+")
CHUNK = 2**20
PNG_END = b"IEND\xaeB`\x82"
P = ParamSpec("P")
R = TypeVar("R")
_held: dict[Path, bool] = {}
"""The folders in which this process works alone; whether a run that was stopped or failed had worked there before."""


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` when the block succeeds and the disk has it.

    The temporary name keeps the file's suffixes, so writers that look at them (``.nii.gz``) work.

    Raises:
        OSError: naming ``path``, if it could not be written whole.
    """
    temporary = path.with_name(f".{os.getpid()}.partial.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        check_whole(temporary)
        temporary.replace(path)
    except OSError as error:
        named = [str(name) for name in (error.filename, error.filename2) if name is not None]
        if not named or str(temporary) in named:
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def check_whole(path: Path) -> None:
    """See that a compressed file or a PNG ends where it should: some writers keep silent on a disk that is full.

    Raises:
        OSError: if it does not.
    """
    try:
        if path.name.endswith(".gz"):
            with gzip.open(path) as file:
                if not file.read(CHUNK):
                    raise EOFError
                while file.read(CHUNK):
                    pass
        elif path.name.endswith(".png") and not path.read_bytes().endswith(PNG_END):
            raise EOFError
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise OSError(errno.EIO, "could not be written whole", str(path)) from error


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write ``content`` to ``path`` atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` to ``path`` atomically as indented JSON with a stable key order."""
    write_text(path, json.dumps(content, indent=1, sort_keys=True) + "\n")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def claim_output(folder: Path) -> Path:
    """Create ``folder`` if needed and return it.

    Raises:
        OutputError: if it holds anything already, or is a file.
    """
    if folder.is_file() or contents(folder):
        raise OutputError(folder, "the output folder is not empty", "name a new folder, or move this one away")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def claim_file(path: Path) -> Path:
    """Return ``path`` if nothing is there.

    Raises:
        OutputError: if something is.
    """
    if path.exists():
        raise OutputError(path, "is there already", "name a new file, or move this one away")
    return path


def contents(folder: Path) -> set[str]:
    """Return the names of what a folder holds, its lock left out; nothing of a folder that is not there."""
    return {path.name for path in folder.iterdir()} - {LOCK} if folder.is_dir() else set()


def clear_leftovers(folder: Path) -> None:
    """Delete the half-written files that a killed process left in ``folder``, in which this one works alone."""
    for path in folder.rglob(".*.partial.*"):
        if PARTIAL.fullmatch(path.name):
            path.unlink(missing_ok=True)


def clear(folder: Path, names: Collection[str]) -> None:
    """Delete files and folders by name."""
    for path in (folder / name for name in names):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Within the block, no other process that asks for it works in ``folder``, which is made if it is not there.

    The lock ends with the process that holds it, however that ends. Its file stays where work was begun and not done.

    Raises:
        OutputError: if another process works there.
    """
    place = folder.resolve()
    if place in _held or place.is_file():
        yield
        return
    new, before = not place.exists(), (place / LOCK).exists()
    ours = before or not contents(place)
    place.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place / LOCK)
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout as error:
        remedy = "wait until it is done, or name a new folder"
        raise OutputError(folder, "another process works in this folder", remedy) from error
    _held[place] = before
    try:
        yield
        ours = False
    finally:
        del _held[place]
        if not (ours and contents(place)):
            (place / LOCK).unlink(missing_ok=True)
        lock.release()
        if new and place.is_dir() and not any(place.iterdir()):
            place.rmdir()


def is_worked_in(folder: Path) -> bool:
    """Return whether a process works in ``folder`` that asked to be alone there; see :func:`alone_in`."""
    if not (folder / LOCK).exists():
        return False
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def was_unfinished(folder: Path) -> bool:
    """Return whether a run that did not come to its end left what ``folder`` holds, in which this process is alone."""
    return _held.get(folder.resolve(), False)


def one_at_a_time(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function with an argument ``out`` run only while no other process works there; see :func:`alone_in`."""
    parameters = signature(function)

    @wraps(function)
    def alone(*args: P.args, **kwargs: P.kwargs) -> R:
        with alone_in(parameters.bind(*args, **kwargs).arguments["out"]):
            return function(*args, **kwargs)

    return alone


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder beside ``folder``, in which this process works alone; it goes at the end of the block.

    Its name is always the same, so what a killed run left there goes, too.
    """
    place = folder.with_name(f".{folder.name.lstrip('.')}.scratch")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def building(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder beside ``folder``, which becomes ``folder`` when the block succeeds.

    What a killed run left there is cleared first, so the same command works again.

    Raises:
        OutputError: if ``folder`` holds anything already, or another process is building it.
    """
    if folder.is_file() or contents(folder):
        claim_output(folder)
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    with alone_in(unfinished):
        clear(unfinished, contents(unfinished))
        try:
            yield unfinished
        except BaseException as error:
            clear(unfinished, contents(unfinished))
            _rename(error, unfinished, folder)
            raise
        if folder.is_dir():
            folder.rmdir()
        unfinished.rename(folder)
        (folder / LOCK).unlink(missing_ok=True)


def _rename(error: BaseException, before: Path, now: Path) -> None:
    """Let an error name a folder as the user knows it."""
    if isinstance(error, LesionforgeError):
        parts = (error.where, error.what, error.remedy)
        error.__init__(*(part.replace(str(before), str(now)) for part in parts))  # type: ignore[misc]
    elif isinstance(error, OSError) and error.filename is not None:
        error.filename = str(error.filename).replace(str(before), str(now))
