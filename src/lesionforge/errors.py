"""The exceptions a user sees. Each message is one line: which file, what is wrong, what to do."""

from collections.abc import Iterable
from pathlib import Path


class LesionforgeError(Exception):
    """An error a person can act on.

    Args:
        where: the file, folder, case or option that is at fault.
        what: what is wrong with it.
        remedy: what the user can do about it.
    """

    def __init__(self, where: str | Path, what: str, remedy: str) -> None:
        self.where, self.what, self.remedy = str(where), what, remedy
        super().__init__(f"{where}: {what}; {remedy}")

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return type(self), (self.where, self.what, self.remedy)


def choose_from(names: Iterable[object]) -> str:
    """Return the remedy for a name that is unknown: those that are known."""
    return f"choose from {known}" if (known := ", ".join(map(str, names))) else "there is none to choose from"


def own_error(error: BaseException | None) -> LesionforgeError | None:
    """Return the error of ours that ``error`` is or was raised from, as MONAI raises its own from what it meets."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        if isinstance(error, LesionforgeError):
            return error
        seen.append(error)
        error = error.__cause__
    return None


class CohortError(LesionforgeError):
    """A scan, label map or cohort folder that cannot be used as it is."""


class ConfigError(LesionforgeError):
    """An option or configuration file that does not fit."""


class LeakError(LesionforgeError):
    """A subject stands on both sides of a split."""


class ModelError(LesionforgeError):
    """A model folder that cannot be read, or that does not fit the data."""


class OutputError(LesionforgeError):
    """An output place that would be overwritten."""


class PlacementError(LesionforgeError):
    """No place was found for a lesion mask in a scan."""


class WorkerError(LesionforgeError):
    """A helper process that ended before its work was done."""


class TrainingError(LesionforgeError):
    """A training that cannot go on."""
