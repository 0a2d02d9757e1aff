"""The base class of layouts."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import ClassVar

from lesionforge.cohort.case import Cohort


class Layout:
    """A way in which scans, masks and their names are kept on disk.

    Attributes:
        method: its name, as in ``lesionforge import --layout``.
        read: static method from a folder or table, and keyword options, to a cohort. ``lesionforge import`` passes the
            options that it names as parameters: ``channels`` (channel name → pattern), ``channel`` (the name of the
            only channel), ``mask`` and ``anatomy`` (patterns), ``labels`` (class name → integer), ``no_mask``,
            ``binary_masks``, ``subject_pattern`` and ``on_problem``. It raises ``CohortError`` if the source does not
            have this layout, ``ConfigError`` if an option is wrong, and passes the errors of single cases to
            ``on_problem``.
    """

    method: ClassVar[str]
    read: ClassVar[Callable[..., Cohort]]

    @classmethod
    def options(cls) -> frozenset[str]:
        """Return the names of the options that ``read`` takes."""
        return frozenset(inspect.signature(cls.read).parameters)
