"""The own lesion of each scan, to draw it anew."""

from typing import Any, Self

import numpy as np

from lesionforge.cohort.case import EDIT
from lesionforge.cohort.scan import Scan
from lesionforge.errors import ConfigError
from lesionforge.masks.base import MaskSource
from lesionforge.masks.mask import DrawnMask, PlacedMask


class OwnMasks(MaskSource):
    """The target scan's own mask, voxel by voxel: one image for each real mask.

    Use it only with models that do not see the lesion itself, which draw from label maps or with the lesion erased. The
    source knows no other lesion, so the parents of a drawn case are the subject of its scan and those of the model. An
    edited mask keeps its id, which names the case that it comes from.
    """

    method = "own"
    subjects = frozenset()
    digest = "the label of each scan"
    of_own_lesion = True

    def draw(self, scan: Scan, rng: np.random.Generator) -> DrawnMask:
        """Return the scan's mask.

        Raises:
            ConfigError: if the scan has no mask.
        """
        if scan.label is None or not scan.label.any():
            raise ConfigError(scan.case.case_id, "has no lesion of its own to draw", "draw into scans with a mask")
        return DrawnMask(
            mask=scan.label,
            mask_id=scan.case.mask_id if scan.case.synthesizer == EDIT else scan.case.case_id,
            subjects=scan.case.ancestry,
            corner=(0,) * scan.spatial_dims,
            clip=False,
        )

    def sample(self, scan: Scan, rng: np.random.Generator, **limits: object) -> PlacedMask:
        """Return the scan's mask in its place, whatever the limits are."""
        own = self.draw(scan, rng)
        return PlacedMask(mask=own.mask, mask_id=own.mask_id, subjects=own.subjects, redraws=0)


class OwnOrOther(MaskSource):
    """The scan's own mask in its place with some probability, else a mask of another source.

    Args:
        other: the other source.
        share: the probability of the scan's own mask, 0 to 1.
    """

    method = "own"
    of_own_lesion = True

    def __init__(self, other: MaskSource, share: float) -> None:
        self.own, self.other, self.share, self.subjects = OwnMasks(), other, share, other.subjects

    @property
    def instead(self) -> bool:
        """Whether masks of the other source take the place of the scan's own lesions."""
        return self.other.instead

    @property
    def elsewhere(self) -> MaskSource:
        """The other source."""
        return self.other

    @property
    def digest(self) -> str:
        """The digest of the other source, with the probability."""
        return f"{self.other.digest}, own with probability {self.share:g}"

    def to(self, device: str) -> Self:
        """Move the other source."""
        self.other.to(device)
        return self

    def least_volume(self, scan: Scan) -> float:
        """Return that of the other source; a scan's own mask is always large enough."""
        return self.other.least_volume(scan)

    def draw(self, scan: Scan, rng: np.random.Generator) -> DrawnMask:
        """Draw from either source."""
        return self._either(rng).draw(scan, rng)

    def sample(self, scan: Scan, rng: np.random.Generator, **limits: Any) -> PlacedMask:
        """Sample from either source; the limits are those of the other one."""
        return self._either(rng).sample(scan, rng, **limits)

    def _either(self, rng: np.random.Generator) -> MaskSource:
        return self.own if rng.random() < self.share else self.other
