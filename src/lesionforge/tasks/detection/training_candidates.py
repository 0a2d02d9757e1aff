"""The candidates of the training cases, and the threshold that is chosen on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lesionforge.errors import CohortError
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.progress import progress_bar
from lesionforge.tasks.detection.candidates import find_candidates, hits_of, least_response
from lesionforge.tasks.detection.detection_config import DetectionConfig
from lesionforge.tasks.detection.patches import Found
from lesionforge.tasks.training_data import TaskData


def candidates_of(data: TaskData, config: DetectionConfig) -> tuple[DetectionConfig, list[list[Found]]]:
    """Return the options with the threshold for candidates, and the candidates of the samples of each source.

    The threshold is chosen on the samples that the network is trained on: not on the real ones if all are synthetic.

    Raises:
        CohortError: if no sample that the threshold could be chosen on has a lesion.
    """
    everything = [[] if of.transform is not None else _all_in(of.samples, data, config) for of in data.sources]
    if config.least_response is None:
        dealt = [source.share > 0 or data.fade is not None for source in data.sources]
        used = [of for of, is_dealt in zip(everything, dealt, strict=True) if of and is_dealt]
        hits = [found.hits for of in used or everything[:1] for found in of]
        if not any(len(of.of_lesions) for of in hits):
            raise CohortError(data.parents.name, "has no case with a lesion to choose candidates by", "add some")
        config = config.model_copy(update={"least_response": least_response(hits, config.candidate_sensitivity)})
    return config, [[_only_strong(found, config) for found in of] for of in everything]


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
