"""The base class of layouts."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from lesionforge.cohort.case import Cohort


class Layout:
    """A way in which scans, masks and their names are kept on disk.

    Attributes:
        method: its name, as in ``lesionforge import --layout``.
        sought: what :meth:`recognise` looks for, such as ``"dataset.json with channel_names"``.
        general: whether a more special layout wins where both are recognised.
        read: static method from a folder or table, and keyword options, to a cohort. ``lesionforge import`` passes the
            options that it names as parameters: ``channels`` (channel name → pattern), ``channel`` (the name of the
            only channel), ``series`` (a table), ``mask`` and ``anatomy`` (patterns), ``labels`` (class name →
            integer), ``no_mask``, ``binary_masks``, ``subject_pattern``, ``on_problem`` and ``on_note``. It raises
            ``CohortError`` if the source does not have this layout, ``ConfigError`` if an option is wrong, passes the
            errors of single cases to ``on_problem``, and each rule that it applied, as a line for the user, to
            ``on_note``.
    """

    method: ClassVar[str]
    sought: ClassVar[str] = ""
    general: ClassVar[bool] = False
    read: ClassVar[Callable[..., Cohort]]

    @classmethod
    def recognise(cls, source: Path) -> str:
        """Return the sign by which a folder or table seems to have this layout, or ``""``; nothing is checked."""
        return ""

    @classmethod
    def options(cls) -> frozenset[str]:
        """Return the names of the options that ``read`` takes."""
        return frozenset(inspect.signature(cls.read).parameters)
