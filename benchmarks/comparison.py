"""What every benchmark shares: timing two things side by side, and printing their ratio."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One ratio: how much of something ``first`` takes, divided by how much ``second`` takes.

    Attributes:
        name: what is compared.
        first: name of the numerator.
        second: name of the denominator.
        pairs: measured side by side, (first, second).
        at_most: the ratio's target, or ``None``.
        at_least: the ratio's target, or ``None``.
        unit: of the measurements.
    """

    name: str
    first: str
    second: str
    pairs: Sequence[tuple[float, float]]
    at_most: float | None = None
    at_least: float | None = None
    unit: str = "ms"

    @property
    def ratios(self) -> list[float]:
        """The ratio of each pair, sorted."""
        return sorted(first / second for first, second in self.pairs)

    @property
    def ratio(self) -> float:
        """The median of the pairs' ratios."""
        return median(self.ratios)

    @property
    def met(self) -> bool:
        """Whether the ratio meets its targets."""
        return (self.at_most is None or self.ratio <= self.at_most) and (
            self.at_least is None or self.ratio >= self.at_least
        )

    @property
    def target(self) -> str:
        """The target in words."""
        if self.at_most is None and self.at_least is None:
            return "none"
        return f"at most {self.at_most:g}" if self.at_most is not None else f"at least {self.at_least:g}"

    @property
    def verdict(self) -> str:
        """Whether the target is met, in a word or two."""
        if self.target == "none":
            return ""
        return "met" if self.met else "MISSED"


def alternate(repeats: int, *actions: Callable[[], Any]) -> list[tuple[float, ...]]:
    """Run the actions in turn and return, for each round, the milliseconds of processor time that each took.

    Processor time, because other programs on the machine disturb it less than the time on the wall. A first round
    is not counted.
    """
    rounds = [tuple(processor_ms(action) for action in actions) for _ in range(repeats + 1)]
    return rounds[1:]


def processor_ms(action: Callable[[], Any]) -> float:
    """Return the milliseconds of processor time, over all threads of this process, that an action takes."""
    began = time.process_time()
    action()
    return 1000 * (time.process_time() - began)


def show(title: str, comparisons: Sequence[Comparison]) -> None:
    """Print a table of comparisons: medians, the median ratio with its range, target and verdict."""
    table = Table(title=title, title_justify="left")
    for heading in ("what", "first", "second", "first takes", "second takes", "ratio (range)", "target", ""):
        table.add_column(heading, overflow="fold")
    for row in comparisons:
        first, second = (median(values) for values in zip(*row.pairs, strict=True))
        table.add_row(
            row.name,
            row.first,
            row.second,
            f"{first:.3g} {row.unit}",
            f"{second:.3g} {row.unit}",
            f"{row.ratio:.3g} ({row.ratios[0]:.3g} to {row.ratios[-1]:.3g})",
            row.target,
            row.verdict,
        )
    console = Console(width=140)
    console.print(table)
    console.print(f"Load of the machine: {os.getloadavg()[0]:.1f} processes on {os.cpu_count()} cores (last minute).")
