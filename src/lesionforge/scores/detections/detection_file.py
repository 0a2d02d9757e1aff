"""Detections on disk: a CSV per case, with positions in mm in the space of its scan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from nibabel.affines import apply_affine
from numpy.typing import NDArray

from lesionforge.cohort.scan import LabelArray, Scan
from lesionforge.errors import CohortError, ConfigError
from lesionforge.files import write_text
from lesionforge.reading import read_frame

COLUMNS = ("x", "y", "z", "confidence")
DIGITS = 12
"""Significant digits of a confidence: a trained network is so sure of many candidates that fewer would make them equal,
and the FROC curve could no longer tell them apart."""
BEYOND = 1.0
"""Voxels by which a detection may lie beyond the edge of its scan."""


def write_detections(path: Path, places: NDArray[np.floating], confidences: NDArray[np.floating], scan: Scan) -> None:
    """Write the detections of a case, the most certain first.

    ``x``, ``y`` and ``z`` are mm in the space of the scan's affine, ``confidence`` is 0 to 1. For a PNG image, ``x`` is
    the row and ``y`` the column in pixels, and ``z`` is 0.

    Args:
        path: the CSV.
        places: ``(n, dimensions)`` positions in voxels of the scan.
        confidences: ``(n,)``.
        scan: the scan.
    """
    voxels = np.zeros((len(places), 3))
    voxels[:, : scan.spatial_dims] = places
    table = pd.DataFrame(apply_affine(scan.affine, voxels).round(3), columns=list(COLUMNS[:3]))
    table["confidence"] = np.asarray(confidences, np.float64)
    table = table.sort_values(["confidence", "x", "y", "z"], ascending=[False, True, True, True])
    table["confidence"] = [as_text(value) for value in table["confidence"]]
    write_text(path, table.to_csv(index=False))


def as_text(confidence: float) -> str:
    """Return a confidence as it is written in a table."""
    return f"{confidence:.{DIGITS}g}"


def read_detections(path: Path, scan: Scan) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read the detections of a case.

    Args:
        path: the CSV of :func:`write_detections`; further columns are ignored.
        scan: the scan.

    Returns:
        The ``(n, dimensions)`` positions in voxels of the scan, and the ``(n,)`` confidences.

    Raises:
        CohortError: if a column is missing, a value is no number, or a detection lies outside the scan.
    """
    try:
        table = read_frame(path)[list(COLUMNS)].astype(np.float64)
    except (ConfigError, KeyError, ValueError) as error:
        raise CohortError(path, f"is no table with {', '.join(COLUMNS)}", "give a row for each detection") from error
    if not np.isfinite(table.to_numpy()).all():
        raise CohortError(path, "has a position or a confidence that is not finite", "correct or remove this row")
    voxels = apply_affine(np.linalg.inv(scan.affine), table[list(COLUMNS[:3])].to_numpy())
    places = voxels[:, : scan.spatial_dims]
    beyond = (places < -BEYOND).any(1) | (places > np.array(scan.spatial_shape) - 1 + BEYOND).any(1)
    if beyond.any():
        row = table[beyond].iloc[0]
        where = ", ".join(f"{row[axis]:g}" for axis in COLUMNS[:3])
        what = f"has {np.count_nonzero(beyond)} detections outside the scan, such as ({where})"
        raise CohortError(path, what, "give mm in the scan's own space, x to the right, y to the front, z upwards")
    return places, table["confidence"].to_numpy()


def detection_map(
    places: NDArray[np.floating], shape: Sequence[int], spacing: Sequence[float], *, radius_mm: float
) -> LabelArray:
    """Return a label map with a ball of 1 around each detection, at least the voxel that it lies in.

    Args:
        places: ``(n, dimensions)`` positions in voxels.
        shape: size of the map.
        spacing: mm along each axis.
        radius_mm: radius of the balls.
    """
    found = np.zeros(shape, np.int16)
    for place in places:
        reach = np.ceil(radius_mm / np.asarray(spacing))
        low = np.clip(np.floor(place - reach), 0, np.array(shape) - 1).astype(int)
        high = np.clip(np.ceil(place + reach), 0, np.array(shape) - 1).astype(int) + 1
        grid = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"), -1)
        near = np.linalg.norm((grid - place) * spacing, axis=-1) <= radius_mm
        found[tuple(slice(a, b) for a, b in zip(low, high, strict=True))][near] = 1
        found[tuple(np.clip(np.rint(place), 0, np.array(shape) - 1).astype(int))] = 1
    return found
