"""Cohorts for audits: independent real cases, and a generator that replays some training lesions among new cases."""

from dataclasses import replace

import numpy as np
from scipy import ndimage

from lesionforge.cohort.scan import load_scan
from tests.helpers import tiny_cohort, write_array


def people(folder, prefix, n, *, seed, spatial_dims=2, **options):
    """Return a cohort of subjects of their own, named after ``prefix``."""
    cohort = tiny_cohort(folder / prefix, spatial_dims=spatial_dims, n_subjects=n, seed=seed, **options)
    cases = [
        replace(case, case_id=f"{prefix}_{case.case_id}", subject_id=f"{prefix}_{case.subject_id}") for case in cohort
    ]
    return replace(cohort, name=prefix, cases=tuple(cases))


def synthetic_cohort(folder, n, *, seed, training, replayed=0, replay=None, spatial_dims=2, **options):
    """Return new cases of a generator that was fitted on ``training`` and remembers some of its cases.

    The first ``replayed`` cases are changed by ``replay``: by default, they show a lesion of a training case in a new
    scan, flipped, moved and with noise.
    """
    cohort = people(folder, "drawn", n, seed=seed, spatial_dims=spatial_dims, **options)
    rng = np.random.default_rng(seed)
    for case, source in zip(cohort.cases[:replayed], rng.permutation(list(training)), strict=False):
        (replay or replay_lesion)(case, source, rng)
    cases = [replace(case, origin="synthetic", synthesizer="gan", parents=training.subjects) for case in cohort]
    return replace(cohort, name="drawn", cases=tuple(cases))


def replay_image(case, source, rng):
    """Write the whole image of a training case, flipped, moved and with noise, beside the label of a case on disk."""
    known = load_scan(source, list(case.images))
    axes = [axis for axis in range(len(known.spatial_shape)) if rng.random() < 0.5]
    steps = rng.integers(-3, 4, len(known.spatial_shape))
    for number, path in enumerate(case.images.values()):
        image = ndimage.shift(np.flip(known.image[number], axes), steps, order=0)
        write_array(path, np.clip(image + rng.normal(0, 2, image.shape) * (image > 0), 0, 255), known.affine)


def replay_lesion(case, source, rng):
    """Draw the largest lesion of a training case, in place of its own lesions, into a case on disk."""
    scan, known = load_scan(case, list(case.images)), load_scan(source, list(case.images))
    parts, _ = ndimage.label(known.label > 0)
    lesion = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    around = ndimage.binary_dilation(lesion, iterations=3)
    axes = [axis for axis in range(lesion.ndim) if rng.random() < 0.5]
    steps = tuple(int(rng.integers(-3, 4)) for _ in range(lesion.ndim))
    moved = [np.roll(np.flip(array, axes), steps, tuple(range(lesion.ndim))) for array in (lesion, around)]
    for number, path in enumerate(case.images.values()):
        image = np.roll(np.flip(known.image[number], axes), steps, tuple(range(lesion.ndim)))
        noisy = image + rng.normal(0, 2, image.shape)
        beside = scan.image[number][(scan.label == 0) & (scan.image[number] > 20)]
        background = np.where(scan.label > 0, beside.mean(), scan.image[number])
        write_array(path, np.clip(np.where(moved[1], noisy, background), 0, 255), scan.affine)
    write_array(case.label, np.where(moved[0], 1, 0).astype(np.uint8), scan.affine)
