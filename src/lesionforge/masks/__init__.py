"""Where lesions go: sources of masks, and their place in a scan."""

from lesionforge.masks.bank import MaskBank
from lesionforge.masks.base import DrawnMask, MaskSource, PlacedMask
from lesionforge.masks.edit import EditedMasks
from lesionforge.masks.place import allowed_region, place, with_region

__all__ = [
    "DrawnMask",
    "EditedMasks",
    "MaskBank",
    "MaskSource",
    "PlacedMask",
    "allowed_region",
    "place",
    "with_region",
]
