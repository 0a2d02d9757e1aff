"""Whose scan a case is, as far as its name says."""

from __future__ import annotations

import re
from collections.abc import Callable

from lesionforge.errors import CohortError, ConfigError

BIDS_SUBJECT = re.compile(r"(sub-[A-Za-z0-9]+)(_.*)?")


def subject_of(name: str) -> str:
    """Return ``sub-LABEL`` of a name in BIDS' manner, ``sub-LABEL`` or ``sub-LABEL_…``, else the name."""
    match = BIDS_SUBJECT.fullmatch(name)
    return match[1] if match else name


def subject_finder(pattern: str | None) -> Callable[[str], str]:
    """Return what tells a case's subject by its id.

    Args:
        pattern: a regular expression that matches the beginning of every id; its first group, or all that it matches if
            it has none, is the subject. ``None`` is :func:`subject_of`.

    Raises:
        ConfigError: if it is none.
    """
    if pattern is None:
        return subject_of
    try:
        expression = re.compile(pattern)
    except re.error as error:
        what = f"{pattern!r} is no regular expression ({error})"
        raise ConfigError("`subject_pattern`", what, r"write, for example, `subject_pattern=p\d+`") from error

    def find(case_id: str) -> str:
        match = expression.match(case_id)
        subject = match[expression.groups and 1] if match else None
        if not subject:
            what = f"the subject pattern {pattern!r} finds nobody at the beginning of its id"
            raise CohortError(case_id, what, "correct `subject_pattern`, or rename it")
        return subject

    return find
