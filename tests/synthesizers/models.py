"""Small models and samples for tests."""

import numpy as np

from lesionforge.cohort.scan import load_scan
from lesionforge.preprocessing.brain.region import with_region
from lesionforge.preprocessing.pipeline import Preprocessing, Sample
from lesionforge.synthesizers.registry import SYNTHESIZERS
from lesionforge.synthesizers.translation.crop_config import condition_of
from lesionforge.synthesizers.translation.pix2pix import Pix2Pix
from lesionforge.synthesizers.translation.pix2pix_config import Pix2PixConfig
from lesionforge.training.items.samples import cached_samples
from lesionforge.training.loop import TrainingConfig
from lesionforge.training.model_folder import describe
from lesionforge.training.rng import torch_seed

WIDTHS = (4, 8)


def tiny_training(**options):
    """Two steps, on the CPU."""
    return TrainingConfig(**{"steps": 2, "batch_size": 2, "epoch_steps": 2, "device": "cpu", **options})


def tiny_options(spatial_dims, **options):
    """Options of a pix2pix that trains in a second."""
    small = {"spatial_dims": spatial_dims, "roi_size": (24,) * spatial_dims, "channels": WIDTHS, "width": 1.0}
    return {**small, "optimiser": {"ema_decay": 0.5}, **options}


def train_pix2pix(cohort, out, *, spatial_dims, steps=2, **options):
    """Train for a few steps."""
    return Pix2Pix.fit(
        cohort,
        channels=cohort.channels,
        config=tiny_options(spatial_dims, **options),
        training=tiny_training(steps=steps),
        out=out,
    )


def untrained_pix2pix(cohort, *, spatial_dims=None, preprocessing=None, **options):
    """A generator as it is before training: it draws something else than the scan, and the same every time."""
    dims = spatial_dims or load_scan(cohort.cases[0], cohort.channels[:1]).spatial_dims
    config = Pix2PixConfig(**tiny_options(dims, **options))
    preprocessing = preprocessing or Preprocessing(spatial_dims=dims, channels=cohort.channels)
    info = describe("pix2pix", config, preprocessing, cohort)
    with torch_seed(0, "test"):
        generator = config.generator(condition_of(config, info).in_channels, len(info.preprocessing.channels))
        for weight in generator.parameters():
            weight.data.normal_(0, 0.1)
    return Pix2Pix(info, generator, np.full((1, len(info.classes), len(cohort.channels)), 1.5, np.float32))


def fit_library(method, cohort, out, **options):
    """Fit ``copy_paste`` or ``carvemix``."""
    fit = SYNTHESIZERS[method].fit
    return fit(cohort, channels=cohort.channels, config=options, training=tiny_training(), out=out)


def read_samples(cohort, preprocessing=None):
    """Return the cohort's cases in model space, with the region for lesions."""
    dims = load_scan(cohort.cases[0], cohort.channels[:1]).spatial_dims
    preprocessing = preprocessing or Preprocessing(spatial_dims=dims, channels=cohort.channels)
    return list(cached_samples(cohort, preprocessing, prepare=with_region))


def make_sample(shape, *, channels=1, spacing=None, label=None, seed=0):
    """Return a textured sample without lesions, or with ``label``."""
    rng = np.random.default_rng(seed)
    return Sample(
        image=rng.uniform(-0.8, 0.8, (channels, *shape)).astype(np.float32),
        label=np.zeros(shape, np.int16) if label is None else label,
        anatomy=None,
        region=np.ones(shape, bool),
        spacing=spacing or (1.0,) * len(shape),
        case_id="target",
        subject_id="target_subject",
    )


def ball_mask(shape, centre, radius, value=1):
    """Return a mask of one ball, in voxels."""
    grid = np.indices(shape)
    distance = np.sqrt(sum((axis - c) ** 2 for axis, c in zip(grid, centre, strict=True)))
    return np.where(distance <= radius, value, 0).astype(np.int16)
