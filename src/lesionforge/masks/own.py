"""The own lesion of each scan, to draw it anew."""

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
