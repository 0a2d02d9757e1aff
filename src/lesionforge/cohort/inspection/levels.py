"""The level of slices in the head, and healthy slices drawn at the levels of pathological ones.

In many cohorts the lesion-free slices lie at the skull base and the vertex, and slices with a lesion in between. A
critic that compares the two then learns height, not health.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel.orientations import aff2axcodes
from numpy.typing import ArrayLike, NDArray

from lesionforge.cohort.inspection.measure import foreground, slice_axis
from lesionforge.cohort.scan import BoolArray, Scan
from lesionforge.errors import CohortError

Heights = NDArray[np.float64]

BINS = 20
MOST_AUC = 0.6
"""Greatest accepted AUC, after matching, of a classifier that sees only the level."""
KNOTS = 6


@dataclass(frozen=True, kw_only=True)
class LevelMatch:
    """How to draw healthy slices so that they lie where pathological slices do.

    Attributes:
        weights: ``(healthy slices,)`` probability of drawing each; they sum to 1.
        matched: ``(pathological slices,)`` whether the bin of each holds a healthy slice. Leave the others out of
            training, since their level gives them away.
    """

    weights: Heights
    matched: BoolArray

    @property
    def kept(self) -> int:
        """Number of healthy slices that may be drawn."""
        return int(np.count_nonzero(self.weights))

    @property
    def effective(self) -> float:
        """Number of equally weighted slices that would vary as much: 1 / Σw² (Kish 1965)."""
        return float(1 / np.square(self.weights).sum())

    def describe(self) -> str:
        """Describe in one line what is drawn and what is left out."""
        healthy, pathological = len(self.weights), len(self.matched)
        return (
            f"{self.kept} of {healthy} healthy slices lie at the level of a pathological one "
            f"(as good as {self.effective:.0f} drawn equally often); "
            f"{pathological - int(self.matched.sum())} of {pathological} pathological slices have no counterpart"
        )


def slice_heights(head: BoolArray, *, axis: int = -1, upwards: bool = True) -> Heights:
    """Return the height of each slice in the head: 0 at the bottom of its bounding box, 1 at the top.

    The height of a slice is that of its middle. Slices beyond the head have heights below 0 or above 1.

    Args:
        head: ``(x, y, z)`` the head or the brain.
        axis: the axis across the slices.
        upwards: whether the index rises towards the top of the head.

    Raises:
        ValueError: if the mask is empty.
    """
    shown = np.flatnonzero(head.any(axis=tuple(other for other in range(head.ndim) if other != axis % head.ndim)))
    if not shown.size:
        raise ValueError("a head needs at least one voxel")
    low, high = shown[0], shown[-1] + 1
    heights = (np.arange(head.shape[axis]) + 0.5 - low) / (high - low)
    return heights if upwards else 1 - heights


def scan_heights(scan: Scan) -> tuple[int, Heights]:
    """Return the slice axis of a volume and the height of each of its slices, in the order of the file.

    The slice axis is the thickest one, see :func:`~lesionforge.cohort.inspection.measure.slice_axis`. Up is superior by
    the affine, or anterior or right if the slices are not axial. An oblique axis counts as the nearest straight one.
    The head is ``scan.region`` if it has been computed, else the voxels brighter than the background.

    Raises:
        CohortError: if the scan is a slice, whose level is unknown.
    """
    if scan.spatial_dims == 2:
        raise CohortError(scan.case.case_id, "is a slice, whose level in the head is not known", "match volumes")
    codes = "".join(aff2axcodes(scan.affine))
    axis = slice_axis(scan.slicing_spacing, codes)
    head = foreground(scan.image[0]) if scan.region is None or not scan.region.any() else scan.region
    return axis, slice_heights(head, axis=axis, upwards=codes[axis] in "RAS")


def central_slices(heights: ArrayLike, fraction: float) -> BoolArray:
    """Return which slices lie in the middle of the head.

    The "middle 60 axial slices" of Xia et al. (2019) come from volumes of 155 slices of 1 mm: a fraction of about 0.4,
    whatever the slice thickness.

    Args:
        heights: heights of the slices, 0 to 1.
        fraction: fraction of the height of the head, above 0 and at most 1.

    Raises:
        ValueError: if the fraction is out of range.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction is {fraction}, not above 0 and at most 1")
    return np.asarray(np.abs(np.asarray(heights, np.float64) - 0.5) <= fraction / 2)


