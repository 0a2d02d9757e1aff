"""Boxes around lesions that are so small in a picture that an outline would hide them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from scipy import ndimage

SMALL, MARGIN, LEAST_MARGIN = 1 / 20, 1 / 50, 2.0
"""Shares of a picture's shorter side: the length below which a lesion is small, and how far its box is from it, which
is at least two pixels."""


@dataclass(frozen=True)
class SmallLesion:
    """A lesion that is small in its picture.

    Attributes:
        place: its rows and columns.
        value: its innermost class.
    """

    place: tuple[slice, slice]
    value: int


def split_small(label: NDArray[np.integer], aspect: float) -> tuple[NDArray[np.integer], list[SmallLesion]]:
    """Return labels without the connected components that are small in the picture, and these components.

    Args:
        label: ``(row, column)`` lesion classes.
        aspect: height of a pixel divided by its width.
    """
    parts, _ = ndimage.label(label > 0, np.ones((3, 3)))
    large, small = label.copy(), []
    for number, place in enumerate(ndimage.find_objects(parts), start=1):
        rows, columns = (along.stop - along.start for along in place)
        if max(rows * aspect, columns) < SMALL * _side(label.shape, aspect):
            own = parts[place] == number
            small.append(SmallLesion(place, int(label[place][own].max())))
            large[place][own] = 0
    return large, small


def draw_box(
    axes: Axes, lesion: SmallLesion, shape: tuple[int, ...], aspect: float, *, colour: str, width: float, ring: int = 1
) -> None:
    """Draw a box around a small lesion, within the picture.

    Args:
        axes: shows the picture.
        lesion: the lesion.
        shape: rows and columns of the picture.
        aspect: height of a pixel divided by its width.
        colour: colour of the box.
        width: width of its line in points.
        ring: how many margins the box is away from the lesion, so that several boxes around one lesion lie in each
            other.
    """
    margin = ring * max(LEAST_MARGIN, MARGIN * _side(shape, aspect))
    (top, bottom), (left, right) = (
        (max(0.0, along.start - room) - 0.5, min(size, along.stop + room) - 0.5)
        for along, size, room in zip(lesion.place, shape, (margin / aspect, margin), strict=True)
    )
    axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=width))


def _side(shape: tuple[int, ...], aspect: float) -> float:
    """Return the shorter side of a picture, in widths of a pixel."""
    return min(shape[0] * aspect, shape[1])
