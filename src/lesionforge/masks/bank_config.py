"""Options of the masks ``bank``, which sources made from a bank have, too."""

from __future__ import annotations

from pydantic import Field

from lesionforge.config import MethodConfig


class BankConfig(MethodConfig):
    """Options of the masks ``bank``.

    Attributes:
        flatten_sizes: exponent e of the probability of a lesion map, which is proportional to its volume to the power
            of −e (its area in 2D); 0 draws all maps equally often.
    """

    flatten_sizes: float = Field(default=0.0, ge=0, allow_inf_nan=False)