def match_levels(pathological_heights: ArrayLike, healthy_heights: ArrayLike, bins: int = BINS) -> LevelMatch:
    """Weight healthy slices so that the histogram of their heights equals that of pathological slices.

    Bins that hold only one of the two kinds are left out.

    Args:
        pathological_heights: heights of the slices with a lesion, 0 to 1.
        healthy_heights: heights of the slices without lesion.
        bins: number of equally wide bins between 0 and 1.

    Raises:
        CohortError: if no healthy slice lies in the bin of a pathological one.
    """
    pathological, healthy = (_bin(heights, bins) for heights in (pathological_heights, healthy_heights))
    counts = [np.bincount(found[found >= 0], minlength=bins) for found in (pathological, healthy)]
    common = (counts[0] > 0) & (counts[1] > 0)
    if not common.any():
        what = f"has {len(pathological)} pathological and {len(healthy)} healthy slices, none of them at the same level"
        raise CohortError("the cohort", what, "add healthy scans, or use fewer bins")
    weight_of_bin = np.where(common, counts[0] / np.maximum(counts[1], 1), 0.0)
    weights = np.where(healthy >= 0, weight_of_bin[healthy], 0.0)
    return LevelMatch(weights=weights / weights.sum(), matched=np.where(pathological >= 0, common[pathological], False))


def level_auc(pathological_heights: ArrayLike, healthy_heights: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Return the area under the ROC curve of a classifier of pathological and healthy slices that sees only the level.

    The classifier is a logistic regression on cubic splines of the height. It is tested on the slices that it was
    fitted on, as a critic would see them, so it reaches a little more than 0.5 even if the level says nothing. (Folds
    would be wrong after matching: what one fold has too many of, the others have too few of, and the result falls below
    0.5.)

    Args:
        pathological_heights: heights of the slices with a lesion.
        healthy_heights: heights of the slices without lesion.
        weights: weights of the healthy slices, such as :attr:`LevelMatch.weights`; equal by default.

    Raises:
        CohortError: if there are fewer than two of either kind.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import SplineTransformer

    pathological, healthy = (np.asarray(heights, np.float64) for heights in (pathological_heights, healthy_heights))
    drawn = np.ones(len(healthy)) if weights is None else np.asarray(weights, np.float64)
    healthy, drawn = healthy[drawn > 0], drawn[drawn > 0]
    fewest = min(len(pathological), len(healthy))
    if fewest < 2:
        raise CohortError("the cohort", f"has {fewest} slices of one kind", "compare two slices or more of each kind")
    sample_weight = np.r_[np.full(len(pathological), 1 / len(pathological)), drawn / drawn.sum()]
    truth = np.r_[np.ones(len(pathological)), np.zeros(len(healthy))]
    heights = np.r_[pathological, healthy][:, None]
    model = make_pipeline(SplineTransformer(KNOTS), LogisticRegression(C=1e3, max_iter=1000))
    model.fit(heights, truth, logisticregression__sample_weight=sample_weight * len(truth) / 2)
    return float(roc_auc_score(truth, model.predict_proba(heights)[:, 1], sample_weight=sample_weight))


def describe_levels(levels: Mapping[str, Any]) -> str:
    """Return the content of a ``levels.json`` in one line: what is drawn, and what the level alone still tells."""
    before, after = (levels[name] for name in ("auc", "auc_matched"))
    if before is None:
        return str(levels["what"])
    return f"{levels['what']}; a classifier that sees only the level reaches AUC {before:.2f} before, {after:.2f} after"


def _bin(heights: ArrayLike, bins: int) -> NDArray[np.intp]:
    """Return the bin of each height; −1 beyond the head."""
    array = np.asarray(heights, np.float64)
    found = np.minimum((array * bins).astype(np.intp), bins - 1)
    return np.where((array >= 0) & (array <= 1), found, -1)
