"""Are whole volumes drawn and healed faster in sub-batches of slices, and are masks drawn fast enough?

Compares pix2pix from label maps and the healing of ``pseudo_healthy`` on a volume of 32 slices of 128 × 128 pixels, in
sub-batches and with one slice at a time, by the same warmed-up networks; and a second with the drawing of 25 masks on
the default grid of ``maskgan`` on one CPU thread, so 50 masks on two cores.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from comparison import Comparison, alternate, show
from data import one_thread, slice_preprocessing, tumours, untrained_pix2pix, untrained_pseudo_healthy

from lesionforge.cohort.case import Cohort
from lesionforge.healers.pseudo_healthy import PseudoHealthy
from lesionforge.masks.generator.maskgan import MaskGAN
from lesionforge.masks.generator.maskgan_training import MaskGANConfig, make_generator
from lesionforge.preprocessing.alignment.template_grid import TemplateGrid
from lesionforge.preprocessing.pipeline import Preprocessing, Sample
from lesionforge.seeding import generator
from lesionforge.synthesizers.translation.pix2pix import Pix2Pix, Pix2PixConfig
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
        healer = untrained_pseudo_healthy(cohort, preprocessing)
    return [
        *compare_batches("a volume of 32 slices", model, lambda: draw(model)),
        *compare_batches("healing it", healer, lambda: healer.heal(volume())),
        masks_a_second(cohort),
    ]


def compare_batches(what: str, model: Pix2Pix | PseudoHealthy, action: Callable[[], Any]) -> list[Comparison]:
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    rows = []
    for device in devices:
        model.to(device)
        default = inference.SUB_BATCH_VOXELS[device]
        pairs = alternate(ROUNDS, partial(batched, action, device, default), partial(batched, action, device, 1))
        goal = 1.0 if device == "cpu" else 0.2
        name = f"{what}, {device}"
        rows.append(Comparison(name=name, first="sub-batches", second="one by one", pairs=pairs, at_most=goal))
    return rows


def batched(action: Callable[[], Any], device: str, voxels: int) -> None:
    inference.SUB_BATCH_VOXELS[device] = voxels
    action()


def draw(model: Pix2Pix) -> None:
    mask = np.zeros(SHAPE, np.int16)
    mask[40:60, 40:60, 10:20] = 1
    model.synthesize(volume(), mask, generator(0))


def volume() -> Sample:
    return Sample(
        image=np.zeros((1, *SHAPE), np.float32),
        label=np.zeros(SHAPE, np.int16),
        anatomy=None,
        region=None,
        spacing=(1.0, 1.0, 4.0),
        case_id="volume",
        subject_id="volume",
    )


def masks_a_second(cohort: Cohort) -> Comparison:
    config = MaskGANConfig()
    info = describe("maskgan", config, Preprocessing(spatial_dims=3, channels=()), cohort)
    model = MaskGAN(info, make_generator(config, 1), TemplateGrid.covering(config.size))
    pairs = [(1000.0, taken) for (taken,) in alternate(ROUNDS, lambda: model.generate(MASKS, generator(0)))]
    return Comparison(name="masks, one thread", first="a second", second=f"{MASKS} masks", pairs=pairs, at_least=1.0)


if __name__ == "__main__":
    show("Image translation and masks", measure())
