"""Simulated scans with dark spots in bright tissue, as an nnU-Net folder, for tests of detection."""

import json

import nibabel as nib
import numpy as np
from PIL import Image
from scipy import ndimage

from lesionforge.cohort.layouts import read_cohort

SHAPES = {2: (96, 96), 3: (48, 48, 20)}


def spotted(spatial_dims, rng, *, spots=3, tubes=2):
    """Return an image of a bright ball with dark spots and dark tubes, and the label of the spots."""
    shape = SHAPES[spatial_dims]
    grid = np.indices(shape).astype(float)
    middle = (np.array(shape) - 1) / 2
    wide = [-1, *[1] * spatial_dims]
    scaled = (grid - middle.reshape(wide)) / (0.45 * np.array(shape)).reshape(wide)
    brain = np.linalg.norm(scaled, axis=0) < 1
    inner = np.argwhere(np.linalg.norm(scaled, axis=0) < 0.7)
    image, label = 100.0 * brain, np.zeros(shape, np.uint8)
    for _ in range(tubes):
        line = inner[rng.integers(len(inner))]
        image[(line[0], slice(None), *line[2:])] *= 0.5
    for _ in range(spots):
        centre = inner[rng.integers(len(inner))]
        spot = np.linalg.norm(grid - centre.reshape(wide), axis=0) <= 2.2
        image[spot], label[spot] = 25.0, 1
    return ndimage.gaussian_filter(image, 0.5) + rng.normal(0, 2, shape), label


def spotted_cohort(folder, spatial_dims, *, n=5, healthy=1, affine=None, seed=0):
    """Write a cohort of spotted scans; the last ``healthy`` have no spot."""
    ending, rng = {2: ".png", 3: ".nii.gz"}[spatial_dims], np.random.default_rng(seed)
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    for number in range(n):
        image, label = spotted(spatial_dims, rng, spots=0 if number >= n - healthy else 3)
        for array, path in (
            (image, folder / "imagesTr" / f"case_{number:03d}_0000{ending}"),
            (label, folder / "labelsTr" / f"case_{number:03d}{ending}"),
        ):
            stored = np.clip(array, 0, 255).astype(np.uint8)
            if spatial_dims == 2:
                Image.fromarray(stored).save(path)
            else:
                nib.save(nib.Nifti1Image(stored.astype(np.int16), np.eye(4) if affine is None else affine), path)
    facts = {"channel_names": {"0": "SWI"}, "labels": {"background": 0, "lesion": 1}, "numTraining": n}
    (folder / "dataset.json").write_text(json.dumps({**facts, "file_ending": ending}))
    return read_cohort(folder)
