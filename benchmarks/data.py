"""The simulated data that the benchmarks run on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from lesionforge.cohort.case import Annotation, Case, Cohort
from lesionforge.cohort.inspection.fingerprint import fingerprint
from lesionforge.healers.pseudo_healthy import PseudoHealthy, PseudoHealthyConfig
from lesionforge.preprocessing.pipeline import Preprocessing, Sample
from lesionforge.simulation.simulated_cohort import make_template_cohort
from lesionforge.synthesizers.translation.crop_config import condition_of
from lesionforge.synthesizers.translation.pix2pix import Pix2Pix, Pix2PixConfig
from lesionforge.training.model_folder import ModelInfo, describe


def one_thread() -> None:
    """Let torch compute on one thread, so that processor time is what a person waits for."""
    torch.set_num_threads(1)


def tumours(folder: Path, *, n_subjects: int, spacing: float) -> Cohort:
    """Simulate heads with tumours, in slices 6 mm thick."""
    return make_template_cohort(
        folder / "Dataset001_Simulated", n_subjects=n_subjects, healthy_fraction=0.0, spacing=spacing
    )


def haemorrhages(folder: Path, *, n_subjects: int, side: int) -> Cohort:
    """Simulate slices of heads with a bright lesion each, as 8-bit PNG."""
    axis = np.linspace(-1, 1, side)
    radius = np.hypot(axis[:, None], axis[None])
    cases = []
    for number in range(n_subjects):
        rng = np.random.default_rng(number)
        lesion = np.hypot(axis[:, None] - rng.uniform(-0.3, 0.3), axis[None] - rng.uniform(-0.3, 0.3)) < 0.15
        texture = ndimage.gaussian_filter(rng.normal(0, 60, (side, side)), 1.5) + 110 + 60 * lesion
        image = np.where(radius < 0.75, texture, np.where(radius < 0.85, 250, 0))
        image_file, label_file = (folder / name / f"case_{number:03d}.png" for name in ("images", "labels"))
        for file, array in ((image_file, np.clip(image, 0, 255)), (label_file, lesion)):
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array.astype(np.uint8)).save(file)
        case = Case(
            case_id=f"case_{number:03d}",
            subject_id=f"sub_{number:03d}",
            images={"CT": image_file},
            annotation=Annotation.LESION,
            label=label_file,
            origin="simulated",
        )
        cases.append(case)
    return Cohort(name="Haemorrhages", channels=("CT",), labels={"background": 0, "lesion": 1}, cases=tuple(cases))


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
