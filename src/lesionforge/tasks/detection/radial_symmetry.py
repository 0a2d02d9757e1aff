"""The fast radial symmetry transform, which finds the centres of round dark or bright spots.

Source: Loy and Zelinsky, "Fast radial symmetry for detecting points of interest", IEEE PAMI 25(8):959-973, 2003.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesionforge.cohort.scan import BoolArray, FloatArray
from lesionforge.errors import ConfigError

Polarity = Literal["dark", "bright", "both"]
Scale = Literal["published", "largest"]
PUBLISHED_VOTES = (8.0, 9.9)
"""Numbers of votes ``k_n`` that count as a full circle: for a radius of one pixel, and for larger ones (2D)."""
AT_ONCE = 2**20
"""Voxels whose votes are counted at once, which bounds the memory."""


def radial_symmetry(
    image: FloatArray,
    spacing: Sequence[float],
    *,
    radii_mm: Sequence[float],
    polarity: Polarity = "dark",
    strictness: float = 2.0,
    least_gradient: float = 0.0,
    scale: Scale | None = None,
) -> NDArray[np.float32]:
    """Return how strongly each voxel is the centre of a round spot, the mean over radii.

    Every voxel with a gradient votes for the two points that lie one radius along its gradient and against it: the
    point that it would be the edge of if the spot were bright, and if it were dark. Distances are in mm, so anisotropic
    voxels need no resampling.

    Args:
        image: ``(x, y[, z])`` intensities.
        spacing: mm along each axis.
        radii_mm: radii of the spots in mm; one below half of the smallest spacing moves no vote.
        polarity: spots to find. The response to ``"both"`` is positive for bright and negative for dark spots.
        strictness: exponent α of the orientation votes; 1 accepts elongated spots, 3 only round ones.
        least_gradient: share of the largest gradient below which a voxel does not vote, 0 to 1.
        scale: what a full circle of votes is: the ``"published"`` constants, which hold in 2D, or the ``"largest"``
            number of votes in the image; by default published in 2D, largest in 3D, for which no constants are known.

    Returns:
        The response, same shape as ``image``; for ``"dark"`` and ``"bright"`` it is 0 or more.

    Raises:
        ConfigError: if there is no radius, a radius is not positive, or ``spacing`` does not fit the image.
    """
    if not radii_mm or min(radii_mm) <= 0:
        raise ConfigError("radii_mm", f"{list(radii_mm)} are no radii", "give radii above 0 mm")
    if len(spacing) != image.ndim or min(spacing) <= 0:
        what = f"{tuple(spacing)} does not fit an image of shape {image.shape}"
        raise ConfigError("spacing", what, "give mm along each axis")
    values = image.astype(np.float32)
    gradient = np.stack([_slope(values, mm, axis) for axis, mm in enumerate(spacing)])
    strength = np.sqrt(np.square(gradient).sum(0))
    votes = (strength > least_gradient * strength.max()) & (strength > 0)
    places, weights = np.argwhere(votes).astype(np.int16).T, strength[votes]
    towards = gradient[:, votes] / weights / np.asarray(spacing, np.float32)[:, None]
    del gradient, strength, votes
    response = np.zeros(image.shape, np.float64)
    for radius in radii_mm:
        counts, magnitudes = _vote(places, towards, weights, radius, image.shape, polarity)
        full = _full_circle(counts, radius / min(spacing), scale or ("published" if image.ndim == 2 else "largest"))
        clipped = np.clip(counts, -full, full)
        of_radius = magnitudes / full * (np.abs(clipped) / full) ** strictness
        sigma = [0.25 * radius / mm for mm in spacing]
        response += radius / min(spacing) * ndimage.gaussian_filter(of_radius, sigma, truncate=2.0)
    return (response / len(radii_mm)).astype(np.float32)


def _slope(values: FloatArray, mm: float, axis: int) -> FloatArray:
    """Return the gradient along an axis, per mm; 0 along an axis of one voxel, as of a volume of one slice."""
    return np.zeros_like(values) if values.shape[axis] == 1 else np.asarray(np.gradient(values, mm, axis=axis))


def _vote(
    places: NDArray[np.int16],
    towards: NDArray[np.float32],
    weights: NDArray[np.float32],
    radius: float,
    shape: tuple[int, ...],
    polarity: Polarity,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the orientation and the magnitude votes of each voxel; votes beyond the image are lost."""
    counts, magnitudes = np.zeros(math.prod(shape)), np.zeros(math.prod(shape))
    ways = {"bright": ((1, 1),), "dark": ((-1, 1),), "both": ((1, 1), (-1, -1))}[polarity]
    for start in range(0, len(weights), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        shifts = np.rint(towards[:, part] * np.float32(radius)).astype(np.int16)
        for way, sign in ways:
            at = places[:, part] + np.int16(way) * shifts
            inside = np.all([(where >= 0) & (where < size) for where, size in zip(at, shape, strict=True)], axis=0)
            voxels = np.ravel_multi_index(tuple(at[:, inside]), shape)
            counts += sign * np.bincount(voxels, minlength=counts.size)
            magnitudes += sign * np.bincount(voxels, weights[part][inside], minlength=counts.size)
    return counts.reshape(shape), magnitudes.reshape(shape)


def _full_circle(counts: NDArray[np.float64], radius: float, scale: Scale) -> float:
    """Return the number of votes that counts as a full circle, for a radius in voxels."""
    if scale == "largest":
        return max(float(np.abs(counts).max()), 1.0)
    small, large = PUBLISHED_VOTES
    return small if round(radius) <= 1 else large


def local_maxima(
    response: NDArray[np.float32], spacing: Sequence[float], *, apart_mm: float, inside: BoolArray | None = None
) -> NDArray[np.intp]:
    """Return the voxels whose response is the largest within a distance, strongest first.

    Args:
        response: ``(x, y[, z])`` response of :func:`radial_symmetry`.
        spacing: mm along each axis.
        apart_mm: radius in mm of the neighbourhood of which a maximum is the largest value.
        inside: voxels that may be maxima, such as those of the brain.

    Returns:
        ``(n, dimensions)`` indices; of equal neighbours, which are rare, all but the first are left out.
    """
    reach = [max(1, math.floor(apart_mm / mm)) for mm in spacing]
    offsets = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"))
    near = np.square(offsets * np.reshape(spacing, (-1, *[1] * len(reach)))).sum(0) <= max(apart_mm, min(spacing)) ** 2
    peaks = (response > 0) & (response == ndimage.maximum_filter(response, footprint=near))
    if inside is not None:
        peaks &= inside
    at = np.argwhere(peaks)
    at = at[np.argsort(-response[tuple(at.T)], kind="stable")]
    strength = -response[tuple(at.T)]
    kept = np.ones(len(at), bool)
    for tie in np.flatnonzero(strength[1:] == strength[:-1]) + 1:
        first = int(np.searchsorted(strength, strength[tie]))
        others = at[first:tie][kept[first:tie]]
        kept[tie] = (np.square((others - at[tie]) * spacing).sum(1) > apart_mm**2).all()
    return at[kept]
