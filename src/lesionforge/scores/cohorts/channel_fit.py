"""How well the channels of a case fit each other: the error of predicting each channel from the others.

A regression on real cases learns how the channels of one head belong together, such as T1, FLAIR and contrast T1. If
the channels of drawn cases fit as well as those of real ones, their prediction fails by no more than that of real cases
that the regression has not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import SplineTransformer

from lesionforge.cohort.inspection.measure import foreground
from lesionforge.cohort.scan import BoolArray, FloatArray
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.seeding import generator

SAMPLED = 1000
"""Voxels of a case, of the head and, as many again, of its lesions."""
SIGMAS = (0.0, 1.0, 2.0, 4.0)
"""Standard deviations, in voxels, of the Gaussian filters within slices whose results the regression sees."""
KNOTS = 8
"""Of the splines of each filtered intensity, whose sum the regression fits."""

Errors = dict[str, float]
"""``head`` or ``lesion`` → mean absolute error, in standard deviations of a channel within the head."""
OfSubject = tuple[str, Errors]
"""The subject of a case, and the errors of a prediction."""


@dataclass(frozen=True, kw_only=True)
class ChannelVoxels:
    """Voxels of a case.

    Attributes:
        ancestry: the subjects that the case comes from.
        values: ``(channel, scale, voxel)`` intensities, filtered with each of :data:`SIGMAS`; mean 0 and standard
            deviation 1 within the head.
        lesion: ``(voxel,)``, whether the voxel lies in a lesion.
        subject_id: the subject of the case.
    """

    ancestry: frozenset[str]
    values: FloatArray
    lesion: BoolArray
    subject_id: str

    @classmethod
    def of(cls, sample: Sample, ancestry: frozenset[str]) -> ChannelVoxels:
        """Return random voxels of a case in model space."""
        assert sample.label is not None
        head, rng = foreground(sample.image[0]), generator(0, "channels", sample.case_id)
        inside = sample.image[:, head]
        mean, spread = (value.reshape(-1, *[1] * head.ndim) for value in (inside.mean(1), inside.std(1) + 1e-6))
        image = (sample.image - mean) / spread * head
        places = [np.flatnonzero(where) for where in (head & (sample.label == 0), sample.label > 0)]
        chosen = np.concatenate(
            [rng.choice(at, min(len(at), SAMPLED), replace=False) if len(at) else at for at in places]
        )
        values = np.empty((len(image), len(SIGMAS), len(chosen)), np.float32)
        for channel, own in zip(image, values, strict=True):
            for sigma, of_scale in zip(SIGMAS, own, strict=True):
                within = (sigma, sigma, *[0.0] * (head.ndim - 2))
                of_scale[:] = ndimage.gaussian_filter(channel, within).ravel()[chosen]
        lesion = (sample.label > 0).ravel()[chosen]
        return cls(ancestry=ancestry, values=values, lesion=lesion, subject_id=sample.subject_id)


def channel_errors(
    drawn: Sequence[ChannelVoxels], real: Sequence[ChannelVoxels], rng: np.random.Generator
) -> tuple[Errors, Errors]:
    """Return the mean errors of drawn cases, and those of real cases that the regression was not fitted on.

    Args:
        drawn: see :func:`case_errors`.
        real: see :func:`case_errors`.
        rng: generator that divides the subjects.
    """
    of_drawn, of_real = case_errors(drawn, real, rng)
    return _mean([errors for _, errors in of_drawn]), _mean([errors for _, errors in of_real])


def case_errors(
    drawn: Sequence[ChannelVoxels], real: Sequence[ChannelVoxels], rng: np.random.Generator
) -> tuple[list[OfSubject], list[OfSubject]]:
    """Return the errors of each drawn case, and those of each real case that the regression was not fitted on.

    The real cases are divided into two halves by subject. A regression that is fitted on one half predicts the other
    half, and all drawn cases that do not come from subjects of the half it was fitted on. A drawn case that comes from
    subjects of both halves is predicted by both.

    Args:
        drawn: cases with two channels or more.
        real: cases with the same channels, of two subjects or more.
        rng: generator that divides the subjects.

    Returns:
        Subject and errors of each prediction.
    """
    subjects = sorted(frozenset[str]().union(*(case.ancestry for case in real)))
    first = frozenset(rng.permutation(subjects)[::2].tolist())
    halves = first, frozenset(subjects) - first
    found: dict[bool, list[OfSubject]] = {True: [], False: []}
    for half in halves:
        regressions = _fit([case for case in real if case.ancestry <= half])
        others = [case for case in real if not case.ancestry & half]
        found[False] += [(case.subject_id, _errors(regressions, case)) for case in others]
        unknown = [case for case in drawn if not case.ancestry & half or all(case.ancestry & part for part in halves)]
        found[True] += [(case.subject_id, _errors(regressions, case)) for case in unknown]
    return found[True], found[False]


def _fit(cases: Sequence[ChannelVoxels]) -> list[Pipeline]:
    """Return a regression for each channel, from the intensities of the others."""
    values = np.concatenate([case.values for case in cases], axis=-1)
    return [
        make_pipeline(SplineTransformer(KNOTS, degree=2), Ridge()).fit(_others(values, channel), values[channel, 0])
        for channel in range(len(values))
    ]


def _others(values: FloatArray, channel: int) -> FloatArray:
    """Return the ``(voxel, feature)`` intensities of all channels but one."""
    rest = np.delete(values, channel, axis=0)
    return np.ascontiguousarray(rest.reshape(-1, rest.shape[-1]).T)


def _errors(regressions: Sequence[Pipeline], case: ChannelVoxels) -> Errors:
    """Return the mean absolute error over channels and voxels, in the head without lesions and in lesions."""
    of_voxels: NDArray[np.float64] = np.mean(
        [
            np.abs(regression.predict(_others(case.values, channel)) - case.values[channel, 0])
            for channel, regression in enumerate(regressions)
        ],
        axis=0,
    )
    places = {"head": ~case.lesion, "lesion": case.lesion}
    return {name: float(of_voxels[where].mean()) if where.any() else np.nan for name, where in places.items()}


def _mean(errors: Sequence[Errors]) -> Errors:
    """Return the means over cases, without those that have no such voxel; NaN without cases."""
    known = {name: [of[name] for of in errors if not np.isnan(of[name])] for name in ("head", "lesion")}
    return {name: float(np.mean(values)) if values else np.nan for name, values in known.items()}
