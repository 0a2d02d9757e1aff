"""A wrong case of an archive, and what the line about it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Place = TypeVar("Place")


@dataclass(frozen=True, kw_only=True)
class Wrong(Generic[Place]):
    """A wrong case.

    Attributes:
        name: says what is wrong.
        told: a regular expression that the line about it matches.
        make: makes the case wrong; its argument is where the case lies, which depends on the layout.
        claims: whether it claims more than it holds, so that nothing may be allocated for it.
    """

    name: str
    told: str
    make: Callable[[Place], object]
    claims: bool = False

    def __str__(self) -> str:
        return self.name
