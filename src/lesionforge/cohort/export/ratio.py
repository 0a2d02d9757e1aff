"""How many synthetic cases a training set takes for its real ones, and which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from lesionforge.cohort.case import Case
from lesionforge.errors import ConfigError
from lesionforge.seeding import generator


def balanced_order(cases: Iterable[Case], seed: int) -> list[Case]:
    """Return synthetic cases in a random order whose every beginning uses scans' subjects, then masks, about equally.

    Args:
        cases: in any order, which does not matter.
        seed: of the order.
    """
    by_id = sorted(cases, key=lambda case: case.case_id)
    order = [by_id[index] for index in generator(seed, "ratio").permutation(len(by_id))]
    by_mask = _in_turn(order, lambda case: case.mask_id)
    return _in_turn(by_mask, lambda case: case.subject_id)


def take_ratio(real: int, drawn: Sequence[Case], ratio: float, where: str) -> Sequence[Case]:
    """Return the first of the synthetic cases, as many as the ratio asks for.

    Args:
        real: number of real cases.
        drawn: synthetic cases, the first to be taken first.
        ratio: synthetic cases for each real one.
        where: what an error names.

    Raises:
        ConfigError: if there are too few.
    """
    asked = round(real * ratio)
    if asked > len(drawn):
        most = int(100 * len(drawn) / real) / 100 if real else 0
        what = f"1:{ratio:g} asks for {asked} synthetic cases beside {real} real ones, but {where} may use {len(drawn)}"
        fewer = f"ask for `ratio=1:{most:g}` at most, or draw more"
        raise ConfigError(
            "`ratio`", what, fewer if drawn else "draw with a model of its training cases alone, or ask for `folds=1`"
        )
    return drawn[:asked]


def _in_turn(cases: Sequence[Case], group: Callable[[Case], str]) -> list[Case]:
    """Return the first case of each group, then the second of each, and so on; within a turn the order stays."""
    seen, turns = Counter[str](), list[tuple[int, int]]()
    for index, case in enumerate(cases):
        turns.append((seen[group(case)], index))
        seen[group(case)] += 1
    return [cases[index] for _, index in sorted(turns)]
