"""Scores of how similar a synthetic cohort is to real cases, each with the same value between real cases.

To add a score, write a function of a :class:`CohortPair` and add a line to the dictionary. Scores are computed in the
order of the dictionary, because some of them take random halves from the same generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import stats
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.inspection.fingerprint import Fingerprint, fingerprint
from lesionforge.cohort.inspection.measure import CaseMeasures
from lesionforge.cohort.scan import FloatArray, load_scan
from lesionforge.errors import CohortError
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.scores.cohorts.channel_fit import channel_errors
from lesionforge.scores.cohorts.features import against_real, describe_images
from lesionforge.scores.cohorts.views import HEIGHTS, Views, look
from lesionforge.scores.drawn_images.sharpness import SHARPNESS
from lesionforge.scores.score import Better, Score, by_name
from lesionforge.seeding import generator
from lesionforge.training.loop import Device

FEWEST, PAIRS = 8, 60
BETAS = (0.3, 0.3, 0.4)

Two = tuple[float, float]
"""Value of a score for drawn cases, and the same value within or between real cases."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two cohorts with its fingerprint and views."""

    cohort: Cohort
    facts: Fingerprint
    views: Views


@dataclass(frozen=True, kw_only=True)
class CohortPair:
    """A drawn and a real cohort to compare.

    Attributes:
        drawn: the synthetic cohort.
        real: the real cohort.
        channels: image channels to use.
        rng: generator that chooses halves and sets.
        device: device that computes image features.
        known: image distances and channel errors computed so far, by kind.
    """

    drawn: Side
    real: Side
    channels: tuple[str, ...]
    rng: np.random.Generator
    device: Device
    known: dict[str, dict[str, Two]] = field(default_factory=dict)

    def distances(self, kind: str) -> dict[str, Two]:
        """Return the distances of ``slices`` or ``lesions`` by name; all distances of a kind use the same sets."""
        if kind not in self.known:
            ours, theirs = self.drawn.views, self.real.views
            images = (ours.whole, theirs.whole) if kind == "slices" else (ours.lesions, theirs.lesions)
            subjects = theirs.whole_of if kind == "slices" else theirs.lesions_of
            found, expected = (describe_images(np.stack(part), device=self.device) for part in images)
            self.known[kind] = against_real(found, expected, subjects, self.rng)
        return self.known[kind]


