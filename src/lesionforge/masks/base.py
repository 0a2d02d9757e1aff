"""The base class of mask sources."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.layouts.labels import OnProblem, fail
from lesionforge.cohort.scan import Scan
from lesionforge.config import MethodConfig
from lesionforge.errors import ConfigError, PlacementError
from lesionforge.masks.mask import DrawnMask, PlacedMask
from lesionforge.masks.placement import JITTER_MM, place
from lesionforge.preprocessing.brain.region import with_region
from lesionforge.preprocessing.lesions.merging import nested_by_name
from lesionforge.training.loop import Device

__all__ = ["DrawnMask", "MaskRequest", "MaskSource", "PlacedMask"]


@dataclass(frozen=True, kw_only=True)
class MaskRequest:
    """A mask source as a user names it, such as ``bank`` or ``files:DIR``.

    Attributes:
        spec: the name as written.
        cohort: the cohort that real masks come from.
        channel: the channel of ``cohort`` in which the brain is found; by default each case's first.
        on_problem: called with the error of each case of ``cohort`` that is left out; raises by default.
        device: the device of a network that draws masks.
        options: options of the source, see its ``Config``.
    """

    spec: str
    cohort: Cohort | None = None
    channel: str | None = None
    on_problem: OnProblem = fail
    device: Device = "cpu"
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def argument(self) -> str:
        """The text after the colon; empty if there is none."""
        return self.spec.partition(":")[2]

    @property
    def nested(self) -> tuple[int, ...]:
        """The lesion classes from the outermost to the innermost, if the cohort's are those of BraTS; else empty."""
        return () if self.cohort is None else nested_by_name(self.cohort.labels)

    def needed_cohort(self) -> Cohort:
        """Return the cohort.

        Raises:
            ConfigError: if there is none.
        """
        if self.cohort is None:
            what = "needs a cohort to take masks from"
            raise ConfigError(f"masks {self.spec!r}", what, "name one with `masks_from`")
        return self.cohort


class MaskSource(ABC):
    """Draws lesion masks and places them in scans.

    Attributes:
        method: its name in :data:`~lesionforge.masks.registry.MASK_SOURCES`; ``name:ARGUMENT``, such as ``files:DIR``,
            if it takes an argument.
        Config: class of the options that a user may set by name; by default there are none.
        made_of: number of real cases whose lesions one mask is made of, besides the scan's own; the source needs as
            many.
        subjects: every subject whose lesions the source knows.
    """

    method: ClassVar[str]
    Config: ClassVar[type[MethodConfig]] = MethodConfig
    made_of: ClassVar[int] = 0
    subjects: frozenset[str]

    @classmethod
    def from_request(cls, request: MaskRequest) -> MaskSource:
        """Make the source that a user named; override it for a source that needs a cohort, an argument or options.

        Raises:
            ConfigError: if the source needs a cohort with lesions and there is none.
            CohortError: if a file cannot be read.
        """
        return cls()

    @property
    @abstractmethod
    def digest(self) -> str:
        """Everything besides the scan and the random numbers that the masks depend on, as a hash or in words."""

    @property
    def of_own_lesion(self) -> bool:
        """Whether the masks are made from the scan's own lesions, so that it needs some."""
        return False

    @property
    def instead(self) -> bool:
        """Whether the masks take the place of the scan's own lesions; see :class:`PlacedMask`."""
        return False

    @property
    def elsewhere(self) -> MaskSource:
        """The source of the masks of negatives, whose holes must not erase the scan's own lesions."""
        return self

    def to(self, device: str) -> Self:
        """Move networks, if there are any, to ``device``."""
        return self

    def least_volume(self, scan: Scan) -> float:
        """Return the least volume of a mask in a scan, in mm³ (mm² in 2D), if the user gives none.

        A source whose masks are real lesions returns half the volume of the smallest one. By default any voxel is
        enough: the sizes are those that the source was made for, and ``min_inside`` of :meth:`sample` refuses slivers.
        """
        return 0.0

    @abstractmethod
    def draw(self, scan: Scan, rng: np.random.Generator) -> DrawnMask:
        """Draw one mask for a scan, on the scan's axes and spacing.

        Args:
            scan: the target scan; :meth:`sample` passes it with its region.
            rng: source of all randomness.

        Raises:
            ConfigError: if the source has no mask for this kind of scan.
        """

    def sample(
        self,
        scan: Scan,
        rng: np.random.Generator,
        *,
        min_volume: float | None = None,
        max_redraws: int = 50,
        min_inside: float = 0.5,
        jitter_mm: float = JITTER_MM,
    ) -> PlacedMask:
        """Draw masks until one fits into the scan.

        Args:
            scan: the target scan; for frequent use, compute its region first (:func:`~lesionforge.masks.with_region`).
            rng: source of all randomness.
            min_volume: least volume of the placed mask, in mm³ (mm² in 2D); by default :meth:`least_volume`.
            max_redraws: number of further masks to try if the first does not fit.
            min_inside: least share of a drawn lesion that must lie in the allowed region, 0 to 1.
            jitter_mm: standard deviation of the shift of each lesion from its original place.

        Raises:
            PlacementError: if the scan has no region for lesions, or no mask fits.
            ConfigError: see :meth:`draw`.
        """
        scan = with_brain(scan)
        least = self.least_volume(scan) if min_volume is None else min_volume
        for redraws in range(max_redraws + 1):
            drawn = self.draw(scan, rng)
            mask = place(drawn, scan, rng, min_volume=least, min_inside=min_inside, jitter_mm=jitter_mm)
            if mask is not None:
                return PlacedMask(mask=mask, mask_id=drawn.mask_id, subjects=drawn.subjects, redraws=redraws)
        raise PlacementError(
            scan.case.case_id,
            f"no lesion mask fits after {max_redraws} redraws",
            "allow smaller volumes or more redraws, use other masks, or leave the scan out",
        )


def with_brain(scan: Scan) -> Scan:
    """Return a scan with its region; see :func:`~lesionforge.preprocessing.brain.region.with_region`.

    Raises:
        PlacementError: if the region is empty.
    """
    scan = with_region(scan)
    if scan.region is None or not scan.region.any():
        what = "no brain was found in this scan"
        raise PlacementError(scan.case.case_id, what, "give it anatomy labels, or leave it out")
    return scan
