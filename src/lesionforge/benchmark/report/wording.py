"""Formatting of numbers, sizes and seeds in reports."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from lesionforge.scores.score import Score


def size_names(train_sizes: Iterable[float]) -> dict[float, str]:
    """Return training-set size → name: numbers of subjects if any size is above 1, else percentages of the pool."""
    sizes = sorted(set(train_sizes))
    return {size: f"n = {size:g}" if sizes[-1] > 1 else f"{100 * size:g} %" for size in sizes}


def amount(value: float, info: Score[Any]) -> str:
    """Return a value in the score's unit, without the unit: one decimal, or two if below 0.1; – for NaN."""
    if math.isnan(value):
        return "–"
    shown = value * info.factor
    return f"{shown:.{_decimals(shown)}f}".replace("-", "−")


def signed(value: float, info: Score[Any]) -> str:
    """Return :func:`amount` with a sign."""
    if math.isnan(value):
        return "–"
    shown = value * info.factor
    return f"{shown:+.{_decimals(shown)}f}".replace("-", "−")


def _decimals(shown: float) -> int:
    return 1 if abs(shown) >= 0.1 or shown == 0 else 2


def p_text(value: float) -> str:
    """Return a p-value with three decimals; – for NaN."""
    if math.isnan(value):
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def count(n: int, noun: str) -> str:
    """Return ``n`` with its noun in the singular or plural."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def seeds_named(seeds: Iterable[int]) -> str:
    """Return ``seed 1`` or ``seeds 1, 2``."""
    names = [str(seed) for seed in seeds]
    return f"seed{'s' * (len(names) > 1)} {', '.join(names)}"
