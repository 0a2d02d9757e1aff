"""Blending of a drawn image with the scan that it was drawn into."""

from __future__ import annotations

from typing import Literal

from lesionforge.cohort.scan import FloatArray, LabelArray
from lesionforge.preprocessing.lesions.margin import hole_around
from lesionforge.preprocessing.pipeline import Sample

Blend = Literal["lesion", "full"]
ACROSS_SLICES = 1e6


def in_plane_spacing(spacing: tuple[float, ...], spatial_dims: int) -> tuple[float, ...]:
    """Return a spacing with such a large slice distance that a 2D margin stays within its slice."""
    return (*spacing[:spatial_dims], *(ACROSS_SLICES for _ in spacing[spatial_dims:]))


def blend_lesion(
    sample: Sample, drawn: FloatArray, mask: LabelArray, *, margin_mm: float, spatial_dims: int
) -> FloatArray:
    """Return ``drawn`` on the mask, the sample outside the margin, and a linear blend in between.

    Args:
        sample: the sample that was drawn into.
        drawn: ``(channel, x, y[, z])`` drawn image.
        mask: ``(x, y[, z])`` lesion mask.
        margin_mm: width of the transition in mm.
        spatial_dims: dimensions of the model; the margin of a 2D model stays within the slice.
    """
    _, weight = hole_around(mask, margin_mm, in_plane_spacing(sample.spacing, spatial_dims))
    return sample.image + weight * (drawn - sample.image)
