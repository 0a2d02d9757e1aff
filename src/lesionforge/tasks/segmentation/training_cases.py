"""Selection of the cases that a segmentation network is trained on, and their training items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from monai.transforms import Compose

from lesionforge.augmentation.affine import affine_augmentation
from lesionforge.augmentation.classical import classical_augmentation
from lesionforge.augmentation.head_ct import ct_augmentation, published_ct_augmentation
from lesionforge.cohort.case import Annotation, Cohort
from lesionforge.cohort.inspection.fingerprint import Fingerprint
from lesionforge.cohort.scan import LabelArray
from lesionforge.errors import CohortError
from lesionforge.preprocessing.pipeline import Preprocessing, Sample
from lesionforge.tasks.segmentation.segmentation_config import Augment, SegmentationConfig, background_of
from lesionforge.tasks.segmentation.training_set import Source, TrainingSet


def annotated_cases(cohort: Cohort, channels: tuple[str, ...]) -> Cohort:
    """Return the annotated cases that have all ``channels``, with these channels only.

    Raises:
        CohortError: if there are none.
    """
    complete = cohort.having(channels)
    cases = complete.annotated().with_channels(channels)
    if not len(cases):
        counts = f"{len(cohort) - len(complete)} of {len(cohort)} cases lack a channel, {len(complete)} have no mask"
        raise CohortError(
            cohort.name,
            f"has no annotated case with {', '.join(channels)}: {counts}",
            "add masks to labelsTr, named like the cases, or say lesion_free in cases.csv",
        )
    return cases


def large_enough(cases: Cohort, facts: Fingerprint, voxels: int) -> Cohort:
    """Return the lesion-free cases and the cases with at least ``voxels`` lesion voxels in total.

    Raises:
        CohortError: if no case is left.
    """
    sizes = {case.case_id: case.lesion_volume / np.prod(case.spacing) for case in facts.cases}
    kept = [
        case
        for case in cases
        if case.annotation is not Annotation.LESION or round(sizes.get(case.case_id, voxels)) >= voxels
    ]
    if not kept:
        raise CohortError(cases.name, f"has no case with lesions of {voxels} voxels", "lower min_lesion_voxels")
    return cases.with_cases(kept)


def synthetic_cases(synthetic: Cohort, real: Cohort, channels: tuple[str, ...]) -> Cohort:
    """Return the annotated cases of ``synthetic`` with these channels.

    Raises:
        CohortError: if there are none, or their lesion classes differ from those of ``real``.
    """
    if dict(synthetic.labels) != dict(real.labels):
        raise CohortError(synthetic.name, f"has other lesion classes than {real.name}", "use the same lesion classes")
    return annotated_cases(synthetic, channels)


def known_before(synthetic: Cohort, cases: Cohort, samples: Sequence[Sample]) -> list[LabelArray | None]:
    """Return the label of each synthetic case's source scan before drawing.

    Args:
        synthetic: synthetic cases.
        cases: real cases.
        samples: samples of ``cases``, in the same order.

    Returns:
        A label per synthetic case; ``None`` if its source scan is not in ``cases``.
    """
    before = {case.case_id: sample.label for case, sample in zip(cases, samples, strict=True)}
    return [before.get(case.source_case) for case in synthetic]


def mixed(own: Source, synthetic: Source | None, share: float) -> list[Source]:
    """Return the sources of training items; if there is a synthetic source, it gets ``share`` of the items."""
    return [own] if synthetic is None else [replace(own, share=1 - share), replace(synthetic, share=share)]


def make_training_set(
    sources: Sequence[Source], config: SegmentationConfig, preprocessing: Preprocessing, *, seed: int
) -> TrainingSet:
    """Return the dataset of training items from ``sources``."""
    assert config.roi_size is not None
    background = background_of(config, preprocessing)
    return TrainingSet(
        sources,
        spatial_dims=config.spatial_dims,
        roi_size=config.roi_size,
        background=background,
        augment=augmentation(config.augment, config.spatial_dims, background=background, spacing=preprocessing.spacing),
        seed=seed,
        relative_to=preprocessing.output if config.normalise == "tissue" else None,
    )


def augmentation(
    kind: Augment, spatial_dims: int, *, background: float, spacing: Sequence[float] | None
) -> Compose | None:
    """Return the augmentation of a training item, or ``None`` for ``none``; see the functions of these names."""
    if kind == "classical":
        return classical_augmentation(spatial_dims, background=background)
    if kind == "affine":
        return affine_augmentation(background=background)
    if kind == "ct":
        return ct_augmentation(spatial_dims, background=background, spacing=spacing)
    if kind == "ct_published":
        return published_ct_augmentation(spatial_dims, background=background, spacing=spacing)
    return None
