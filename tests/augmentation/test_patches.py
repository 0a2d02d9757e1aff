"""The augmentation of patches moves image and label together, and only the image changes its intensities."""

import numpy as np
import pytest

from lesionforge.augmentation.patches import patch_augmentation
from lesionforge.augmentation.seeded import apply_seeded


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_spot_stays_under_its_label(spatial_dims):
    shape = (33,) * spatial_dims
    image, label = np.zeros((1, *shape), np.float32), np.zeros((1, *shape), np.float32)
    spot = (0, *[slice(9, 14)] * spatial_dims)
    image[spot], label[spot] = 10.0, 1.0
    moved = 0
    for seed in range(12):
        item = apply_seeded(patch_augmentation(spatial_dims), {"image": image, "label": label}, seed)
        found, marked = np.asarray(item["image"]), np.asarray(item["label"]) > 0.5
        background = float(np.median(found))
        if marked.any():
            assert found[marked].mean() > background + 4
            assert (found[~marked] > background + 6).sum() <= 0.5 * marked.sum()
        moved += not np.array_equal(marked, label > 0.5)
    assert moved > 6


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_patch_alone_is_augmented_too_and_stays_in_its_slice(spatial_dims):
    rng = np.random.default_rng(0)
    image = rng.normal(0, 1, (2, *[12] * spatial_dims)).astype(np.float32)
    found = apply_seeded(patch_augmentation(spatial_dims), {"image": image}, 3)["image"]
    assert tuple(found.shape) == image.shape
    assert np.isfinite(np.asarray(found)).all()
