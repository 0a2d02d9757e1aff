"""The first stage of detection: candidates, which are the centres of round spots in the brain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesionforge.cohort.scan import BoolArray, FloatArray
from lesionforge.kept import Arrays, kept
from lesionforge.preprocessing.brain.brain_mask import brain_region
from lesionforge.preprocessing.pipeline import Preprocessing, Sample
from lesionforge.scores.detections.hits import Hits, find_hits
from lesionforge.tasks.detection.detection_config import DetectionConfig
from lesionforge.tasks.detection.radial_symmetry import local_maxima, radial_symmetry

SEARCHING = {"spatial_dims", "radii_mm", "polarity", "strictness", "least_gradient", "search_mm", "apart_mm"}
"""Options that all candidates of an image depend on, before any is left out."""


@dataclass(frozen=True)
class Candidates:
    """Candidates of one sample, the strongest first.

    Attributes:
        places: ``(n, dimensions)`` voxels.
        responses: ``(n,)`` radial symmetry at these voxels.
    """

    places: NDArray[np.intp]
    responses: NDArray[np.float32]

    def at_least(self, response: float, *, at_most: int) -> Candidates:
        """Return the candidates with at least this response, and no more than ``at_most``."""
        kept = slice(min(at_most, int(np.count_nonzero(self.responses >= response))))
        return Candidates(self.places[kept], self.responses[kept])


def find_candidates(sample: Sample, preprocessing: Preprocessing, config: DetectionConfig) -> Candidates:
    """Return all local maxima of radial symmetry in and near the brain, or in the whole image if no brain is found.

    With ``spatial_dims=2``, a volume is searched slice by slice.

    Args:
        sample: the sample, in model space; its label is not read.
        preprocessing: preprocessing of the sample.
        config: channel, radii, polarity and thresholds.
    """
    number = config.channel_number(preprocessing.channels)
    image = sample.relative_to_tissue(sample.image, preprocessing.output)[number]
    inputs = (image, sample.spacing, config.model_dump(include=SEARCHING))
    found = kept("candidates", inputs, lambda: _search(image, sample.spacing, config))
    return Candidates(found["places"].astype(np.intp), found["responses"])


def _search(image: FloatArray, spacing: Sequence[float], config: DetectionConfig) -> Arrays:
    """Return the places and the responses of all candidates of an image ``(x, y[, z])``."""
    searched = _near(brain_region(image, spacing), spacing, config.search_mm)
    box, start = _box_around(searched, [math.ceil(2 * max(config.radii_mm) / mm) for mm in spacing])
    response = _response(image[box], spacing, config)
    places = local_maxima(response, spacing, apart_mm=config.apart_mm, inside=searched[box])
    return {"places": (places + start).astype(np.int32), "responses": response[tuple(places.T)]}


def _near(brain: BoolArray, spacing: Sequence[float], distance_mm: float) -> BoolArray:
    """Return the voxels up to a distance from the brain; all voxels if there is no brain."""
    if not brain.any():
        return np.ones(brain.shape, bool)
    near = np.zeros(brain.shape, bool)
    box, _ = _box_around(brain, [math.ceil(distance_mm / mm) for mm in spacing])
    near[box] = ndimage.distance_transform_edt(~brain[box], sampling=spacing) <= distance_mm
    return near


def least_response(found: Sequence[Hits], sensitivity: float) -> float:
    """Return the largest response that keeps this share of the lesions among the candidates.

    Args:
        found: what all candidates of each training case hit, with their responses as confidences.
        sensitivity: share of the lesions, 0 to 1; if fewer are candidates at all, every candidate is kept.
    """
    best = np.sort(np.concatenate([hits.of_lesions for hits in found]))[::-1]
    last = float(best[max(1, math.ceil(sensitivity * len(best))) - 1])
    return last if math.isfinite(last) else 0.0


def hits_of(candidates: Candidates, truth: BoolArray, spacing: Sequence[float], tolerance_mm: float) -> Hits:
    """Return what candidates hit, with their responses as confidences."""
    return find_hits(candidates.places, candidates.responses, truth, spacing, tolerance_mm=tolerance_mm)


def _response(image: FloatArray, spacing: Sequence[float], config: DetectionConfig) -> NDArray[np.float32]:
    """Return the radial symmetry of a volume or slice; of a volume slice by slice if the task is 2D."""
    if image.ndim > config.spatial_dims:
        slices = [_response(image[..., z], spacing[:2], config) for z in range(image.shape[-1])]
        return np.stack(slices, axis=-1)
    return radial_symmetry(
        image,
        spacing,
        radii_mm=config.radii_mm,
        polarity=config.polarity,
        strictness=config.strictness,
        least_gradient=config.least_gradient,
    )


def _box_around(mask: BoolArray, margin: Sequence[int]) -> tuple[tuple[slice, ...], NDArray[np.intp]]:
    """Return the bounding box of a mask with a margin in voxels, and its first voxel."""
    voxels = np.argwhere(mask)
    low = np.maximum(voxels.min(0) - margin, 0)
    high = np.minimum(voxels.max(0) + 1 + margin, mask.shape)
    return tuple(slice(a, b) for a, b in zip(low, high, strict=True)), low
