"""The single lesions of a label map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from lesionforge.cohort.scan import LabelArray

TOGETHER_MM = 4.0
"""Components whose nearest voxels lie this close, centre to centre, are one lesion: their gap is about 3 mm."""


def split_lesions(mask: LabelArray, spacing: Sequence[float]) -> list[tuple[LabelArray, tuple[int, ...]]]:
    """Return the tight crop of each lesion of a label map, and its first voxel.

    Components that touch, also by a corner, or lie closer than :data:`TOGETHER_MM` are one lesion, so that the
    satellites of a stroke or a tumour stay beside it.

    Args:
        mask: ``(x, y[, z])`` label map.
        spacing: millimetres along each axis.

    Example:
        >>> row = np.array([[1, 1, 0, 2, 0, 0, 0, 0, 1]])
        >>> [(lesion.tolist(), corner) for lesion, corner in split_lesions(row, (1.0, 1.0))]
        [([[1, 1, 0, 2]], (0, 0)), ([[1]], (0, 8))]
    """
    numbers, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    if count > 1:
        numbers = _joined(numbers, count, spacing)
    boxes = ndimage.find_objects(numbers)
    return [
        (np.where(numbers[box] == number, mask[box], 0), tuple(int(s.start) for s in box))
        for number, box in enumerate(boxes, 1)
    ]


def _joined(numbers: NDArray[np.int32], count: int, spacing: Sequence[float]) -> NDArray[np.int32]:
    """Return the numbers of components with one number for those that lie close to each other."""
    edge = (numbers > 0) & ~ndimage.binary_erosion(numbers > 0)
    voxels = np.argwhere(edge) * np.array(spacing)
    near = numbers[edge][KDTree(voxels).query_pairs(TOGETHER_MM, output_type="ndarray")]
    graph = coo_array((np.ones(len(near)), (near[:, 0] - 1, near[:, 1] - 1)), shape=(count, count))
    lesion_of = connected_components(graph, directed=False)[1] + 1
    return np.concatenate([[0], lesion_of]).astype(np.int32)[numbers]
