"""The candidates of the training cases, and the threshold that is chosen on them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lesionforge.errors import CohortError, DoubtWarning
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.progress import progress_bar
from lesionforge.tasks.detection.candidates import find_candidates, hits_of, least_response
from lesionforge.tasks.detection.detection_config import DetectionConfig
from lesionforge.tasks.detection.patches import Found
from lesionforge.tasks.training_data import TaskData


def candidates_of(data: TaskData, config: DetectionConfig) -> tuple[DetectionConfig, list[list[Found]]]:
    """Return the options with the threshold for candidates, and the candidates of the samples of each source.

    The threshold is chosen on the samples that the network is trained on: not on the real ones if all are synthetic. A
    :class:`DoubtWarning` says if fewer of their lesions are candidates than the options ask for.

    Raises:
        CohortError: if no sample that the threshold could be chosen on has a lesion.
    """
    everything = [[] if of.transform is not None else _all_in(of.samples, data, config) for of in data.sources]
    given, trained_on = config.least_response, _trained_on(data)
    if given is None:
        hits = [found.hits for number in trained_on for found in everything[number]]
        if not any(len(of.of_lesions) for of in hits):
            raise CohortError(data.parents.name, "has no case with a lesion to choose candidates by", "add some")
        config = config.model_copy(update={"least_response": least_response(hits, config.candidate_sensitivity)})
    strong = [[_only_strong(found, config) for found in of] for of in everything]
    if given is None:
        all_in, kept_in = (_share_found([found for n in trained_on for found in of[n]]) for of in (everything, strong))
        voxel = max(min(found.sample.spacing) for n in trained_on for found in everything[n])
        _doubt(data.parents.name, all_in, kept_in, config, voxel)
    return config, strong


def _trained_on(data: TaskData) -> list[int]:
    """Return the numbers of the sources whose samples the network is trained on, without those drawn on the fly."""
    stored = [number for number, source in enumerate(data.sources) if source.transform is None and source.samples]
    dealt = [number for number in stored if data.sources[number].share > 0 or data.fade is not None]
    return dealt or stored[:1]


def _share_found(found: Sequence[Found]) -> float:
    """Return the share of the lesions that a candidate hits."""
    return float(np.isfinite(np.concatenate([case.hits.of_lesions for case in found])).mean())


def _doubt(cohort: str, among_all: float, among_kept: float, config: DetectionConfig, voxel: float) -> None:
    """Warn if fewer lesions are candidates than the options ask for, and say which option is the reason."""
    asked = config.candidate_sensitivity
    if among_kept >= asked:
        return
    what = f"only {among_kept:.0%} of the training lesions are among the candidates, and the others are never found"
    remedy = f"change radii_mm, polarity ({config.polarity}), strictness or least_gradient"
    if among_all >= asked:
        remedy = f"raise max_candidates ({config.max_candidates}), which leaves the weaker ones out"
    small = [radius for radius in config.radii_mm if radius < voxel]
    if small:
        noise = ", ".join(f"{radius:g}" for radius in small)
        remedy = (
            f"leave {noise} out of radii_mm, which is less than a voxel ({voxel:g} mm) and finds noise, or {remedy}"
        )
    warnings.warn(f"{cohort}: {what}; {remedy}", DoubtWarning, stacklevel=2)


def _all_in(samples: Sequence[Sample], data: TaskData, config: DetectionConfig) -> list[Found]:
    """Return all local maxima of radial symmetry of each sample, and what they hit."""
    found = []
    with progress_bar("finding candidates") as progress:
        for done, sample in enumerate(samples, start=1):
            assert sample.label is not None
            candidates = find_candidates(sample, data.preprocessing, config)
            hits = hits_of(candidates, sample.label > 0, sample.spacing, config.tolerance_mm)
            found.append(Found(sample=sample, candidates=candidates, hits=hits))
            progress(done, len(samples))
    return found


def _only_strong(found: Found, config: DetectionConfig) -> Found:
    """Return the candidates that count, and what they hit."""
    assert config.least_response is not None
    assert found.sample.label is not None
    strong = found.candidates.at_least(config.least_response, at_most=config.max_candidates)
    hits = hits_of(strong, found.sample.label > 0, found.sample.spacing, config.tolerance_mm)
    return replace(found, candidates=strong, hits=hits)


def about_candidates(config: DetectionConfig, found: Sequence[Sequence[Found]]) -> dict[str, float | int | None]:
    """Return how many candidates the training cases have, and which share of their lesions is among them."""
    of_cases = [case for of_source in found for case in of_source]
    lesions = np.concatenate([np.isfinite(case.hits.of_lesions) for case in of_cases] or [np.empty(0, bool)])
    return {
        "least_response": config.least_response,
        "cases": len(of_cases),
        "candidates_per_case": float(np.mean([len(case.candidates.places) for case in of_cases])),
        "lesions": len(lesions),
        "lesions_among_candidates": float(lesions.mean()) if lesions.size else None,
    }
