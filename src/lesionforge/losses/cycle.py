"""The cycle loss of two generators that translate between two domains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class BothWays:
    """Fakes of both domains and their cycle loss.

    Attributes:
        first: fakes of the first domain, made from items of the second.
        second: fakes of the second domain, made from items of the first.
        cycle: cycle loss, summed over both directions (Zhu et al. 2017, equation 2).
    """

    first: Tensor
    second: Tensor
    cycle: Tensor


def both_ways(
    there: Callable[[Tensor], Tensor],
    back: Callable[[Tensor], Tensor],
    first: Tensor,
    second: Tensor,
    *,
    norm: Callable[[Tensor, Tensor], Tensor],
) -> BothWays:
    """Translate items of both domains and back again, and compute the cycle loss.

    Args:
        there: generator from the first domain to the second.
        back: generator from the second domain to the first.
        first: items of the first domain.
        second: items of the second domain.
        norm: distance between two batches of items.
    """
    fake_second, fake_first = there(first), back(second)
    cycle = norm(back(fake_second), first) + norm(there(fake_first), second)
    return BothWays(first=fake_first, second=fake_second, cycle=cycle)
