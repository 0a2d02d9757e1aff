"""Patients who can be told by their anatomy, and a model that paints label maps and never saw a scan."""

import numpy as np
import torch
from scipy import ndimage

from lesionforge.cohort.scan import load_scan
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.synthesizers.translation.pix2pix import Pix2Pix
from lesionforge.training.model_folder import describe
from tests.audit.memoriser import people
from tests.helpers import write_array
from tests.synthesizers.models import tiny_options

OUTSIDE, LESION = 0, 220
STRUCTURES = {1: 70, 2: 150}


def patients(folder, prefix, n, *, seed, spatial_dims, **options):
    """Return a cohort in which the map of each subject has its own shapes, and the scan its contrasts and noise."""
    cohort = people(folder, prefix, n, seed=seed, spatial_dims=spatial_dims, anatomy=True, **options)
    for number, case in enumerate(cohort):
        scan, rng = load_scan(case, cohort.channels), np.random.default_rng((seed, number))
        blobs = ndimage.gaussian_filter(rng.standard_normal(scan.spatial_shape), 3)
        anatomy = np.where(scan.anatomy > 0, 1 + (blobs > 0), 0)
        grey = np.select([scan.label > 0, anatomy == 1, anatomy == 2], [LESION, *STRUCTURES.values()], OUTSIDE)
        image = ndimage.gaussian_filter(grey.astype(float), 0.7) + rng.normal(0, 3, grey.shape) * (anatomy > 0)
        write_array(case.anatomy, anatomy.astype(np.uint8), scan.affine)
        write_array(next(iter(case.images.values())), np.clip(image, 0, 255), scan.affine)
    return cohort


class Painter(torch.nn.Module):
    """Paints each structure and the lesion in one grey, from −1 to 1, with soft edges."""

    def forward(self, condition):
        """Return ``(batch, 1, x, y[, z])`` for one-hot labels and a channel of noise."""
        greys = torch.tensor([OUTSIDE, *STRUCTURES.values(), LESION]) / 127.5 - 1
        painted = torch.einsum("bc...,c->b...", condition[:, : len(greys)], greys)[:, None]
        pool = torch.nn.functional.avg_pool2d if painted.dim() == 4 else torch.nn.functional.avg_pool3d
        return pool(painted, 3, stride=1, padding=1, count_include_pad=False)


def painting_model(cohort, *, spatial_dims):
    """Return a model that draws a whole image from a label map."""
    config = Pix2Pix.Config(**tiny_options(spatial_dims, condition="label"))
    preprocessing = Preprocessing(spatial_dims=spatial_dims, channels=cohort.channels)
    info = describe("pix2pix", config, preprocessing, cohort, anatomy=(0, *STRUCTURES))
    return Pix2Pix(info, Painter(), np.zeros((1, len(info.classes), len(cohort.channels)), np.float32))
