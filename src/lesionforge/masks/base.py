"""What every mask source offers."""

from abc import ABC, abstractmethod
from typing import Self

import numpy as np

from lesionforge.cohort.scan import Scan
from lesionforge.errors import PlacementError
from lesionforge.masks.mask import DrawnMask, PlacedMask
from lesionforge.masks.placement import JITTER_MM, place
from lesionforge.preprocessing.brain.region import with_region

__all__ = ["DrawnMask", "MaskSource", "PlacedMask"]


class MaskSource(ABC):
    """Says where lesions go, and what shape they have.

    Attributes:
        subjects: every subject whose lesions the source knows.
    """

    subjects: frozenset[str]

    @property
    @abstractmethod
    def digest(self) -> str:
        """What the masks depend on beside the scan and the random numbers, as a hash or in words."""

    def to(self, device: str) -> Self:
        """Move what computes to ``device``."""
        return self

    @abstractmethod
    def draw(self, scan: Scan, rng: np.random.Generator) -> DrawnMask:
        """Draw one mask for a scan, on its axes and spacing.

        Args:
            scan: the target; :meth:`sample` passes it with its region.
            rng: source of all randomness.

        Raises:
            ConfigError: if the source has no mask that could be drawn into such a scan.
        """

    def sample(
        self,
        scan: Scan,
        rng: np.random.Generator,
        *,
        min_volume: float = 200.0,
        max_redraws: int = 50,
        min_inside: float = 0.5,
        jitter_mm: float = JITTER_MM,
    ) -> PlacedMask:
        """Draw masks until one fits into the scan.

        Args:
            scan: the target; give it a region (:func:`~lesionforge.masks.with_region`) when it is used often.
            rng: source of all randomness.
            min_volume: least volume of the placed mask, in mm³ (mm² in 2D).
            max_redraws: how many further masks are tried when the first does not fit.
            min_inside: least share of a drawn mask that must lie in the allowed region, 0 to 1.
            jitter_mm: standard deviation of the shift from the mask's original place.

        Raises:
            PlacementError: if the scan has no region for lesions, or none of the masks fits.
            ConfigError: see :meth:`draw`.
        """
        scan = with_region(scan)
        if scan.region is None or not scan.region.any():
            raise PlacementError(
                scan.case.case_id, "no brain was found in this scan", "give it anatomy labels, or leave it out"
            )
        for redraws in range(max_redraws + 1):
            drawn = self.draw(scan, rng)
            mask = place(drawn, scan, rng, min_volume=min_volume, min_inside=min_inside, jitter_mm=jitter_mm)
            if mask is not None:
                return PlacedMask(mask=mask, mask_id=drawn.mask_id, subjects=drawn.subjects, redraws=redraws)
        raise PlacementError(
            scan.case.case_id,
            f"no lesion mask fits after {max_redraws} redraws",
            "allow smaller volumes or more redraws, use other masks, or leave the scan out",
        )
