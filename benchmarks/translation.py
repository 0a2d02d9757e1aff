"""Are whole volumes drawn faster in sub-batches of slices, and are masks drawn fast enough?

Compares pix2pix from label maps on a volume of 32 slices of 128 × 128 pixels, in sub-batches and with one slice at a
time, by the same warmed-up generator; and a second with the drawing of 25 masks on the default grid of ``maskgan`` on
one CPU thread, so 50 masks on two cores.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from comparison import Comparison, alternate, show
from data import one_thread, slice_preprocessing, tumours, untrained_pix2pix

from lesionforge.cohort.case import Cohort
from lesionforge.masks.gan import MaskGAN
from lesionforge.masks.gan_training import MaskGANConfig, make_generator
from lesionforge.preprocessing.pipeline import Preprocessing, Sample
from lesionforge.preprocessing.template_grid import TemplateGrid
from lesionforge.seeding import generator
from lesionforge.synthesizers.pix2pix import Pix2Pix, Pix2PixConfig
from lesionforge.training import inference
from lesionforge.training.model_folder import describe

SHAPE, ROUNDS, MASKS = (128, 128, 32), 5, 25


def measure() -> list[Comparison]:
    one_thread()
    with TemporaryDirectory() as name:
        cohort = tumours(Path(name), n_subjects=1, spacing=3.0)
        preprocessing = slice_preprocessing(cohort)
        config = Pix2PixConfig(condition="label", roi_size=SHAPE[:2])
        model = untrained_pix2pix(cohort, preprocessing, config)
    return [*compare_batches(model), masks_a_second(cohort)]


def compare_batches(model: Pix2Pix) -> list[Comparison]:
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    rows = []
    for device in devices:
        model.to(device)
        default = inference.SUB_BATCH_VOXELS[device]
        pairs = alternate(ROUNDS, lambda voxels=default: draw(model, voxels), lambda: draw(model, 1))
        goal = 1.0 if device == "cpu" else 0.2
        name = f"a volume of 32 slices, {device}"
        rows.append(Comparison(name=name, first="sub-batches", second="one by one", pairs=pairs, at_most=goal))
    return rows


def draw(model: Pix2Pix, voxels: int) -> None:
    mask = np.zeros(SHAPE, np.int16)
    mask[40:60, 40:60, 10:20] = 1
    sample = Sample(
        image=np.zeros((1, *SHAPE), np.float32),
        label=np.zeros(SHAPE, np.int16),
        anatomy=None,
        region=None,
        spacing=(1.0, 1.0, 4.0),
        case_id="volume",
        subject_id="volume",
    )
    inference.SUB_BATCH_VOXELS[model.device.type] = voxels
    model.synthesize(sample, mask, generator(0))


def masks_a_second(cohort: Cohort) -> Comparison:
    config = MaskGANConfig()
    info = describe("maskgan", config, Preprocessing(spatial_dims=3, channels=()), cohort)
    model = MaskGAN(info, make_generator(config, 1), TemplateGrid.covering(config.size))
    pairs = [(1000.0, taken) for (taken,) in alternate(ROUNDS, lambda: model.generate(MASKS, generator(0)))]
    return Comparison(name="masks, one thread", first="a second", second=f"{MASKS} masks", pairs=pairs, at_least=1.0)


if __name__ == "__main__":
    show("Image translation and masks", measure())
