"""Comparison of drawn lesion masks with held-out real masks, and detection of copies of training masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage, stats
from skimage.measure import marching_cubes, mesh_surface_area

from lesionforge.cohort.scan import BoolArray, LabelArray

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
    measures = {
        name: shape_measures(masks, spacing)
        for name, masks in {"drawn": drawn, "held_out": held_out, "real": training}.items()
    }
    truth = measures["held_out"]
    rows = []
    for name in ("volume_ml", "components", "sphericity"):
        values = {part: measures[part][name].dropna().to_numpy(float) for part in ("drawn", "real")}
        reference = truth[name].dropna().to_numpy(float)
        for score, distance in (("ks", _ks), ("wasserstein", _wasserstein)):
            rows.append((f"{name}_{score}", *(distance(v, reference) for v in values.values()), "lower"))
        rows.append((f"{name}_median", *(_median(v) for v in values.values()), "as real"))
    maps = {name: (masks > 0).mean(0).ravel() for name, masks in {"drawn": drawn, "real": training}.items()}
    where = (held_out > 0).mean(0).ravel()
    rows.append(("location_correlation", *(_correlation(m, where) for m in maps.values()), "higher"))
    rows.append(("empty", *(float(np.mean(~(m > 0).any((1, 2, 3)))) for m in (drawn, training)), "lower"))
    nearest = {"drawn": nearest_dice(drawn, training), "real": nearest_dice(held_out, training)}
    rows.append(("nearest_training_dice_median", *(_median(v) for v in nearest.values()), "as real"))
    limit = np.quantile(nearest["real"], 1 - COPIES_BY_CHANCE)
    rows.append(("copies", *(float(np.mean(v > limit)) for v in nearest.values()), "lower"))
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
