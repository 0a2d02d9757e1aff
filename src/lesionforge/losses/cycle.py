"""Two domains, translated into each other and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class BothWays:
    """What two generators make of an item of each domain.

    Attributes:
        first: fakes of the first domain, made of items of the second.
        second: fakes of the second domain, made of items of the first.
        cycle: how much is lost on both ways round: Zhu et al. 2017, equation 2.
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
    """Translate items of both domains, and back again.

    Args:
        there: makes an item of the second domain of one of the first.
        back: makes an item of the first domain of one of the second.
        first: items of the first domain.
        second: items of the second domain.
        norm: distance of two batches of items.
    """
    fake_second, fake_first = there(first), back(second)
    cycle = norm(back(fake_second), first) + norm(there(fake_first), second)
    return BothWays(first=fake_first, second=fake_second, cycle=cycle)
