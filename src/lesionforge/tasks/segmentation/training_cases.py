"""The training items of a segmentation network, and the smallest lesions that it is trained on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
from monai.transforms import Compose

from lesionforge.augmentation.affine import affine_augmentation
from lesionforge.augmentation.classical import classical_augmentation
from lesionforge.augmentation.elastic import elastic_augmentation
from lesionforge.augmentation.head_ct import ct_augmentation, published_ct_augmentation
from lesionforge.cohort.case import Annotation, Cohort
from lesionforge.cohort.inspection.fingerprint import Fingerprint
from lesionforge.errors import CohortError, ConfigError
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.tasks.segmentation.segmentation_config import Augment, SegmentationConfig, background_of
from lesionforge.tasks.segmentation.training_set import TrainingSet
from lesionforge.training.items.deal import Fade
from lesionforge.training.items.source import Source


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


def check_mirroring(classes: Iterable[str], config: SegmentationConfig) -> None:
    """Check that no class that has a side, by its name, is mirrored.

    Raises:
        ConfigError: if one is.
    """
    sided = next((name for name in classes if re.search(r"\b(left|right)\b", name, re.IGNORECASE)), None)
    mirrored = config.mirror if config.augment == "classical" else config.augment not in ("none", "elastic")
    if sided is not None and mirrored:
        what = f"{config.augment} mirrors training items, but {sided!r} has a side"
        raise ConfigError("augment", what, "use augment=elastic, or augment=classical with mirror=false")


def make_training_set(
    sources: Sequence[Source],
    config: SegmentationConfig,
    preprocessing: Preprocessing,
    *,
    seed: int,
    fade: Fade | None = None,
) -> TrainingSet:
    """Return the dataset of training items from ``sources``; all but the first give way by ``fade``."""
    assert config.roi_size is not None
    background = background_of(config, preprocessing)
    return TrainingSet(
        sources,
        spatial_dims=config.spatial_dims,
        roi_size=config.roi_size,
        background=background,
        augment=augmentation(
            config.augment,
            config.spatial_dims,
            background=background,
            spacing=preprocessing.spacing,
            mirror=config.mirror,
        ),
        seed=seed,
        relative_to=preprocessing.output if config.normalise == "tissue" else None,
        fade=fade,
    )


def augmentation(
    kind: Augment, spatial_dims: int, *, background: float, spacing: Sequence[float] | None, mirror: bool = True
) -> Compose | None:
    """Return the augmentation of a training item, or ``None`` for ``none``; see the functions of these names."""
    if kind == "classical":
        return classical_augmentation(spatial_dims, background=background, mirror=mirror)
    if kind == "affine":
        return affine_augmentation(background=background)
    if kind == "elastic":
        return elastic_augmentation(background=background)
    if kind == "ct":
        return ct_augmentation(spatial_dims, background=background, spacing=spacing)
    if kind == "ct_published":
        return published_ct_augmentation(spatial_dims, background=background, spacing=spacing)
    return None
