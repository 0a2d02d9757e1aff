"""``selfmix``: a lesion of a scan is fused with normal tissue elsewhere in the same scan.

Zhu et al. 2022 (MICCAI, SelfMix), re-implemented from the formula. With d the distance of a lesion voxel to the
lesion's edge, X_L the lesion, X_N the tissue at its new place and λ drawn from U(0.7, 1),

    w = (1 − λ) · d / max d + λ,   X = w · X_L + (1 − w) · X_N   in the lesion.

So its middle is the lesion's own, and up to 30 % of its edge is the tissue around. The new lesion has its label; the
lesion that it was made from stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from scipy import ndimage

from lesionforge.cohort.scan import FloatArray, LabelArray
from lesionforge.errors import PlacementError
from lesionforge.preprocessing.lesions.lesion_library import CutLesion
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.synthesizers.training_free.library_method import LibraryConfig
from lesionforge.synthesizers.training_free.moved_lesion import MovedLesion, Piece

LEAST, MOST = 0.7, 1.0
"""Range of λ, as published."""


class SelfMixConfig(LibraryConfig):
    """Options of ``selfmix``: those of :class:`LibraryConfig` only."""


class SelfMix(MovedLesion):
    """SelfMix synthesizer; it draws only into the scans that it was fitted on, with their own lesions.

    Slices of a volume take lesions of any of its slices. Where a scan has several lesions, one of them is taken.
    """

    method = "selfmix"
    needs_lesion = True
    Config: ClassVar[type[LibraryConfig]] = SelfMixConfig

    def chosen(self, sample: Sample, rng: np.random.Generator) -> Sequence[CutLesion]:
        """Return a random lesion of the same scan.

        Raises:
            PlacementError: if the method was not fitted on this scan.
        """
        own = self.lesions_of.get(sample.case_id)
        if not own:
            what = "is no scan with a lesion that selfmix was fitted on"
            raise PlacementError(sample.case_id, what, "fit it on the scans that it is to draw into")
        return [own[int(rng.integers(len(own)))]]

    def piece(self, lesion: CutLesion, sample: Sample, rng: np.random.Generator) -> Piece:
        """Return the lesion as it is, with the weight of the formula."""
        (box,) = ndimage.find_objects((lesion.label > 0).view(np.int8))
        label = lesion.label[box]
        weight = fusion_weight(label, lesion.spacing, rng.uniform(LEAST, MOST))
        return Piece(image=lesion.image[:, *box], label=label, weight=weight)


def fusion_weight(label: LabelArray, spacing: Sequence[float], least: float) -> FloatArray:
    """Return the weight w of the lesion: 1 where it is deepest, nearly ``least`` (λ) at its edge, 0 beyond.

    Example:
        >>> row = np.array([1, 1, 1, 1, 1])
        >>> fusion_weight(row, (1.0,), 0.7).round(2).tolist()
        [0.8, 0.9, 1.0, 0.9, 0.8]
    """
    depth = ndimage.distance_transform_edt(np.pad(label > 0, 1), sampling=spacing)
    depth = depth[(slice(1, -1),) * label.ndim]
    return np.where(label > 0, (1 - least) * depth / depth.max() + least, 0).astype(np.float32)
