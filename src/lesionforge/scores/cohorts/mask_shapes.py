"""Comparison of drawn lesion masks with held-out real masks, and detection of copies of training masks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage, stats
from skimage.measure import marching_cubes, mesh_surface_area

from lesionforge.cohort.scan import BoolArray, LabelArray
from lesionforge.scores.score import Better, Score, by_name

Values = NDArray[np.float64]
Pair = tuple[Values, Values]
Two = tuple[float, float]
"""Value of a score for drawn masks, and the same value for real ones."""
COPIES_BY_CHANCE, COPIES_TOLERATED = 0.05, 0.2


def shape_measures(masks: LabelArray, spacing: Sequence[float]) -> pd.DataFrame:
    """Return a row per mask: ``volume_ml``, ``components``, and ``sphericity`` of the largest component.

    Args:
        masks: ``(n, x, y, z)``; the sphericity of an empty mask is NaN.
        spacing: mm along x, y and z.
    """
    return pd.DataFrame([_measure(mask > 0, spacing) for mask in masks])


def nearest_dice(masks: LabelArray, among: LabelArray) -> NDArray[np.float64]:
    """Return the Dice of each ``(n, x, y, z)`` mask with the most similar mask of ``among``."""
    flat, others = ((part > 0).reshape(len(part), -1).astype(np.float32) for part in (masks, among))
    dice = 2 * (flat @ others.T) / np.maximum(flat.sum(1)[:, None] + others.sum(1), 1)
    return np.asarray(dice.max(1), np.float64)


@dataclass(frozen=True, kw_only=True)
class MaskSets:
    """Drawn masks with the real masks that they are compared with, each ``(n, x, y, z)``.

    Attributes:
        drawn: drawn masks.
        held_out: real masks that the generator was not trained on.
        training: real masks that it was trained on.
        spacing: mm along x, y and z.
    """

    drawn: LabelArray
    held_out: LabelArray
    training: LabelArray
    spacing: Sequence[float]

    @cached_property
    def measures(self) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """The :func:`shape_measures` of the drawn, the training and the held-out masks."""
        drawn, training, held_out = (
            shape_measures(masks, self.spacing) for masks in (self.drawn, self.training, self.held_out)
        )
        return drawn, training, held_out

    @cached_property
    def nearest(self) -> Pair:
        """The :func:`nearest_dice` of drawn and of held-out masks among the training masks."""
        return nearest_dice(self.drawn, self.training), nearest_dice(self.held_out, self.training)


def compare_masks(
    drawn: LabelArray, held_out: LabelArray, training: LabelArray, *, spacing: Sequence[float]
) -> pd.DataFrame:
    """Compare drawn masks with real masks that the generator was not trained on.

    The same comparison for the training masks, which are real, shows the best value to expect.

    Args:
        drawn: drawn masks, ``(n, x, y, z)``.
        held_out: real masks that the generator was not trained on.
        training: real masks that it was trained on.
        spacing: mm along x, y and z.

    Returns:
        A row per score with the columns ``score``, ``drawn``, ``real``, ``better`` (lower, higher or as real).
    """
    sets = MaskSets(drawn=drawn, held_out=held_out, training=training, spacing=spacing)
    rows = [(score.name, *score(sets), score.better) for score in MASK_SCORES.values()]
    return pd.DataFrame(rows, columns=["score", "drawn", "real", "better"])


def replays(scores: pd.DataFrame) -> bool:
    """Return whether the drawn masks are copies of training masks.

    They are if more than a fifth of them are closer to a training mask than 95 % of the held-out real masks are.
    """
    (copies,) = scores.loc[scores["score"] == "copies", "drawn"]
    return bool(copies > COPIES_TOLERATED)


def _measure(lesion: BoolArray, spacing: Sequence[float]) -> dict[str, float]:
    voxel = float(np.prod(spacing)) / 1000
    parts, count = ndimage.label(lesion, np.ones((3, 3, 3)))
    sphericity = np.nan
    if count:
        largest = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
        sphericity = _sphericity(largest, spacing)
    return {"volume_ml": float(lesion.sum()) * voxel, "components": float(count), "sphericity": sphericity}


def _sphericity(part: BoolArray, spacing: Sequence[float]) -> float:
    """Return the surface of a ball of the same volume over the surface of the part: π^⅓ (6V)^⅔ / A (Wadell 1935)."""
    (box,) = ndimage.find_objects(part.astype(np.int8))
    padded = np.pad(part[box], 1).astype(np.float32)
    vertices, faces, _, _ = marching_cubes(padded, 0.5, spacing=tuple(spacing))
    corners = vertices[faces]
    volume = abs(np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum()) / 6
    return float(np.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / mesh_surface_area(vertices, faces))


def _ks(values: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    return float(stats.ks_2samp(values, reference).statistic) if values.size and reference.size else np.nan


def _wasserstein(values: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    return float(stats.wasserstein_distance(values, reference)) if values.size and reference.size else np.nan


def _median(values: NDArray[np.float64]) -> float:
    return float(np.median(values)) if values.size else np.nan


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    return float(np.corrcoef(first, second)[0, 1]) if first.std() > 0 and second.std() > 0 else np.nan


def _distances(sets: MaskSets, measure: str, distance: Callable[[Values, Values], float]) -> Two:
    drawn, training, held_out = (table[measure].dropna().to_numpy(float) for table in sets.measures)
    return distance(drawn, held_out), distance(training, held_out)


def _medians(sets: MaskSets, measure: str) -> Two:
    drawn, training, _ = (table[measure].dropna().to_numpy(float) for table in sets.measures)
    return _median(drawn), _median(training)


def _places(sets: MaskSets) -> Two:
    drawn, training, held_out = ((m > 0).mean(0).ravel() for m in (sets.drawn, sets.training, sets.held_out))
    return _correlation(drawn, held_out), _correlation(training, held_out)


def _empty(sets: MaskSets) -> Two:
    drawn, training = (float(np.mean(~(masks > 0).any((1, 2, 3)))) for masks in (sets.drawn, sets.training))
    return drawn, training


def _nearest_medians(sets: MaskSets) -> Two:
    drawn, held_out = sets.nearest
    return _median(drawn), _median(held_out)


def _copies(sets: MaskSets) -> Two:
    drawn, held_out = sets.nearest
    limit = np.quantile(held_out, 1 - COPIES_BY_CHANCE)
    return float(np.mean(drawn > limit)), float(np.mean(held_out > limit))


def _score(
    name: str,
    better: Better,
    description: str,
    function: Callable[[MaskSets], Two],
    *,
    unit: str = "",
    reach: tuple[float, float] = (0.0, 1.0),
) -> Score[MaskSets]:
    return Score(
        name=name,
        title=name,
        unit=unit,
        better=better,
        level="cohort",
        range=reach,
        description=description,
        function=function,
    )


def _of_shape(measure: str, what: str, unit: str, reach: tuple[float, float]) -> list[Score[MaskSets]]:
    """Return the distances of a measure from that of held-out masks, and its median."""
    ks, wasserstein = (partial(_distances, measure=measure, distance=distance) for distance in (_ks, _wasserstein))
    return [
        _score(f"{measure}_ks", "lower", f"Kolmogorov–Smirnov distance of {what} from held-out masks", ks),
        _score(
            f"{measure}_wasserstein",
            "lower",
            f"Wasserstein distance of {what} from held-out masks",
            wasserstein,
            unit=unit,
            reach=(0, math.inf),
        ),
        _score(
            f"{measure}_median",
            "as real",
            f"median of {what}",
            partial(_medians, measure=measure),
            unit=unit,
            reach=reach,
        ),
    ]


MASK_SCORES = by_name(
    *_of_shape("volume_ml", "the volume", "ml", (0, math.inf)),
    *_of_shape("components", "the number of components", "", (0, math.inf)),
    *_of_shape("sphericity", "the sphericity of the largest component", "", (0, 1)),
    _score(
        "location_correlation",
        "higher",
        "correlation of how often each voxel is lesion with held-out masks",
        _places,
        reach=(-1, 1),
    ),
    _score("empty", "lower", "share of masks without a voxel", _empty),
    _score(
        "nearest_training_dice_median", "as real", "median Dice with the most similar training mask", _nearest_medians
    ),
    _score(
        "copies",
        "lower",
        "share of masks closer to a training mask than 95 % of held-out masks are",
        _copies,
    ),
)
"""Scores of drawn masks against real ones; real: the training masks, or, for copies, the held-out masks."""
