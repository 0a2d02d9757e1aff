"""The subject of a case according to its name."""

from __future__ import annotations

import re
from collections.abc import Callable

from lesionforge.errors import CohortError, ConfigError

BIDS_SUBJECT = re.compile(r"(sub-[A-Za-z0-9]+)(_.*)?")


def subject_of(name: str) -> str:
    """Return ``sub-LABEL`` for a BIDS name, ``sub-LABEL`` or ``sub-LABEL_…``, else the name itself."""
    match = BIDS_SUBJECT.fullmatch(name)
    return match[1] if match else name


def subject_finder(pattern: str | None) -> Callable[[str], str]:
    """Return a function from case id to subject.

    Args:
        pattern: a regular expression that matches the beginning of every id. The subject is its first group, or the
            whole match if it has no group. ``None`` gives :func:`subject_of`.

    Raises:
        ConfigError: if the pattern is not a regular expression.
    """
    if pattern is None:
        return subject_of
    try:
        expression = re.compile(pattern)
    except re.error as error:
        what = f"{pattern!r} is not a regular expression ({error})"
        raise ConfigError("`subject_pattern`", what, r"write, for example, `subject_pattern=p\d+`") from error

    def find(case_id: str) -> str:
        match = expression.match(case_id)
        subject = match[expression.groups and 1] if match else None
        if not subject:
            what = f"the subject pattern {pattern!r} matches nothing at the beginning of this id"
            raise CohortError(case_id, what, "correct `subject_pattern`, or rename the case")
        return subject

    return find
