"""The exceptions that a user sees. Each message is one line: where, what is wrong, what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path


class LesionforgeError(Exception):
    """An error that the user can act on.

    Args:
        where: the file, folder, case or option at fault.
        what: what is wrong with it.
        remedy: what the user can do about it.
    """

    def __init__(self, where: str | Path, what: str, remedy: str) -> None:
        self.where, self.what, self.remedy = _one_line(str(where)), _one_line(what), _one_line(remedy)
        super().__init__(f"{self.where}: {self.what}; {self.remedy}")

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return type(self), (self.where, self.what, self.remedy)


def choose_from(names: Iterable[object]) -> str:
    """Return the remedy for an unknown name: the list of known names."""
    return f"choose from {known}" if (known := ", ".join(map(str, names))) else "there is nothing to choose from"


def one_of(names: Iterable[object]) -> str:
    """Return names as ``a, b or c``.

    >>> one_of(["bank", "edited", "own"])
    'bank, edited or own'
    """
    *others, last = map(str, names)
    return f"{', '.join(others)} or {last}" if others else last


def own_error(error: BaseException | None) -> LesionforgeError | None:
    """Return the :class:`LesionforgeError` that ``error`` is or was raised from; MONAI wraps errors in its own."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        if isinstance(error, LesionforgeError):
            return error
        seen.append(error)
        error = error.__cause__
    return None


def _one_line(text: str) -> str:
    """Return a text without line breaks, in which characters that no terminal can show are escaped."""
    return text.replace("\r", " ").replace("\n", " ").encode("utf-8", "backslashreplace").decode("utf-8")


def causes(problems: Sequence[LesionforgeError], most: int = 3) -> str:
    """Return one line with the most frequent causes: how often each occurs, and where it occurs first.

    Messages that differ only in their numbers count as one cause.

    Args:
        problems: at least one.
        most: greatest number of causes to name.
    """
    groups: dict[str, list[LesionforgeError]] = {}
    for problem in problems:
        groups.setdefault(re.sub(r"\d[\d.]*", "", problem.what), []).append(problem)
    common = sorted(groups.values(), key=len, reverse=True)
    told = [f"{len(group)} × {group[0].what} (first: {group[0].where}; {group[0].remedy})" for group in common[:most]]
    more = len(common) - most
    return " | ".join(told) + (f" | and {more} more causes" if more > 0 else "")


class CohortError(LesionforgeError):
    """A scan, label map or cohort folder that cannot be used as it is."""


class ConfigError(LesionforgeError):
    """An option or configuration file that does not fit."""


class DoubtWarning(UserWarning):
    """Data that can be used but should be looked at first."""


class LeakError(LesionforgeError):
    """A subject is on both sides of a split."""


class ModelError(LesionforgeError):
    """A model folder that cannot be read, or that does not fit the data."""


class OutputError(LesionforgeError):
    """An output file or folder that would be overwritten."""


class PlacementError(LesionforgeError):
    """A scan in which no place was found for a lesion mask."""


class WorkerError(LesionforgeError):
    """A worker process that ended before its work was done."""


class TrainingError(LesionforgeError):
    """A training that cannot continue."""


def told(what: str, problems: Sequence[LesionforgeError]) -> str:
    """Return what is wrong with a batch, with the :func:`causes` if its members have problems."""
    return f"{what}: {causes(problems)}" if problems else what
