"""The simulated data that the benchmarks run on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.fingerprint import fingerprint
from lesionforge.cohort.template import make_template_cohort
from lesionforge.preprocessing.pipeline import Preprocessing, Sample
from lesionforge.synthesizers.pix2pix import Pix2Pix, Pix2PixConfig, condition_of
from lesionforge.synthesizers.pseudo_healthy import PseudoHealthy, PseudoHealthyConfig
from lesionforge.training.model_folder import ModelInfo, describe


def one_thread() -> None:
    """Let torch compute on one thread, so that processor time is what a person waits for."""
    torch.set_num_threads(1)


def tumours(folder: Path, *, n_subjects: int, spacing: float) -> Cohort:
    """Simulate heads with tumours, in slices 6 mm thick."""
    return make_template_cohort(
        folder / "Dataset001_Simulated", n_subjects=n_subjects, healthy_fraction=0.0, spacing=spacing
    )


def slice_preprocessing(cohort: Cohort) -> Preprocessing:
    """Return what a 2D model of this cohort wants its scans to look like."""
    return Preprocessing.fit(fingerprint(cohort, cohort.channels), spatial_dims=2)


def untrained_pix2pix(cohort: Cohort, preprocessing: Preprocessing, config: Pix2PixConfig) -> Pix2Pix:
    """Return a generator with random weights, which is as fast as a trained one."""
    info: ModelInfo = describe("pix2pix", config, preprocessing, cohort)
    intensities = np.full((1, len(info.classes), len(cohort.channels)), 1.5, np.float32)
    return Pix2Pix(
        info, config.generator(condition_of(config, info).in_channels, len(info.preprocessing.channels)), intensities
    )


def untrained_pseudo_healthy(cohort: Cohort, preprocessing: Preprocessing) -> PseudoHealthy:
    """Return networks with random weights at the default width, for slices of 128 × 128."""
    config = PseudoHealthyConfig(roi_size=(128, 128))
    info = describe("pseudo_healthy", config, preprocessing, cohort)
    return PseudoHealthy(info, PseudoHealthy.generators(info))


def tumour_volume(shape: tuple[int, int, int], radius: float) -> Sample:
    """Return a 1 mm volume of noise with one ball as its lesion."""
    rng = np.random.default_rng(0)
    centre = [0.4 * n for n in shape]
    grid = np.ogrid[tuple(slice(0, n) for n in shape)]
    distance = sum((axis - middle) ** 2 for axis, middle in zip(grid, centre, strict=True))
    return Sample(
        image=rng.standard_normal((1, *shape), np.float32),
        label=(distance < radius**2).astype(np.int16),
        anatomy=None,
        region=None,
        spacing=(1.0, 1.0, 1.0),
        case_id=f"ball_{radius:g}",
        subject_id="ball",
    )