def fidelity(
    drawn: Cohort,
    against: Cohort,
    *,
    channels: tuple[str, ...] | None = None,
    seed: int = 0,
    device: Device = "cpu",
) -> pd.DataFrame:
    """Compare a synthetic cohort with real cases, preferably of subjects that it was not made from.

    Args:
        drawn: the synthetic cohort.
        against: real cases; at least eight with a lesion, of at least two subjects.
        channels: image channels to use; all channels of ``drawn`` unless given.
        seed: seed of the random sets that distances are computed between.
        device: device that computes image features.

    Returns:
        A row per score: ``score``, ``drawn``, ``real`` (the same value within or between real cases), ``better``
        (``lower``: closer to 0 is better; ``as real``), ``description``.

    Raises:
        CohortError: if there are too few cases or subjects to compare.
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
    views = [look(cohort, preprocessing) for cohort in cohorts]
    pair = CohortPair(
        drawn=Side(cohort=cohorts[0], facts=facts[0], views=views[0]),
        real=Side(cohort=cohorts[1], facts=facts[1], views=views[1]),
        channels=channels,
        rng=generator(seed, "fidelity"),
        device=device,
    )
    found = [(score, score(pair)) for score in COHORT_SCORES.values()]
    rows = [(score.name, *two, score.better, score.description) for score, two in found if two is not None]
    return pd.DataFrame(rows, columns=["score", "drawn", "real", "better", "description"])


def _distance(pair: CohortPair, *, kind: str, name: str) -> Two:
    return pair.distances(kind)[name]


def _intensity(pair: CohortPair, *, where: str) -> Two:
    ours, theirs = getattr(pair.drawn.views, where), getattr(pair.real.views, where)
    order = pair.rng.permutation(len(theirs))
    halves = [np.concatenate([theirs[i] for i in part]) for part in (order[::2], order[1::2])]
    drawn = stats.wasserstein_distance(np.concatenate(ours), np.concatenate(theirs))
    return float(drawn), float(stats.wasserstein_distance(*halves))


def _contrast(pair: CohortPair) -> Two:
    return float(np.median(pair.drawn.views.contrast)), float(np.median(pair.real.views.contrast))


def _contrast_ks(pair: CohortPair) -> Two:
    return _ks(pair.drawn.views.contrast, pair.real.views.contrast, pair.rng)


def _lesions_ks(pair: CohortPair, *, of_case: Callable[[CaseMeasures], float]) -> Two:
    drawn, real = ([of_case(case) for case in side.facts.cases if case.lesions] for side in (pair.drawn, pair.real))
    return _ks(drawn, real, pair.rng)


def _volume(case: CaseMeasures) -> float:
    return case.lesion_volume / 1000


def _count(case: CaseMeasures) -> float:
    return float(len(case.lesions))


def _compactness(case: CaseMeasures) -> float:
    largest = max(case.lesions, key=lambda lesion: lesion.volume)
    return largest.volume / float(np.prod(largest.extent_mm))


def _centre_ks(pair: CohortPair, *, axis: int) -> Two | None:
    if axis >= pair.real.facts.spatial_dims:
        return None
    return _lesions_ks(pair, of_case=partial(_centre, axis=axis))


def _centre(case: CaseMeasures, *, axis: int) -> float:
    return max(case.lesions, key=lambda lesion: lesion.volume).centre[axis]


def _ks(drawn: Sequence[float], real: Sequence[float], rng: np.random.Generator) -> Two:
    """Return the Kolmogorov–Smirnov distance of drawn to real values, and that between halves of the real values."""
    shuffled = rng.permutation(np.asarray(real))
    floor = stats.ks_2samp(shuffled[::2], shuffled[1::2]).statistic
    return float(stats.ks_2samp(drawn, real).statistic), float(floor)


def _pairwise_ms_ssim(pair: CohortPair) -> Two:
    drawn, real = (_likeness(side, pair.rng) for side in (pair.drawn, pair.real))
    return drawn, real


def _coherence(pair: CohortPair) -> Two | None:
    ours, theirs = pair.drawn.views.coherence, pair.real.views.coherence
    return (float(np.nanmean(ours)), float(np.nanmean(theirs))) if ours and theirs else None


def _channel_fit(pair: CohortPair, *, where: str) -> Two | None:
    if len(pair.channels) < 2:
        return None
    if "channels" not in pair.known:
        drawn, real = channel_errors(pair.drawn.views.channels, pair.real.views.channels, pair.rng)
        pair.known["channels"] = {name: (drawn[name], real[name]) for name in drawn}
    return pair.known["channels"][where]


def _sharpness(pair: CohortPair, *, name: str) -> Two:
    drawn, real = (float(pd.DataFrame(side.views.sharpness).mean()[name]) for side in (pair.drawn, pair.real))
    return drawn, real


def _likeness(side: Side, rng: np.random.Generator) -> float:
    """Return the mean MS-SSIM of random pairs of images; those of volumes are at the same height."""
    images = side.views.whole
    heights = len(HEIGHTS) if len(images) == len(side.cohort) * len(HEIGHTS) else 1
    pairs: list[NDArray[np.intp]] = []
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


def _to_source(pair: CohortPair, *, measure: Callable[[FloatArray, FloatArray], float]) -> Two | None:
    """Return the mean of a measure between drawn cases and their source scans, if any of these are available."""
    sources = {case.case_id: case for case in pair.real.cohort}
    found = [
        measure(*_first_channels(case, sources[case.source_case], pair.channels))
        for case in pair.drawn.cohort
        if case.source_case in sources
    ]
    return (sum(found) / len(found), np.nan) if found else None


def _first_channels(drawn: Case, source: Case, channels: tuple[str, ...]) -> tuple[FloatArray, FloatArray]:
    image, truth = (load_scan(case, channels).image[0] for case in (drawn, source))
    return image, truth


def _psnr(image: FloatArray, truth: FloatArray) -> float:
    if np.array_equal(truth, image):
        return float(np.inf)
    return float(peak_signal_noise_ratio(truth, image, data_range=float(truth.max() - truth.min())))


def _ssim(image: FloatArray, truth: FloatArray) -> float:
    window = min(7, (min(truth.shape) - 1) // 2 * 2 + 1)
    return float(structural_similarity(truth, image, data_range=float(truth.max() - truth.min()), win_size=window))


Reach = tuple[float, float]
ANY, NOT_NEGATIVE, SHARE, CORRELATION = (-math.inf, math.inf), (0, math.inf), (0, 1), (-1, 1)


def _score(
    name: str, better: Better, range: Reach, description: str, function: Callable[[CohortPair], Two | None]
) -> Score[CohortPair]:
    return Score(
        name=name,
        title=name,
        unit="dB" if name == "psnr" else "",
        better=better,
        level="cohort",
        range=range,
        description=description,
        function=function,
    )


def _ks_score(name: str, what: str, function: Callable[[CohortPair], Two | None]) -> Score[CohortPair]:
    return _score(name, "lower", SHARE, f"Kolmogorov–Smirnov distance of {what}; real: between two halves", function)


_SHARPNESS = {
    "laplacian_variance": "variance of the Laplacian within the head: sharpness, or noise; of slices with a lesion",
    "spectrum_mean": "mean magnitude of the spectrum: brightness and contrast; of slices with a lesion",
    "mean_frequency": "mean frequency, weighted by magnitude: sharpness, or noise; of slices with a lesion",
}

COHORT_SCORES = by_name(
    *(
        _score(
            f"{name}_{kind}",
            "lower",
            NOT_NEGATIVE if name == "fid" else ANY,
            f"{name.upper()} of {kind}, from fixed random features; real: between halves of the real subjects",
            partial(_distance, kind=kind, name=name),
        )
        for kind in ("slices", "lesions")
        for name in ("kid", "fid", "mmd")
    ),
    *(
        _score(
            f"intensity_{where}",
            "lower",
            NOT_NEGATIVE,
            f"Wasserstein distance of intensities {where} lesions, relative to tissue; real: between two halves",
            partial(_intensity, where=where),
        )
        for where in ("inside", "outside")
    ),
    _score("lesion_contrast", "as real", ANY, "median intensity of lesions relative to their surroundings", _contrast),
    _ks_score("lesion_contrast_ks", "lesion contrast", _contrast_ks),
    _ks_score("lesion_volume_ks", "lesion volume per case", partial(_lesions_ks, of_case=_volume)),
    _ks_score("lesion_count_ks", "the number of lesions per case", partial(_lesions_ks, of_case=_count)),
    _ks_score(
        "lesion_compactness_ks",
        "the share of its bounding box that the largest lesion fills",
        partial(_lesions_ks, of_case=_compactness),
    ),
    *(
        _ks_score(
            f"lesion_centre_{axis}_ks",
            f"the position of the largest lesion along axis {axis}",
            partial(_centre_ks, axis=axis),
        )
        for axis in range(3)
    ),
    _score(
        "pairwise_ms_ssim",
        "as real",
        SHARE,
        "mean MS-SSIM of two slices at the same height; higher means less diverse",
        _pairwise_ms_ssim,
    ),
    _score("coherence", "as real", CORRELATION, "mean correlation of neighbouring slices", _coherence),
    *(
        _score(name, "as real", SHARPNESS[name].range, description, partial(_sharpness, name=name))
        for name, description in _SHARPNESS.items()
    ),
    _score(
        "psnr",
        "neither",
        ANY,
        "peak signal-to-noise ratio between drawn cases and their source scans",
        partial(_to_source, measure=_psnr),
    ),
    _score(
        "ssim",
        "neither",
        CORRELATION,
        "structural similarity between drawn cases and their source scans",
        partial(_to_source, measure=_ssim),
    ),
    *(
        _score(
            f"channel_fit_{where}",
            "as real",
            NOT_NEGATIVE,
            f"error of predicting each channel from the others {place}, by a regression on real cases; real: held out",
            partial(_channel_fit, where=where),
        )
        for where, place in (("head", "outside lesions"), ("lesion", "within lesions"))
    ),
)
"""Scores of a drawn cohort against a real one."""
