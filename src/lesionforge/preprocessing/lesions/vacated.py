"""Anatomy in places that a lesion has left."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from lesionforge.cohort.scan import LabelArray

EDGE_MM = 2.0
"""Up to here beside a lesion the map is not trusted either."""
REACH_MM = 20.0
"""Up to here beyond the box of the lesions parenchyma is looked for."""


def fill_vacated(
    anatomy: LabelArray | None, lesion: LabelArray | None, *, parenchyma: Sequence[int], spacing: Sequence[float]
) -> LabelArray | None:
    """Return an anatomy map with the nearest parenchyma in the place of lesions that are taken away.

    Maps often show a lesion as fluid or as no brain at all. Once the lesion is gone, a model that draws from label maps
    would draw a cavity there.

    Args:
        anatomy: ``(x, y[, z])`` tissue or structure values, or ``None``.
        lesion: ``(x, y[, z])`` the lesions that are taken away, or ``None``.
        parenchyma: values of ``anatomy`` in which lesions may lie; empty = all except 0.
        spacing: millimetres per axis.

    Returns:
        ``(x, y[, z])``; unchanged beside the lesions, and if there is no parenchyma more than 2 mm away from them, in
        their box and up to 20 mm beyond.

    Example:
        >>> anatomy, lesion = np.array([1, 2, 1, 0, 0, 3, 3], np.int16), np.array([0, 0, 0, 1, 1, 0, 0])
        >>> fill_vacated(anatomy, lesion, parenchyma=(2, 3), spacing=[2.5]).tolist()
        [1, 2, 1, 2, 3, 3, 3]
    """
    if anatomy is None or lesion is None or not lesion.any():
        return anatomy
    reach = [int(np.ceil(REACH_MM / step)) for step in spacing]
    whole = ndimage.find_objects((lesion > 0).view(np.int8))[0]
    box = tuple(slice(max(0, side.start - n), side.stop + n) for side, n in zip(whole, reach, strict=True))
    gone, around = lesion[box] > 0, anatomy[box]
    tissue = np.isin(around, parenchyma) if parenchyma else around > 0
    tissue &= ndimage.distance_transform_edt(~gone, sampling=spacing) > EDGE_MM
    if not tissue.any():
        return anatomy
    nearest = ndimage.distance_transform_edt(~tissue, sampling=spacing, return_distances=False, return_indices=True)
    filled = anatomy.copy()
    filled[box] = np.where(gone, around[tuple(nearest)], around)
    return filled
