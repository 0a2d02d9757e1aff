"""Views of a cohort that scores compare: slices, crops around lesions, intensities and sharpness."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.scan import FloatArray, LabelArray, load_scan
from lesionforge.errors import CohortError
from lesionforge.preprocessing.crops import Crop
from lesionforge.preprocessing.lesions.lesion_intensity import measure, relative, surroundings
from lesionforge.preprocessing.pipeline import Preprocessing, Sample
from lesionforge.scores.cohorts.channel_fit import ChannelVoxels
from lesionforge.scores.drawn_images.sharpness import scan_sharpness
from lesionforge.seeding import generator

HEIGHTS = (0.35, 0.45, 0.55, 0.65)
SIDE, LESION_SIDE, MARGIN_MM, SAMPLED = 128, 48, 2.0, 2000


@dataclass
class Views:
    """Images and intensities of a cohort that scores compare.

    Attributes:
        whole: slices at the same relative heights of every volume, so that corresponding brain levels are compared.
        whole_of: subject of each slice.
        lesions: crop around the lesion of every case, in the slice where it is largest.
        lesions_of: subject of each crop.
        contrast: mean intensity of each lesion as a multiple of that around it, in the same slice and the first
            channel.
        inside: intensities within lesions.
        outside: intensities of the head outside lesions.
        coherence: mean correlation of neighbouring slices of each volume, in the first channel.
        channels: voxels of each case, in which its channels are compared; empty if there is only one channel.
        sharpness: sharpness of each case, from :func:`~lesionforge.scores.drawn_images.sharpness.scan_sharpness`.
        problems: errors of unreadable cases.
    """

    whole: list[FloatArray] = field(default_factory=list)
    whole_of: list[str] = field(default_factory=list)
    lesions: list[FloatArray] = field(default_factory=list)
    lesions_of: list[str] = field(default_factory=list)
    contrast: list[float] = field(default_factory=list)
    inside: list[FloatArray] = field(default_factory=list)
    outside: list[FloatArray] = field(default_factory=list)
    coherence: list[float] = field(default_factory=list)
    channels: list[ChannelVoxels] = field(default_factory=list)
    sharpness: list[dict[str, float]] = field(default_factory=list)
    problems: list[CohortError] = field(default_factory=list)


def look(cohort: Cohort, preprocessing: Preprocessing) -> Views:
    """Return the views of a cohort, in the spacing and intensities of ``preprocessing``."""
    views = Views()
    for case in cohort:
        try:
            scan = load_scan(case, preprocessing.channels)
            sample = preprocessing.forward(scan)
        except CohortError as problem:
            views.problems.append(problem)
            continue
        views.sharpness.append(scan_sharpness(scan))
        if len(preprocessing.channels) > 1:
            views.channels.append(ChannelVoxels.of(sample, case.ancestry))
        image = sample.relative_to_tissue(sample.image, preprocessing.output)
        for plane in _planes(image):
            views.whole.append(_square(plane, SIDE))
            views.whole_of.append(case.subject_id)
        if image.ndim == 4:
            views.coherence.append(_coherence(image[0]))
        _look_at_lesion(views, sample, image)
    return views


def _look_at_lesion(views: Views, sample: Sample, image: FloatArray) -> None:
    assert sample.label is not None
    inside, outside = sample_intensities(sample, image, sample.label)
    views.inside.append(inside)
    views.outside.append(outside)
    if not sample.label.any():
        return
    label = sample.label
    if label.ndim == 3:
        z = int(np.argmax((label > 0).sum((0, 1))))
        image, label = image[..., z], label[..., z]
    spacing = sample.spacing[:2]
    around = surroundings(image, label, spacing, margin_mm=MARGIN_MM)
    views.contrast.append(float(np.nanmean(relative(measure(image, np.minimum(label, 1), [1]), around)[:, 0])))
    centre = [float(points.mean()) for points in np.nonzero(label)]
    size = (LESION_SIDE, LESION_SIDE)
    views.lesions.append(Crop.around(centre, size, label.shape).cut(image, fill=-1))
    views.lesions_of.append(sample.subject_id)


def sample_intensities(sample: Sample, image: FloatArray, lesion: LabelArray) -> tuple[FloatArray, FloatArray]:
    """Return random intensities of the first channel, within a lesion and in the head outside all lesions.

    Args:
        sample: sample with all its lesions annotated.
        image: ``(channel, x, y[, z])`` image of the sample, relative to tissue.
        lesion: ``(x, y[, z])``, the sample's label or a part of it.

    Returns:
        Intensities inside and outside, at most 2000 each.
    """
    assert sample.label is not None
    rng = generator(0, "intensities", sample.case_id)
    places = (lesion > 0, (image[0] > -0.9) & (sample.label == 0))
    inside, outside = (
        rng.choice(values, min(len(values), SAMPLED), replace=False) if len(values) else values
        for values in (image[0][where] for where in places)
    )
    return inside, outside


def _planes(image: FloatArray) -> list[FloatArray]:
    if image.ndim == 3:
        return [image]
    depth = image.shape[-1]
    return [image[..., min(depth - 1, int(height * depth))] for height in HEIGHTS]


def _square(plane: FloatArray, side: int) -> FloatArray:
    """Return the central ``side`` × ``side`` pixels of a slice, padded with background."""
    middle = [n / 2 for n in plane.shape[1:]]
    cut = Crop.around(middle, (side, side), plane.shape[1:]).cut(plane, fill=-1)
    missing = [max(0, side - n) // 2 for n in plane.shape[1:]]
    return np.roll(cut, missing, axis=(1, 2))


def _coherence(volume: FloatArray) -> float:
    """Return the mean correlation of neighbouring slices, without empty slices."""
    flat = np.moveaxis(volume, -1, 0).reshape(volume.shape[-1], -1)
    flat = flat[flat.std(1) > 1e-3]
    pairs = [np.corrcoef(a, b)[0, 1] for a, b in pairwise(flat)]
    return float(np.mean(pairs)) if pairs else np.nan
