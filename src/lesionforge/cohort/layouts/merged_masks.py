"""Several masks of one scan, read as one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from lesionforge.cohort.grid import same_grid
from lesionforge.cohort.image_file import compose, read_stored
from lesionforge.cohort.scan import read_label
from lesionforge.cohort.stored import Stored
from lesionforge.errors import CohortError


def merge_masks(paths: Sequence[Path], *, binary: bool) -> Path:
    """Let this process read several masks as one; return the path by which it is known, with the names of all.

    A voxel is a lesion if it is one in any mask; where classes differ, the higher one counts.

    Args:
        paths: the files, on one grid.
        binary: any value except 0 is the lesion.
    """
    known = paths[0].with_name(" + ".join(path.name for path in paths))
    compose(known, partial(_merged, tuple(paths), binary))
    return known


def _merged(paths: Sequence[Path], binary: bool) -> Stored:
    """Return the union of masks.

    Raises:
        CohortError: if one cannot be read, or lies on another grid than the first.
    """
    first = read_stored(paths[0], label=True)
    label, affine = read_label(paths[0], binary=binary)
    for path in paths[1:]:
        other, place = read_label(path, binary=binary)
        if other.shape != label.shape or not same_grid(label.shape, affine, place):
            raise CohortError(path, f"lies on another grid than {paths[0].name}", "resample it to that grid")
        label = np.maximum(label, other)
    return Stored(array=label, affine=affine, header=first.header, simulated=first.simulated)
