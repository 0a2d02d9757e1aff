"""The truth where several readers annotated the same scans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from scipy import ndimage

from lesionforge.cohort.case import IMAGE_ENDINGS, Cohort
from lesionforge.cohort.grid import same_grid
from lesionforge.cohort.scan import BoolArray, LabelArray, Scan, read_label
from lesionforge.errors import CohortError, ConfigError
from lesionforge.scores.predictions.case_scores import map_of

Agree = Literal["majority", "any"]


def agreed_lesions(maps: Sequence[BoolArray], agree: Agree) -> BoolArray:
    """Return the lesions that readers agree on.

    Outlines of small lesions differ too much to count voxels, so whole lesions are counted: a lesion is a connected
    component of all maps together, and a reader saw it if one of its voxels is marked.

    Args:
        maps: ``(x, y[, z])`` mask of each reader.
        agree: ``majority`` keeps the lesions that more than half of the readers saw, ``any`` keeps all.
    """
    together = np.any(maps, axis=0)
    lesions, count = ndimage.label(together, np.ones((3,) * together.ndim))
    numbers = np.arange(1, count + 1)
    seen_by = np.sum([np.isin(numbers, lesions[marked]) for marked in maps], axis=0)
    least = len(maps) // 2 + 1 if agree == "majority" else 1
    return np.isin(lesions, numbers[seen_by >= least])


@dataclass(frozen=True)
class Readers:
    """Annotations of several readers.

    Attributes:
        folders: a folder per reader with ``CASE.nii.gz`` or ``CASE.png`` for every case.
        agree: see :func:`agreed_lesions`.

    Raises:
        ConfigError: if there is no folder.
    """

    folders: tuple[Path, ...]
    agree: Agree = "majority"

    def __post_init__(self) -> None:
        if not self.folders:
            raise ConfigError("readers", "there is none", "name a folder for each reader")

    def cases(self, cohort: Cohort) -> Cohort:
        """Return the annotated cases of a cohort, and those without annotation that a reader annotated."""
        return cohort.with_cases([case for case in cohort if case.outlined or self._has(case.case_id)])

    def agreed(self, scan: Scan) -> Scan:
        """Return the scan with the lesions that the readers agree on as label.

        Raises:
            CohortError: if a reader has no map of this case, or one on another grid.
        """
        label = agreed_lesions([self._read(folder, scan) > 0 for folder in self.folders], self.agree)
        return replace(scan, label=label.astype(np.int16))

    def _has(self, case_id: str) -> bool:
        return any(map_of(folder, case_id) is not None for folder in self.folders)

    def _read(self, folder: Path, scan: Scan) -> LabelArray:
        case_id = scan.case.case_id
        path = map_of(folder, case_id)
        if path is None:
            what = "there is no map of this case by this reader"
            raise CohortError(folder / f"{case_id}{IMAGE_ENDINGS[0]}", what, "add it, or leave the case out")
        label, affine = read_label(path)
        if label.shape != scan.spatial_shape or not same_grid(label.shape, affine, scan.affine):
            raise CohortError(path, f"is not on the grid of case {case_id}", "resample it to the scan")
        return label
