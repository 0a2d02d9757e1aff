"""Each scan's own lesion, to be drawn anew."""

import numpy as np

from lesionforge.cohort.scan import Scan
from lesionforge.errors import ConfigError
from lesionforge.masks.base import MaskSource
from lesionforge.masks.mask import DrawnMask, PlacedMask


class OwnMasks(MaskSource):
    """The mask of the very scan that is drawn into, voxel by voxel: one image for each real mask.

    Only for models that are not shown the lesion itself, from label maps or with the lesion erased. The source knows no
    other lesion, so a drawn case has the subject of its scan as a parent, and those of the model.
    """

    subjects = frozenset()
    digest = "the label of each scan"

    def draw(self, scan: Scan, rng: np.random.Generator) -> DrawnMask:
        """Return the scan's mask.

        Raises:
            ConfigError: if it has none.
        """
        if scan.label is None or not scan.label.any():
            raise ConfigError(scan.case.case_id, "has no lesion of its own to draw", "draw into scans with a mask")
        return DrawnMask(
            mask=scan.label,
            mask_id=scan.case.case_id,
            subjects=scan.case.ancestry,
            corner=(0,) * scan.spatial_dims,
            clip=False,
        )

    def sample(self, scan: Scan, rng: np.random.Generator, **limits: object) -> PlacedMask:
        """Return the scan's mask where it is, whatever the limits are."""
        own = self.draw(scan, rng)
        return PlacedMask(mask=own.mask, mask_id=own.mask_id, subjects=own.subjects, redraws=0)
