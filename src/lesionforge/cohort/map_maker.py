"""What made anatomy maps, and the subjects that it was trained on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class MapMaker:
    """What made anatomy maps.

    Attributes:
        methods: names of the methods, such as ``kmeans``, in alphabetical order; ``unknown`` for maps without a record.
        subjects: the subjects that they were trained on; none for methods that are not trained.
    """

    methods: tuple[str, ...]
    subjects: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        """Whether there is a record of all that made the maps."""
        return UNKNOWN not in self.methods


def all_makers(makers: Iterable[MapMaker | None]) -> MapMaker | None:
    """Return what made the maps of several cases together; ``None`` if there is no record of any."""
    found = set(makers)
    known = [maker for maker in found if maker is not None]
    if not known:
        return None
    methods = {method for maker in known for method in maker.methods} | ({UNKNOWN} if None in found else set())
    subjects = {subject for maker in known for subject in maker.subjects}
    return MapMaker(methods=tuple(sorted(methods)), subjects=tuple(sorted(subjects)))
