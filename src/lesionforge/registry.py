"""Methods by name: each is imported when it is asked for, and other packages may add their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar, cast

from lesionforge.errors import ConfigError, choose_from

Kind = TypeVar("Kind")


class Registry(Mapping[str, type[Kind]]):
    """Name → class, of this package's dictionary and of the entry points of installed packages.

    Names can be listed without importing any method, and so without torch.

    Args:
        kind: what the classes are, for messages, such as ``"a synthesizer"``.
        own: name → ``"module:Class"`` of this package.
        group: the group of entry points in which other packages name theirs.

    Raises:
        ConfigError: from ``registry[name]``, if there is no such name, its package cannot be imported, or what it names
            is no class with this name as its ``method``.
    """

    def __init__(self, kind: str, own: Mapping[str, str], *, group: str) -> None:
        self.kind, self.group = kind, group
        self.own = {name: EntryPoint(name, target, group) for name, target in own.items()}

    @property
    def known(self) -> dict[str, EntryPoint]:
        """Name → where its class lies; no other package replaces a method of this one."""
        return {**{point.name: point for point in entry_points(group=self.group)}, **self.own}

    def __getitem__(self, name: str) -> type[Kind]:
        if name in self.own:
            return cast("type[Kind]", self.own[name].load())
        known = self.known
        if name not in known:
            raise ConfigError(name, f"is not {self.kind}", choose_from(known))
        point = known[name]
        remedy = "repair or uninstall the package that names it"
        try:
            found = point.load()
        except Exception as error:  # whatever the code of another package raises
            (first, *_) = str(error).splitlines() or [""]
            what = f"cannot be imported from {point.value} ({type(error).__name__}: {first})"
            raise ConfigError(name, what, remedy) from error
        if not isinstance(found, type) or getattr(found, "method", None) != name:
            raise ConfigError(name, f"is no class with method = {name!r} in {point.value}", remedy)
        return cast("type[Kind]", found)

    def __contains__(self, name: Any) -> bool:
        return name in self.own or name in self.known

    def __iter__(self) -> Iterator[str]:
        return iter(self.known)

    def __len__(self) -> int:
        return len(self.known)
