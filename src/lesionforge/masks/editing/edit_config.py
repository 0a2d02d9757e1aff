"""Options of the masks ``edited``: which edit, and its ranges.

Shin et al. 2018 (arXiv 1807.10225), Figures 2 and 3. The paper gives no ranges; those here are 0.6 to 1.5 for
sizes and up to 25 mm for shifts.
"""

from __future__ import annotations

from typing import Literal, Self, get_args

from pydantic import model_validator

from lesionforge.masks.bank_config import BankConfig
from lesionforge.preprocessing.lesions.merging import Winner, check_nested

EditName = Literal["enlarge", "shrink", "shift", "mirror", "transplant"]
EDITS: tuple[EditName, ...] = get_args(EditName)
OWN_EDITS: tuple[EditName, ...] = ("enlarge", "shrink", "shift", "mirror")
"""Edits of each scan's own lesions."""
FACTORS: dict[str, tuple[float, float]] = {"enlarge": (1.1, 1.5), "shrink": (0.6, 0.9)}
"""Edit → default range of its factor."""
LEAST_FACTOR, MOST_FACTOR, MOST_MM = 0.6, 1.5, 25.0


def takes_own_lesion(edit: str | None) -> bool:
    """Return whether an edit of this name takes each scan's own lesions."""
    return edit == "any" or edit in OWN_EDITS


class EditConfig(BankConfig):
    """Options of the masks ``edited``.

    Attributes:
        edit: one named edit; without it, lesions of the masks' cohort are edited at random and placed anew.
            ``enlarge``, ``shrink``, ``shift`` and ``mirror`` (to the other hemisphere) edit each scan's own lesions and
            take their place, as does ``any``, a random one of these four; ``transplant`` moves the lesions of a case to
            the brain of a lesion-free scan, by an affine alignment of the two brains.
        factor: range of the factor by which each lesion becomes longer: 1.1 to 1.5 by default for ``enlarge``, 0.6 to
            0.9 for ``shrink``.
        distance_mm: range of the distance by which ``shift`` moves each lesion, in mm.
        over_fluid: what stays where an edited lesion and fluid such as the ventricles meet: ``fluid``, so that the
            lesion is cut; ``core``, so that only its outermost class is cut; or the ``lesion``.
        nested: lesion classes from the outermost to the innermost, as values; by default in ascending order, but
            ED, RC, NCR, NET, CC, ET for the classes of BraTS.
    """

    edit: EditName | Literal["any"] | None = None
    factor: tuple[float, float] | None = None
    distance_mm: tuple[float, float] = (5.0, MOST_MM)
    over_fluid: Winner = "fluid"
    nested: tuple[int, ...] = ()

    @property
    def factors(self) -> tuple[float, float]:
        """The range of the factor; 1 for edits that keep the size."""
        return self.factor or FACTORS.get(self.edit or "", (1.0, 1.0))

    @property
    def of_own_lesion(self) -> bool:
        """Whether the named edit takes each scan's own lesions."""
        return takes_own_lesion(self.edit)

    @model_validator(mode="after")
    def _in_range(self) -> Self:
        if self.edit is None and self.model_dump(exclude_defaults=True, exclude={"flatten_sizes"}):
            raise ValueError("edit is missing: name the edit that the other options are of")
        if self.edit is not None and self.flatten_sizes:
            raise ValueError(f"flatten_sizes has no effect on {self.edit}, which draws no random lesion: leave it out")
        if self.factor is not None:
            if self.edit not in FACTORS:
                raise ValueError(f"factor has no effect on {self.edit}: leave it out")
            low, high = (1.0, MOST_FACTOR) if self.edit == "enlarge" else (LEAST_FACTOR, 1.0)
            if not low <= self.factor[0] <= self.factor[1] <= high:
                raise ValueError(f"factor is {self.factor}: give a range within {low:g} to {high:g} for {self.edit}")
        if not 0 < self.distance_mm[0] <= self.distance_mm[1] <= MOST_MM:
            raise ValueError(f"distance_mm is {self.distance_mm}: give a range above 0 and up to {MOST_MM:g} mm")
        check_nested(self.nested)
        return self
