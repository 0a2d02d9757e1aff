"""Where lesions go: sources of masks, and their place in a scan.

The names are loaded when they are first used, so :mod:`lesionforge.masks.registry` is read without torch.
"""

from typing import TYPE_CHECKING

from lesionforge.lazy import load_when_used

if TYPE_CHECKING:
    from lesionforge.masks.bank import MaskBank
    from lesionforge.masks.base import MaskRequest, MaskSource
    from lesionforge.masks.edits import EditedMasks
    from lesionforge.masks.ellipsoids import Ellipsoids
    from lesionforge.masks.generator.maskgan import MaskGAN
    from lesionforge.masks.given import GivenMasks
    from lesionforge.masks.interpolated import InterpolatedMasks
    from lesionforge.masks.mask import DrawnMask, PlacedMask
    from lesionforge.masks.own import OwnMasks
    from lesionforge.masks.placement import allowed_region, place
    from lesionforge.masks.registry import MASK_SOURCES, make_mask_source
    from lesionforge.masks.semi_random import SemiRandom
    from lesionforge.preprocessing.brain.region import with_region

_HOMES = {
    "MASK_SOURCES": "masks.registry",
    "DrawnMask": "masks.mask",
    "EditedMasks": "masks.edits",
    "Ellipsoids": "masks.ellipsoids",
    "GivenMasks": "masks.given",
    "InterpolatedMasks": "masks.interpolated",
    "MaskBank": "masks.bank",
    "MaskGAN": "masks.generator.maskgan",
    "MaskRequest": "masks.base",
    "MaskSource": "masks.base",
    "OwnMasks": "masks.own",
    "PlacedMask": "masks.mask",
    "SemiRandom": "masks.semi_random",
    "allowed_region": "masks.placement",
    "make_mask_source": "masks.registry",
    "place": "masks.placement",
    "with_region": "preprocessing.brain.region",
}

__all__ = [
    "MASK_SOURCES",
    "DrawnMask",
    "EditedMasks",
    "Ellipsoids",
    "GivenMasks",
    "InterpolatedMasks",
    "MaskBank",
    "MaskGAN",
    "MaskRequest",
    "MaskSource",
    "OwnMasks",
    "PlacedMask",
    "SemiRandom",
    "allowed_region",
    "make_mask_source",
    "place",
    "with_region",
]

__getattr__ = load_when_used(__name__, _HOMES)
