"""How like real cases a synthetic cohort is, each number beside the same one between real cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.inspection.fingerprint import Fingerprint, fingerprint
from lesionforge.cohort.scan import FloatArray, LabelArray, load_scan
from lesionforge.errors import CohortError
from lesionforge.preprocessing.crops import Crop
from lesionforge.preprocessing.lesions.lesion_intensity import measure, relative, surroundings
from lesionforge.preprocessing.pipeline import Preprocessing, Sample
from lesionforge.scores.cohorts.features import against_real, describe_images
from lesionforge.scores.drawn_images.sharpness import SHARPNESS, scan_sharpness
from lesionforge.seeding import generator
from lesionforge.training.loop import Device

HEIGHTS = (0.35, 0.45, 0.55, 0.65)
SIDE, LESION_SIDE, MARGIN_MM, FEWEST = 128, 48, 2.0, 8
PAIRS, SAMPLED = 60, 2000
BETAS = (0.3, 0.3, 0.4)


@dataclass
class Views:
    """What is looked at in a cohort.

    Attributes:
        whole: slices at the same relative heights in every volume, so that levels of the brain are matched.
        whole_of: subject of each.
        lesions: crops around the lesion of every case, where it is largest.
        lesions_of: subject of each.
        contrast: mean intensity of each lesion as a multiple of its surroundings'.
        inside: intensities within lesions.
        outside: intensities of the head beside them.
        coherence: for each volume, the mean correlation of neighbouring slices.
        sharpness: of each case, by :func:`~lesionforge.scores.drawn_images.sharpness.scan_sharpness`.
        problems: the errors of cases that cannot be read.
    """

    whole: list[FloatArray] = field(default_factory=list)
    whole_of: list[str] = field(default_factory=list)
    lesions: list[FloatArray] = field(default_factory=list)
    lesions_of: list[str] = field(default_factory=list)
    contrast: list[float] = field(default_factory=list)
    inside: list[FloatArray] = field(default_factory=list)
    outside: list[FloatArray] = field(default_factory=list)
    coherence: list[float] = field(default_factory=list)
    sharpness: list[dict[str, float]] = field(default_factory=list)
    problems: list[CohortError] = field(default_factory=list)


def fidelity(
    drawn: Cohort,
    against: Cohort,
    *,
    channels: tuple[str, ...] | None = None,
    seed: int = 0,
    device: Device = "cpu",
) -> pd.DataFrame:
    """Compare a synthetic cohort with real cases, best of subjects that are not behind it.

    Args:
        drawn: the synthetic cohort.
        against: real cases, at least eight with a lesion, of two subjects or more.
        channels: image channels; all of ``drawn`` unless given.
        seed: of the sets that distances are taken between.
        device: where the features of images are computed.

    Returns:
        a row per score: ``score``, ``drawn``, ``real`` (the same between or within real cases), ``better``
        (``lower``: towards 0; ``as real``), ``description``.

    Raises:
        CohortError: if there are too few cases to compare.
    """
    channels = channels or drawn.channels
    cohorts = [cohort.having(channels).with_channels(channels).annotated() for cohort in (drawn, against)]
    facts = [fingerprint(cohort, channels) for cohort in cohorts]
    for cohort, fact in zip(cohorts, facts, strict=True):
        if sum(bool(case.lesions) for case in fact.cases) < FEWEST:
            raise CohortError(cohort.name, f"has fewer than {FEWEST} cases with lesions", "compare larger cohorts")
    if len(cohorts[1].subjects) < 2:
        raise CohortError(against.name, "has one subject only", "compare with cases of several subjects")
    preprocessing = Preprocessing.fit(facts[1], spatial_dims=2)
    ours, theirs = (_look(cohort, preprocessing) for cohort in cohorts)
    rng = generator(seed, "fidelity")
    rows = [*_images(ours, theirs, rng, device), *_intensities(ours, theirs, rng)]
    rows += [*_lesions(facts[0], facts[1], rng), *_variety(ours, theirs, rng)]
    rows += [*_sharpness(ours, theirs), *_pairs(cohorts[0], cohorts[1], channels)]
    return pd.DataFrame(rows, columns=["score", "drawn", "real", "better", "description"])


def _look(cohort: Cohort, preprocessing: Preprocessing) -> Views:
    views = Views()
    for case in cohort:
        try:
            scan = load_scan(case, preprocessing.channels)
            sample = preprocessing.forward(scan)
        except CohortError as problem:
            views.problems.append(problem)
            continue
        views.sharpness.append(scan_sharpness(scan))
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
    """Return random intensities of the first channel: within a lesion, and of the head beside all lesions.

    Args:
        sample: whose lesions, all of them, are known.
        image: ``(channel, x, y[, z])`` of the sample, relative to tissue.
        lesion: ``(x, y[, z])``, the sample's label or a part of it.
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
    """Return the middle of a slice, as large as ``side``, filled up with background."""
    middle = [n / 2 for n in plane.shape[1:]]
    cut = Crop.around(middle, (side, side), plane.shape[1:]).cut(plane, fill=-1)
    missing = [max(0, side - n) // 2 for n in plane.shape[1:]]
    return np.roll(cut, missing, axis=(1, 2))


def _coherence(volume: FloatArray) -> float:
    """Return the mean correlation of neighbouring slices, over the slices that show something."""
    flat = np.moveaxis(volume, -1, 0).reshape(volume.shape[-1], -1)
    flat = flat[flat.std(1) > 1e-3]
    pairs = [np.corrcoef(a, b)[0, 1] for a, b in pairwise(flat)]
    return float(np.mean(pairs)) if pairs else np.nan


def _images(drawn: Views, real: Views, rng: np.random.Generator, device: Device) -> list[tuple[Any, ...]]:
    rows = []
    kinds = {
        "slices": (drawn.whole, real.whole, real.whole_of),
        "lesions": (drawn.lesions, real.lesions, real.lesions_of),
    }
    for kind, (ours, theirs, subjects) in kinds.items():
        found, expected = (describe_images(np.stack(images), device=device) for images in (ours, theirs))
        for name, pair in against_real(found, expected, subjects, rng).items():
            text = f"{name.upper()} of {kind}, by fixed random features; real: between halves of the real subjects"
            rows.append((f"{name}_{kind}", *pair, "lower", text))
    return rows


def _intensities(drawn: Views, real: Views, rng: np.random.Generator) -> list[tuple[Any, ...]]:
    rows = []
    for where in ("inside", "outside"):
        ours, theirs = getattr(drawn, where), getattr(real, where)
        order = rng.permutation(len(theirs))
        halves = [np.concatenate([theirs[i] for i in part]) for part in (order[::2], order[1::2])]
        pair = [
            float(stats.wasserstein_distance(np.concatenate(a), b))
            for a, b in ((ours, np.concatenate(theirs)), ([halves[0]], halves[1]))
        ]
        text = f"Wasserstein distance of intensities {where} lesions, relative to tissue; real: between two halves"
        rows.append((f"intensity_{where}", *pair, "lower", text))
    medians = [float(np.median(views.contrast)) for views in (drawn, real)]
    rows.append(("lesion_contrast", *medians, "as real", "median intensity of lesions over that of their surroundings"))
    rows.append(_ks("lesion_contrast_ks", drawn.contrast, real.contrast, "lesion contrast", rng))
    return rows


def _lesions(drawn: Fingerprint, real: Fingerprint, rng: np.random.Generator) -> list[tuple[Any, ...]]:
    def values(facts: Fingerprint, name: str) -> list[float]:
        cases = [case for case in facts.cases if case.lesions]
        if name == "volume":
            return [case.lesion_volume / 1000 for case in cases]
        if name == "count":
            return [float(len(case.lesions)) for case in cases]
        largest = [max(case.lesions, key=lambda lesion: lesion.volume) for case in cases]
        if name == "compactness":
            return [lesion.volume / float(np.prod(lesion.extent_mm)) for lesion in largest]
        return [lesion.centre[int(name[-1])] for lesion in largest]

    texts = {
        "volume": "lesion volume of a case",
        "count": "lesions of a case",
        "compactness": "share of its box that the largest lesion fills",
    }
    texts |= {f"centre_{axis}": f"place of the largest lesion along axis {axis}" for axis in range(real.spatial_dims)}
    return [
        _ks(f"lesion_{name}_ks", values(drawn, name), values(real, name), text, rng) for name, text in texts.items()
    ]


def _ks(
    name: str, drawn: Sequence[float], real: Sequence[float], what: str, rng: np.random.Generator
) -> tuple[str, float, float, str, str]:
    """Return the greatest difference of two cumulative distributions, and that between halves of the real values."""
    shuffled = rng.permutation(np.asarray(real))
    floor = stats.ks_2samp(shuffled[::2], shuffled[1::2]).statistic
    text = f"Kolmogorov–Smirnov distance of {what}; real: between two halves"
    return name, float(stats.ks_2samp(drawn, real).statistic), float(floor), "lower", text


def _variety(drawn: Views, real: Views, rng: np.random.Generator) -> list[tuple[Any, ...]]:
    likeness = [_likeness(views.whole, rng) for views in (drawn, real)]
    rows: list[tuple[Any, ...]] = [
        ("pairwise_ms_ssim", *likeness, "as real", "mean MS-SSIM of two slices of one height: higher, less diverse")
    ]
    if drawn.coherence and real.coherence:
        pair = [float(np.nanmean(views.coherence)) for views in (drawn, real)]
        rows.append(("coherence", *pair, "as real", "mean correlation of neighbouring slices"))
    return rows


def _sharpness(drawn: Views, real: Views) -> list[tuple[Any, ...]]:
    texts = (
        "variance of the Laplacian within the head: sharpness, or noise",
        "mean magnitude of the spectrum: brightness and contrast",
        "mean frequency, weighted by magnitude: sharpness, or noise",
    )
    means = [pd.DataFrame(views.sharpness).mean() for views in (drawn, real)]
    return [
        (name, float(means[0][name]), float(means[1][name]), "as real", f"{text}; of slices with a lesion")
        for name, text in zip(SHARPNESS, texts, strict=True)
    ]


def _likeness(images: Sequence[FloatArray], rng: np.random.Generator) -> float:
    """Return the mean MS-SSIM of random pairs of images of one height."""
    heights = len(HEIGHTS) if len(images) % len(HEIGHTS) == 0 else 1
    pairs: list[Any] = []
    while len(pairs) < PAIRS:
        height = int(rng.integers(heights))
        of_height = np.arange(height, len(images), heights)
        pairs.append(rng.choice(of_height, 2, replace=False))
    first, second = (torch.from_numpy(np.stack([images[pair[side]] for pair in pairs])) for side in (0, 1))
    return float(
        multiscale_structural_similarity_index_measure(
            first.clamp(-1, 2), second.clamp(-1, 2), data_range=3.0, betas=BETAS, kernel_size=7, normalize="relu"
        )
    )


def _pairs(drawn: Cohort, real: Cohort, channels: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """Return PSNR and SSIM of cases whose source scan is at hand: how far the whole image was changed."""
    sources = {case.case_id: case for case in real}
    found = [_pair(case, sources[case.source_case], channels) for case in drawn if case.source_case in sources]
    if not found:
        return []
    psnr, ssim = np.mean(found, axis=0)
    return [
        ("psnr", float(psnr), np.nan, "as real", "peak signal to noise of drawn cases and their source scans, dB"),
        ("ssim", float(ssim), np.nan, "as real", "structural similarity of drawn cases and their source scans"),
    ]


def _pair(drawn: Case, source: Case, channels: tuple[str, ...]) -> tuple[float, float]:
    image, truth = (load_scan(case, channels).image[0] for case in (drawn, source))
    reach = float(truth.max() - truth.min())
    psnr = peak_signal_noise_ratio(truth, image, data_range=reach) if not np.array_equal(truth, image) else np.inf
    window = min(7, (min(truth.shape) - 1) // 2 * 2 + 1)
    return float(psnr), float(structural_similarity(truth, image, data_range=reach, win_size=window))
